"""A program in a guest that writes to a disk all the time, as fsx does, and can judge any copy of that disk.

``checker.c`` says how. It is sent through the console, a few kilobytes of it.
"""

from __future__ import annotations

import base64
import gzip
import subprocess
from pathlib import Path

from tests.host.machine.writer import told
from tests.host.running import Console

SOURCE = Path(__file__).with_name("checker.c")
BLOCKS = 2048
"""Of 4 KiB: what is written to, from the disk's begin."""
_FLAGS = (
    *("-O2", "-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector", "-fno-pie", "-no-pie", "-s"),
    *("-Wl,--build-id=none", "-Wl,-z,noseparate-code"),
)
_LINE = 700
"""Characters of a command; a shell's line holds some more."""


def built(folder: Path) -> Path:
    """The program."""
    program = folder / "checker"
    subprocess.run(["gcc", *_FLAGS, SOURCE, "-o", program], check=True)
    return program


def send(console: Console, program: Path) -> None:
    """Have it in the guest."""
    packed = base64.b64encode(gzip.compress(program.read_bytes(), mtime=0)).decode()
    console.run("rm -f /tmp/packed")
    for start in range(0, len(packed), _LINE):
        console.run(f"echo -n {packed[start : start + _LINE]} >> /tmp/packed")
    console.run("base64 -d < /tmp/packed | gunzip > /tmp/checker; chmod +x /tmp/checker")


class Checker:
    """The one that writes to a disk, called by a word, with a number of its own as the seed of what it does."""

    def __init__(self, word: str, seed: int, *, blocks: int = BLOCKS) -> None:
        self.word, self.seed, self._blocks = word, seed, blocks

    def begin(self, console: Console, device: str) -> None:
        """On ``/dev/sda``, say."""
        files = " ".join(self._file(name) for name in ("progress", "stop"))
        console.run(f"rm -f /tmp/{self.word}.*")
        console.run(
            f"/tmp/checker write {device} {self._blocks} {self.seed} {files} > {self._file('end')} 2>&1 & "
            f"echo $! > {self._file('pid')}"
        )
        self.go_on(console)

    def go_on(self, console: Console, steps: int = 60) -> int:
        """Return after so many more steps, or once it has ended; the number of the last one."""
        now = f"$(n=$(cat {self._file('progress')} 2>/dev/null); echo ${{n:-0}})"
        return int(
            told(
                console.run(
                    f'a={now}; while [ ! -s {self._file("end")} ] && [ "{now}" -lt $((a+{steps})) ]; '
                    f"do sleep 0.1; done; echo '<'{now}'>'",
                    timeout=120,
                )
            )
        )

    def end(self, console: Console) -> str:
        """Stop, and have it look at all of the disk: ``ok``, or what is wrong."""
        console.run(f"touch {self._file('stop')}; wait $(cat {self._file('pid')})", timeout=120)
        return told(console.run(f"echo '<'$(cat {self._file('end')})'>'")).rstrip(" 0123456789")

    def judge(self, program: Path, copy: Path, *, least: int, after_a_cut: bool = False) -> str:
        """What is wrong with a copy of the disk as it was after the step ``least``; ``ok`` else.

        A power cut may have taken what was not synced by then.
        """
        verb = "survived" if after_a_cut else "verify"
        argv: list[str | Path] = [program, verb, copy, str(self._blocks), str(self.seed), str(least)]
        return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.rstrip(" 0123456789\n")

    def _file(self, name: str) -> str:
        return f"/tmp/{self.word}.{name}"
