"""Which lines of YAML belong to which key, so that those of a key can be put away. Text only, no widgets."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Path = tuple[str, ...]
"""Keys from the top of the document; an entry of a list is its number."""

AWAY: tuple[Path, ...] = (("status",), ("metadata", "managedFields"))
"""What is put away until somebody asks: what machines write."""
LONG = 24
"""A list, or a text, of more lines is put away too."""
_SCALAR = re.compile(r"(?:.*:|\s*-) \|-?\Z")
_KEY = re.compile(r"(\"(?:[^\"\\]|\\.)*\"|[^\s:]+):(?: |\Z)")


@dataclass(frozen=True)
class Block:
    """A line with what is below it, up to ``end`` (exclusive), by numbers from 0."""

    path: Path
    start: int
    end: int
    entries: int
    """How many entries its list has; 0 where it is none."""
    text: bool
    """Whether it is a text of several lines."""

    @property
    def long(self) -> bool:
        """Whether it is a list or a text that nobody wants to page through."""
        return self.end - self.start > LONG and (self.entries > 0 or self.text)

    @property
    def size(self) -> str:
        """How much is below it, in words."""
        count, word = (self.entries, "entry") if self.entries else (self.end - self.start - 1, "line")
        return f"{count} {word}" if count == 1 else f"{count} {'entries' if self.entries else 'lines'}"


def away(block: Block) -> bool:
    """Whether it is put away at first."""
    return block.path in AWAY or block.long


def blocks(lines: Sequence[str]) -> dict[int, Block]:
    """The blocks of what ``hyperd.client.yamltext`` wrote, by the line that each begins with."""
    found: dict[int, Block] = {}
    open_: list[_Open] = []
    scalar = -1
    """The indent of the key whose text goes on, or -1."""
    for at, line in enumerate(lines):
        indent = len(line) - len(line.lstrip(" "))
        if not line.strip() or indent > scalar >= 0:
            continue
        item = line[indent:].startswith("- ") or line[indent:] == "-"
        level = 2 * indent + item
        while open_ and open_[-1].level >= level:
            _close(open_.pop(), at, found)
        above = open_[-1] if open_ else None
        name = _key(line)
        if item:
            name = str(above.entries if above is not None else 0)
            if above is not None:
                above.entries += 1
        text = _SCALAR.match(line) is not None
        open_.append(_Open(level, at, (*(above.path if above is not None else ()), name), text))
        scalar = indent if text else -1
    while open_:
        _close(open_.pop(), len(lines), found)
    return found


def shown(lines: Sequence[str], found: dict[int, Block], folded: Callable[[Block], bool]) -> list[int]:
    """The numbers of the lines that are left to see."""
    left: list[int] = []
    at = 0
    while at < len(lines):
        left.append(at)
        block = found.get(at)
        at = block.end if block is not None and folded(block) else at + 1
    return left


def around(at: int, found: dict[int, Block]) -> list[Block]:
    """The blocks that line ``at`` is in but does not begin, the outermost first."""
    inside = (block for block in found.values() if block.start < at < block.end)
    return sorted(inside, key=lambda block: block.start)


@dataclass
class _Open:
    level: int
    start: int
    path: Path
    text: bool
    entries: int = 0


def _close(open_: _Open, end: int, found: dict[int, Block]) -> None:
    if end > open_.start + 1:
        found[open_.start] = Block(open_.path, open_.start, end, open_.entries, open_.text)


def _key(line: str) -> str:
    match = _KEY.match(line.lstrip(" -"))
    return match[1] if match is not None else line.strip()
