"""Compiles the programs that stand for a guest: ``python -m hyperd.launcher.build FOLDER``.

``launcher`` is a Pod's only program, ``emulator`` stands in QEMU's place on a node, ``watchdog`` ends guests of a
node that is cut off. All are static: a Pod's image holds nothing else, libvirt starts the second where there may
be nothing of ours, and the third goes on without us.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from hyperd.errors import PermanentError

LAUNCHER: Final = "launcher"
EMULATOR: Final = "emulator"
WATCHDOG: Final = "watchdog"
PROGRAMS: Final = (LAUNCHER, EMULATOR, WATCHDOG)
_FLAGS: Final = ("-std=c11", "-Os", "-static", "-s", "-Wall", "-Wextra", "-Werror", "-fstack-protector-strong")


def build(folder: Path) -> None:
    """Put the programs into ``folder``; each appears whole. Raises PermanentError: no compiler, or it refuses."""
    folder.mkdir(parents=True, exist_ok=True)
    for program in PROGRAMS:
        partial = folder / f".{program}.{os.getpid()}"
        argv = ["cc", *_FLAGS, "-o", str(partial), str(Path(__file__).with_name(f"{program}.c"))]
        try:
            done = subprocess.run(argv, capture_output=True, text=True, check=False)
            if done.returncode:
                raise PermanentError(f"{program} cannot be compiled: {done.stderr.strip()}")
            partial.replace(folder / program)
        except OSError as error:
            raise PermanentError(f"{program} cannot be compiled: cc: {error.strerror}. Install gcc.") from error
        finally:
            partial.unlink(missing_ok=True)


def main() -> int:
    if len(sys.argv) != 2:
        print("usage: python -m hyperd.launcher.build FOLDER", file=sys.stderr)  # noqa: T201  a program's words
        return 2
    try:
        build(Path(sys.argv[1]))
    except PermanentError as error:
        print(error.message, file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
