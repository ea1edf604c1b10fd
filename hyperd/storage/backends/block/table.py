"""The partition table of a pool's disk, a GPT: read and written as a whole by ``sfdisk``. Blocking calls.

A volume is a partition of a type of ours, named by its uid. Another type has what is not whole: a volume that is
being made, or is on its way out. The first partition is the pool's mark, and says of which format all of it is.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Self

import orjson

from hyperd.errors import TemporaryError
from hyperd.imagefile import sandbox

FORMAT: Final = 1
MIB: Final = 1 << 20
NAME_LIMIT: Final = 36
"""Characters of a partition's name; a uid of ours has as many."""
_SLOTS: Final = 256
_MOST: Final = 255
"""The kernel has none of a higher number."""
_SECONDS: Final = 60.0
_MARK: Final = re.compile(r"hyperd-pool-(\d{1,9})(?::([-.a-z0-9]*))?")


class Type:
    """Partition types, of this product alone."""

    MARK: Final = "6C4B1A50-5D0E-4C53-8E0F-4A3D5B7C1F00"
    VOLUME: Final = "6C4B1A50-5D0E-4C53-8E0F-4A3D5B7C1F01"
    UNFINISHED: Final = "6C4B1A50-5D0E-4C53-8E0F-4A3D5B7C1F02"


@dataclass(frozen=True, slots=True)
class Part:
    """One partition; ``start`` and ``size`` in bytes."""

    number: int
    start: int
    size: int
    type: str
    name: str
    uuid: str = ""

    @property
    def end(self) -> int:
        return self.start + self.size


@dataclass(frozen=True, slots=True)
class Gap:
    """Whole MiB that no partition has."""

    start: int
    size: int


@dataclass(frozen=True, slots=True)
class Table:
    """All of it: of the disk called ``id``, whose partitions may lie from ``first`` up to ``last``."""

    id: str
    sector: int
    first: int
    last: int
    parts: tuple[Part, ...]

    @classmethod
    def parse(cls, answer: bytes) -> Self:
        """Of what ``sfdisk --json`` says. Raises ValueError, KeyError or TypeError for anything but a GPT."""
        table = orjson.loads(answer)["partitiontable"]
        if table["label"] != "gpt":
            raise ValueError(f"it has a table of the kind {table['label']}")
        sector = int(table.get("sectorsize", 512))
        parts = [
            Part(
                number=int(re.split(r"\D", part["node"])[-1]),
                start=int(part["start"]) * sector,
                size=int(part["size"]) * sector,
                type=str(part["type"]).upper(),
                name=str(part.get("name", "")),
                uuid=str(part["uuid"]),
            )
            for part in table.get("partitions", [])
        ]
        first, last = int(table["firstlba"]) * sector, (int(table["lastlba"]) + 1) * sector
        return cls(str(table["id"]), sector, first, last, tuple(sorted(parts, key=lambda part: part.start)))

    @property
    def format(self) -> int:
        """Of what hyperd made there; 0 where it is none of hyperd's."""
        mark = self._mark()
        found = None if mark is None else _MARK.fullmatch(mark.name)
        return 0 if found is None else int(found[1])

    @property
    def owner(self) -> str:
        """Of the mark: whose disk it is."""
        mark = self._mark()
        return "" if mark is None else mark.uuid.upper()

    @property
    def node(self) -> str:
        """Of its owner, shortened; empty where nobody says."""
        mark = self._mark()
        found = None if mark is None else _MARK.fullmatch(mark.name)
        return "" if found is None else found[2] or ""

    def marked(self, *, owner: str, node: str) -> Table:
        """As another owner's."""
        mark = self._mark()
        if mark is None:
            raise ValueError("it has no mark")
        return self.having(replace(mark, name=_name(node), uuid=owner))

    def _mark(self) -> Part | None:
        return next(iter(self.of(Type.MARK)), None)

    def strangers(self) -> Sequence[Part]:
        """Partitions that are not of this format."""
        return [part for part in self.parts if part.type not in (Type.MARK, Type.VOLUME, Type.UNFINISHED)]

    def of(self, type_: str, name: str | None = None) -> Sequence[Part]:
        """Those of one type, by name: all, or the ones of that name."""
        found = [part for part in self.parts if part.type == type_ and name in (None, part.name)]
        return sorted(found, key=lambda part: part.name)

    def gaps(self) -> Iterator[Gap]:
        """In their order on the disk."""
        free = _up(self.first)
        for part in self.parts:
            if part.start - free >= MIB:
                yield Gap(free, (part.start - free) // MIB * MIB)
            free = max(free, _up(part.end))
        if self.last - free >= MIB:
            yield Gap(free, (self.last - free) // MIB * MIB)

    def behind(self, part: Part) -> int:
        """Bytes that are free right behind a partition."""
        return next((gap.size for gap in self.gaps() if gap.start == part.end), 0)

    def has(self, part: Part) -> bool:
        """Exactly as it is said to be."""
        return part in self.parts

    def number(self, *, after: int = 0) -> int | None:
        """One that no partition has, if possible above ``after``; None where there are as many as there can be.

        Whoever still knows a partition by its number is not to find another one there at once.
        """
        taken = {part.number for part in self.parts}
        free = [number for number in range(1, _MOST + 1) if number not in taken]
        return next((number for number in free if number > after), free[0] if free else None)

    def having(self, *parts: Part) -> Table:
        """With these, in place of those of their numbers."""
        kept = {part.number: part for part in (*self.parts, *parts)}
        return replace(self, parts=tuple(sorted(kept.values(), key=lambda part: part.start)))

    def without(self, part: Part) -> Table:
        return replace(self, parts=tuple(each for each in self.parts if each.number != part.number))

    def script(self) -> str:
        """What has ``sfdisk`` write it."""
        lines = ["label: gpt", "unit: sectors", f"table-length: {_SLOTS}"]
        lines += [f"label-id: {self.id}"] if self.id else []
        for part in self.parts:
            start, size = part.start // self.sector, part.size // self.sector
            uuid = f", uuid={part.uuid}" if part.uuid else ""
            lines.append(f'{part.number} : start={start}, size={size}, type={part.type}, name="{part.name}"{uuid}')
        return "\n".join([*lines, ""])


def blank(size: int, sector: int, *, owner: str = "", node: str = "") -> Table:
    """Of a disk of ``size`` bytes that has none: the mark, and room for volumes."""
    mark = Part(1, MIB, MIB, Type.MARK, _name(node), owner)
    return Table("", sector, MIB, size - MIB, (mark,))


def short(node: str) -> str:
    """What a mark has of a node's name."""
    return re.sub(r"[^-.a-z0-9]", "", node)[: NAME_LIMIT - len("hyperd-pool-1:")]


def _name(node: str) -> str:
    return f"hyperd-pool-{FORMAT}:{short(node)}" if node else f"hyperd-pool-{FORMAT}"


def read(disk: Path) -> Table:
    """Raises TemporaryError where there is none, or nobody can tell."""
    done = tool("sfdisk", "--json", "--", str(disk))
    try:
        return Table.parse(done)
    except (ValueError, KeyError, TypeError) as err:
        raise TemporaryError(f"the partition table of {disk} cannot be used: {err}") from err


def write(disk: Path, table: Table, *, lock: int | None = None) -> None:
    """Durably, while partitions are in use, and nothing else of the disk. The kernel is told by ``Disk``.

    ``lock`` is a descriptor by which the caller has the disk locked: nobody else has it before all is written,
    also where the caller is killed meanwhile.
    """
    options = (
        "--quiet",
        "--no-reread",
        "--no-tell-kernel",
        "--wipe=never",
        "--wipe-partitions=never",
        "--lock=no" if lock is not None else "--lock=yes",
    )
    tool("sfdisk", *options, "--", str(disk), said=table.script(), keeps=() if lock is None else (lock,))


def signatures(disk: Path) -> Sequence[str]:
    """What the disk holds, by the names of ``wipefs``: file systems, volume groups, partition tables."""
    answer = orjson.loads(tool("wipefs", "--json", "--", str(disk)) or b"{}")
    return sorted({str(each["type"]) for each in answer.get("signatures", [])})


def tool(*argv: str, said: str = "", keeps: Sequence[int] = ()) -> bytes:
    """What a program prints. TemporaryError with what it complains of.

    What it is ``said`` lies in a file that is whole before it starts: from a pipe it would take what a killed
    daemon got to write for all of it. Descriptors that it ``keeps`` are open until it ends.
    """
    try:
        with open(os.memfd_create("said"), "w+b") as script:
            script.write(said.encode())
            script.seek(0)
            done = subprocess.run(
                argv,
                stdin=script,
                capture_output=True,
                timeout=_SECONDS,
                check=False,
                env=sandbox.environment(),
                pass_fds=tuple(keeps),
            )
    except FileNotFoundError:
        raise TemporaryError(f"the program {argv[0]} is not installed on this host") from None
    except subprocess.TimeoutExpired:
        raise TemporaryError(f"{argv[0]} did not end within {_SECONDS:.0f} s") from None
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise TemporaryError(f"{lines[-1].rstrip('.')}")
    return done.stdout


def _up(place: int) -> int:
    return -(-place // MIB) * MIB
