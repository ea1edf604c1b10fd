"""A disk that fails on command and remembers every write, so that a power cut can be played at any of them.

It is a SQLite file layer over the real one: what is written through it lies in real files.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import apsw

Fault = Literal["full", "error", "short"]
"""ENOSPC before anything is written, EIO before anything is written, EIO after half of it was.

A sync fails with EIO in any case, as SQLite's own file layer has it.
"""

SECTOR = 512

Name = str | apsw.URIFilename | None


@dataclass(frozen=True)
class Operation:
    """One change of a file, or a sync of it."""

    file: str
    kind: Literal["write", "truncate", "sync", "delete"]
    offset: int = 0
    data: bytes = b""


@dataclass
class Disk:
    """What happened on it, and what shall go wrong. Operations are counted over writes and syncs alike."""

    name: str
    fault: Fault = "error"
    fail_from: int | None = None
    """The number of the first operation that fails; None lets all through."""
    fail_until: int | None = None
    """The number of the first operation that works again; None fails until ``heal``."""
    log: list[Operation] = field(default_factory=list)

    def heal(self) -> None:
        self.fail_from = None

    def fails_now(self) -> bool:
        """Whether the next operation fails; to be asked before it is logged."""
        number = len(self.log)
        if self.fail_from is None or number < self.fail_from:
            return False
        return self.fail_until is None or number < self.fail_until

    def refuse(self) -> None:
        if self.fault == "full":
            raise apsw.FullError("no space left")
        raise apsw.IOError("input/output error")


class _File(apsw.VFSFile):
    def __init__(self, disk: Disk, name: Name, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self._disk = disk
        self._name = Path(name.filename() if isinstance(name, apsw.URIFilename) else name or "").name

    def xWrite(self, data: bytes, offset: int) -> None:
        fails = self._disk.fails_now()
        self._disk.log.append(Operation(self._name, "write", offset, bytes(data)))
        if fails:
            if self._disk.fault == "short":
                super().xWrite(bytes(data)[: len(data) // 2], offset)
            self._disk.refuse()
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:
        fails = self._disk.fails_now()
        self._disk.log.append(Operation(self._name, "sync"))
        if fails:
            # The data is in the page cache, and whether it is on the disk nobody knows.
            raise apsw.IOError("input/output error")
        super().xSync(flags)

    def xTruncate(self, newsize: int) -> None:
        self._disk.log.append(Operation(self._name, "truncate", newsize))
        super().xTruncate(newsize)


class _Layer(apsw.VFS):
    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        super().__init__(disk.name, "")

    def xOpen(self, name: Name, flags: list[int]) -> apsw.VFSFile:
        return _File(self._disk, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        self._disk.log.append(Operation(Path(filename).name, "delete"))
        super().xDelete(filename, syncdir)


@contextmanager
def disk(name: str) -> Iterator[Disk]:
    """A registered file layer called ``name``."""
    made = Disk(name)
    layer = _Layer(made)
    try:
        yield made
    finally:
        layer.unregister()


Survivors = Literal["synced", "all", "some"]
"""Of the writes that were not synced before the cut: none, all, or some of them, each perhaps in part."""


def after_power_cut(
    log: list[Operation], survivors: Survivors, chance: random.Random, before: Mapping[str, bytes] | None = None
) -> dict[str, bytes]:
    """The files as the next boot finds them when the power went after the operations of ``log`` on ``before``."""
    files = {name: bytearray(content) for name, content in (before or {}).items()}
    pending: dict[str, list[Operation]] = {}
    for operation in log:
        if operation.kind == "sync":
            for done in pending.pop(operation.file, []):
                _apply(files, done)
            files.setdefault(operation.file, bytearray())
        elif operation.kind == "delete":
            # Made durable by the directory; SQLite deletes only what it does not need any more.
            pending.pop(operation.file, None)
            files.pop(operation.file, None)
        else:
            pending.setdefault(operation.file, []).append(operation)
    for unsynced in pending.values():
        for operation in unsynced:
            if survivors == "all":
                _apply(files, operation)
            elif survivors == "some" and chance.random() < 0.6:
                _apply(files, _torn(operation, chance) if chance.random() < 0.3 else operation)
    return {name: bytes(content) for name, content in files.items()}


def _torn(operation: Operation, chance: random.Random) -> Operation:
    """The write as far as a sector's end: disks write sectors whole."""
    end = (operation.offset + chance.randrange(len(operation.data) + 1)) // SECTOR * SECTOR
    kept = operation.data[: max(0, end - operation.offset)]
    return Operation(operation.file, operation.kind, operation.offset, kept)


def _apply(files: dict[str, bytearray], operation: Operation) -> None:
    content = files.setdefault(operation.file, bytearray())
    if operation.kind == "truncate":
        del content[operation.offset :]
        content.extend(bytes(operation.offset - len(content)))
    else:
        content.extend(bytes(max(0, operation.offset - len(content))))
        content[operation.offset : operation.offset + len(operation.data)] = operation.data
