"""A walk: what an engineer adds for one thing of a sort, kept as whole new files and lines put after known ones.

``tests/walks/<walk>/new/`` holds the new files at their places, each with ``.new`` after its name, so that no tool
of this checkout takes them for its own. ``walk.toml`` beside it says the rest:

``insert``
    lines that go into files of the checkout: ``file``, the line ``after`` or ``before`` which they come, and the
    ``lines``
``copy``
    files that begin as others of the checkout: ``file``, ``to``, and what to ``replace``
``derive``
    modules that write what is derived
``golden``
    tests that write what is golden, with ``UPDATE_GOLDEN``
``tests``
    what pytest runs in the end, in the copy
``placeholders``
    what stands in ``docs/CONTRIBUTING.md`` for the walk's own names
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
WALKS = ROOT / "tests" / "walks"


@dataclass(frozen=True)
class Insertion:
    file: str
    lines: str
    after: str = ""
    before: str = ""


@dataclass(frozen=True)
class CopiedFile:
    file: str
    to: str
    replace: Mapping[str, str]


@dataclass(frozen=True)
class Walk:
    name: str
    folder: Path
    insert: Sequence[Insertion]
    copies: Sequence[CopiedFile]
    derive: Sequence[str]
    golden: Sequence[str]
    tests: Sequence[str]
    placeholders: Mapping[str, str]

    def new_files(self) -> dict[str, str]:
        """Path in the checkout → text."""
        root = self.folder / "new"
        found = {
            str(path.relative_to(root)).removesuffix(".new"): path.read_text() for path in root.rglob("*.new")
        }
        for one in self.copies:
            text = (ROOT / one.file).read_text()
            for old, new in one.replace.items():
                assert old in text, f"{one.file} has no {old}"
                text = text.replace(old, new)
            found[one.to] = text
        return found


def load(name: str) -> Walk:
    """Raises KeyError where ``walk.toml`` lacks something."""
    told = tomllib.loads((WALKS / name / "walk.toml").read_text())
    return Walk(
        name,
        WALKS / name,
        [Insertion(**one) for one in told["insert"]],
        [CopiedFile(**one) for one in told.get("copy", [])],
        told.get("derive", []),
        told.get("golden", []),
        told["tests"],
        told.get("placeholders", {}),
    )


class Copy:
    """The checkout's files in a folder of their own, changed there and nowhere else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env: dict[str, str] = {}
        listed = subprocess.run(
            ["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        self._before = {}
        for name in filter(None, listed.split("\0")):
            if (ROOT / name).is_symlink():
                (folder / name).symlink_to((ROOT / name).readlink())
            elif (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
                self._before[name] = (folder / name).read_bytes()

    def apply(self, walk: Walk) -> None:
        """Raises AssertionError when a new file is there already, or a line to insert after is not there once."""
        for name, text in walk.new_files().items():
            assert name not in self._before, f"{name} is there already"
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_text(text)
        for one in walk.insert:
            lines = (self.folder / one.file).read_text().splitlines(keepends=True)
            anchor = one.after or one.before
            places = [number for number, line in enumerate(lines) if line.strip() == anchor]
            assert len(places) == 1, f"{one.file} has {len(places)} lines {anchor!r}"
            lines.insert(places[0] + bool(one.after), one.lines.strip("\n") + "\n")
            (self.folder / one.file).write_text("".join(lines))

    def python(self, module: str, *arguments: str) -> None:
        """Run a module of the copy. Raises AssertionError with what it printed when it fails."""
        self.run(sys.executable, "-m", module, *arguments)

    def run(self, *command: str) -> None:
        """Raises AssertionError with what it printed when it fails."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(self.folder), **self.env},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout[-6000:]}{done.stderr[-3000:]}"

    def changed(self) -> dict[str, list[str]]:
        """Files that are new or other than they were → the lines that came into them."""
        found = {}
        for path in self.folder.rglob("*"):
            name = str(path.relative_to(self.folder))
            if path.is_file() and not any(part.endswith(("_cache", "__pycache__")) for part in path.parts):
                text, before = path.read_bytes(), self._before.get(name)
                if text != before and not name.startswith("."):
                    known = set((before or b"").splitlines())
                    found[name] = [line.decode() for line in text.splitlines() if line not in known]
        return found
