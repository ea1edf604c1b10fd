"""The files of ``tests/corpus/terminal``."""

from __future__ import annotations

import ast
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "corpus" / "terminal"


def outputs() -> dict[str, bytes]:
    """What guests print, by the file's name."""
    return {path.name: _output(path) for path in sorted((FOLDER / "output").iterdir())}


def keys() -> dict[str, bytes]:
    """What terminals send, by the file's name."""
    return {path.name: path.read_bytes() for path in sorted((FOLDER / "keys").iterdir())}


def lines(name: str) -> list[str]:
    """What terminals do with a sequence, by the file's name: a text for each line, in Python's notation."""
    return [ast.literal_eval(f'"{line}"') for line in (FOLDER / name).read_text().splitlines()]


def _output(path: Path) -> bytes:
    content = path.read_bytes()
    if path.suffix != ".repeat":
        return content
    times, _, unit = content.partition(b"\n")
    return unit * int(times)
