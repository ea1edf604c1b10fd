"""Whose disk it is: the mark in its table has an id, which this installation's note of the pool has as well.

A disk that two hyperds write to loses volumes at once. So each refuses one that is marked and not noted, until it
is told to take that: then the mark gets another id, and whoever had the disk before refuses it. Blocking calls.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path

from hyperd.errors import TemporaryError
from hyperd.storage import poolmark
from hyperd.storage.backends.block import table as tables
from hyperd.storage.backends.block.disk import Disk
from hyperd.storage.backends.block.table import FORMAT, Table
from hyperd.storage.poolmark import PoolMark

_TAKING = 0
"""The format in the note of a disk that is about to be marked."""


class Owner:
    """Of the pool that is noted in the file ``note``, on the node ``node``; ``adopts`` is the id of a mark.

    Raises TemporaryError and PermanentError, the ends of a sentence, and OSError.
    """

    def __init__(self, note: Path, *, node: str, adopts: str = "") -> None:
        self._note = note
        self._node = node
        self._adopts = adopts.upper()

    def table(self, disk: Disk) -> Table:
        """The pool's, or that of the disk which it is to take; one that a disk which holds nothing is to get."""
        noted = poolmark.read(self._note)
        holds = tables.signatures(disk.path)
        if not holds and (noted is None or noted.format == _TAKING):
            disk.require_zeros()
            return tables.blank(disk.size, disk.sector, owner=self._new(noted), node=self._node)
        table = self._marked(disk, holds, noted)
        if noted is not None and noted.id == table.owner:
            if noted.format == _TAKING:
                self._write(table.owner, table.format)
        elif self._adopts != table.owner:
            raise TemporaryError(
                f"the disk is a pool of {self._whose(table)} already; if no other hyperd uses it any more, "
                f'adopt = "{table.owner}" has this pool take it'
            )
        return table

    def is_new(self, table: Table) -> bool:
        """Whether the disk is to be marked as the pool's with the next write: it is empty, or adopted."""
        if not table.id:
            return True
        if table.owner != self._adopts:
            return False
        noted = poolmark.read(self._note)
        return noted is None or noted.id != table.owner

    def takes(self, table: Table) -> Table:
        """What is to be written to a new disk. It is noted before: after a crash it is still the pool's."""
        if table.id:
            noted = poolmark.read(self._note)
            fresh = noted if noted is not None and noted.format == _TAKING else None
            table = table.marked(owner=self._new(fresh), node=self._node)
        self._write(table.owner, _TAKING)
        return table

    def _new(self, noted: PoolMark | None) -> str:
        return str(uuid.uuid4()).upper() if noted is None else noted.id

    def _marked(self, disk: Disk, holds: Sequence[str], noted: PoolMark | None) -> Table:
        gone = f"; remove {self._note} if that pool is gone for good" if noted is not None else ""
        table = tables.read(disk.path) if "gpt" in holds else None
        if table is None or not table.format:
            what = ", ".join(name for name in holds if name != "PMBR") or "nothing"
            wipe = f"; {disk.emptied()} empties it if nothing of that is needed" if holds else ""
            raise TemporaryError(f"the disk is none of hyperd's, it holds {what}{wipe}{gone}")
        poolmark.require_known(disk.path, PoolMark(table.id, table.format), FORMAT)
        if strangers := table.strangers():
            numbers = ", ".join(str(part.number) for part in strangers)
            raise TemporaryError(f"hyperd has not made all that is on it; remove the partitions {numbers}")
        return table

    def _whose(self, table: Table) -> str:
        node = table.node
        if not node:
            return "another hyperd"
        return (
            "this node, by another name or of a state that is lost,"
            if node == tables.short(self._node)
            else f"node {node}"
        )

    def _write(self, owner: str, format_: int) -> None:
        self._note.parent.mkdir(mode=0o700, exist_ok=True, parents=True)
        poolmark.write(self._note, PoolMark(owner, format_))
