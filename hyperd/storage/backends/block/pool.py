"""The volumes of a disk: where they lie, and each step of their life, one change of its table. Blocking calls."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from hyperd import crashpoints
from hyperd.crashpoints import CrashPoint
from hyperd.errors import NotFound, PermanentError, TemporaryError
from hyperd.resources.values.quantity import format_human
from hyperd.storage.backends.block import table as tables
from hyperd.storage.backends.block.disk import Disk
from hyperd.storage.backends.block.holding import Held
from hyperd.storage.backends.block.owner import Owner
from hyperd.storage.backends.block.table import MIB, NAME_LIMIT, Gap, Part, Table, Type
from hyperd.storage.interface import NO_ROOM, check_uid

T = TypeVar("T")
_log = logging.getLogger(__name__)


class Pool:
    """The disk at ``path``, of the pool called ``name``.

    A disk that holds nothing is taken with the first volume; ``owner`` knows from then on which one it was, so
    that no other is taken for it. All that this needs of the disk is written in its table, each time as a whole.
    """

    def __init__(self, name: str, path: Path, owner: Owner) -> None:
        self.name = name
        self.path = path
        self._owner = owner
        self._changing = threading.RLock()
        self._lock: int | None = None
        self._read: tuple[bytes, Table] | None = None
        self._aside: dict[str, Held] = {}
        self._left: Sequence[Part] | None = None
        self._latest = 0

    def require(self) -> None:
        """TemporaryError unless the disk is there, and is the pool's or may become that."""
        with self._changing:
            self._table()

    def refusal(self, why: str) -> TemporaryError:
        """What is told where it cannot be used."""
        return TemporaryError(
            f"The pool {self.name} on {self.path} cannot be used: {why} (setting storage.pools).",
            key="ProvisioningFailed",
        )

    def clean(self) -> None:
        """Remove what a crash left unfinished, at the daemon's start."""
        with self._changed():
            self._clear()

    def find(self, uid: str) -> Part | None:
        """The volume."""
        return next(iter(self._having(Type.VOLUME, check_uid(uid))), None)

    def volumes(self) -> Sequence[Part]:
        """By uid."""
        return self._having(Type.VOLUME)

    def space(self) -> tuple[int, int]:
        """Bytes that volumes may have in all, and that none has."""
        with self._changing:
            table = self._table()
        free = sum(gap.size for gap in table.gaps())
        return free + sum(part.size for part in table.parts if part.type != Type.MARK), free

    def open(self, uid: str) -> Held:
        """The volume, held. NotFound without it, TemporaryError while it goes to another place."""
        with self._changed():
            aside = self._aside.get(check_uid(uid))
            if aside is not None and aside.is_open:
                raise TemporaryError(
                    f"Volume {uid} is being copied to where it can grow; it can be used after that."
                )
            part = self.find(uid)
            if part is None:
                raise NotFound(f"Volume {uid} does not exist.")
            return self._doing(lambda disk: disk.hold(part))

    def hold(self, part: Part) -> Held:
        """What is made there, or was a volume."""
        with self._changed():
            self._require_there(part)
            return self._doing(lambda disk: disk.hold(part))

    def set_aside(self, part: Part) -> Held:
        """A volume that nobody else can open until it is closed. TemporaryError where somebody has it open."""
        with self._changed():
            self._hide(part, "cannot grow where it lies, and")
            held = self._doing(lambda disk: disk.hold(part))
            self._aside[part.name] = held
            return held

    def allocate(self, uid: str, size: int) -> Part:
        """Where a volume of ``size`` is to be made: of no use to anybody before ``publish``."""
        if len(check_uid(uid)) > NAME_LIMIT:
            raise PermanentError(f"Volume {uid} cannot be made in the pool {self.name}: its uid is too long.")
        with self._changed():
            self._clear()
            for left in self._having(Type.UNFINISHED, uid):
                self.drop(left)
            table = self._table()
            gap = _smallest(table, size)
            if gap is None:
                raise self._no_room(table, size)
            return self._add(table, Part(0, gap.start, size, Type.UNFINISHED, uid))

    def tail(self, part: Part, size: int) -> Part | None:
        """Where a volume may grow to ``size``, as ``allocate``; None where there is no room right behind it."""
        with self._changed():
            self._clear()
            for left in self._having(Type.UNFINISHED, part.name):
                self.drop(left)
            self._require_there(part)
            table = self._table()
            if table.behind(part) < size - part.size:
                return None
            return self._add(table, Part(0, part.end, size - part.size, Type.UNFINISHED, part.name))

    def publish(self, made: Part, *, instead: Held | None = None) -> Part:
        """What was made is the volume from now on, and what was that before, and is set aside, is to go.

        TemporaryError where somebody else has that open.
        """
        crashpoints.reached(CrashPoint.DISK_BEFORE_RENAME)
        whole = replace(made, type=Type.VOLUME)
        with self._changed():
            self._require_there(made)
            former = [] if instead is None else [self._hidden(instead)]
            self._write(self._table().having(whole, *former))
        crashpoints.reached(CrashPoint.DISK_AFTER_FILE)
        return whole

    def join(self, part: Part, tail: Part) -> Part:
        """The volume has its tail from now on, whoever has it open."""
        grown = replace(part, size=part.size + tail.size)
        with self._changed():
            self._require_there(part)
            self._require_there(tail)
            self._doing(lambda disk: disk.forget(tail.number))
            self._write(self._table().without(tail).having(grown))
            self._doing(lambda disk: disk.follow(grown))
        return grown

    def retire(self, part: Part) -> Part:
        """A volume is one no more, and nobody can open it. TemporaryError where somebody has it open."""
        gone = replace(part, type=Type.UNFINISHED)
        with self._changed():
            self._hide(part, "cannot be removed:")
            self._write(self._table().having(gone))
        return gone

    def _hide(self, part: Part, told: str) -> None:
        """From whoever would open it by its place. TemporaryError, as ``told``, where somebody has it open."""
        self._require_there(part)
        try:
            self._disk().forget(part.number)
        except TemporaryError as err:
            raise TemporaryError(f"Volume {part.name} {told} {err.message}.") from err

    def drop(self, part: Part) -> None:
        """Its place is free from now on. What is left there is overwritten before anybody has it again.

        Nothing to do where the table has no such partition any more: it was dropped, or became a volume.
        """
        with self._changed():
            if self._table().has(part):
                self._doing(lambda disk: disk.forget(part.number))
                self._write(self._table().without(part))

    @contextmanager
    def _changed(self) -> Iterator[None]:
        """What is done meanwhile nobody else does with the disk, neither this daemon nor another one."""
        with self._changing:
            if self._lock is not None:
                yield
                return
            with ExitStack() as stack:
                try:
                    self._lock = stack.enter_context(self._disk().locked())
                except TemporaryError as err:
                    raise self.refusal(err.message) from err
                try:
                    yield
                finally:
                    self._lock = None

    def _require_there(self, part: Part) -> None:
        if not self._table().has(part):
            raise TemporaryError(
                f"Partition {part.number} of {self.path} is not what it was: it was changed meanwhile."
            )

    def _hidden(self, former: Held) -> Part:
        """A volume that nobody can open any more, as the table is to have it."""
        self._require_there(former.part)
        former.close()
        try:
            self._disk().forget(former.part.number)
        except TemporaryError as err:
            raise TemporaryError(f"Volume {former.part.name} cannot grow now: {err.message}.") from err
        return replace(former.part, type=Type.UNFINISHED)

    def _clear(self) -> None:
        """Remove what a crash left unfinished, but for what is still open: that another time."""
        if self._left is None:
            self._left = self._having(Type.UNFINISHED)
        kept = []
        for part in self._left:
            try:
                self.drop(part)
            except TemporaryError as err:
                _log.info("%s", err.message)
                kept.append(part)
        self._left = kept

    def _having(self, type_: str, name: str | None = None) -> Sequence[Part]:
        with self._changing:
            return self._table().of(type_, name)

    def _add(self, table: Table, part: Part) -> Part:
        number = table.number(after=self._latest)
        if number is None:
            raise TemporaryError(
                f"No room in the pool {self.name} for one more volume: it has as many as its table holds.",
                key=NO_ROOM,
            )
        self._latest = number
        self._write(table.having(replace(part, number=number)))
        added = next((each for each in self._table().parts if each.number == number), None)
        if added is None:
            raise self.refusal(f"{self.path} has not taken partition {number}")
        try:
            self._doing(lambda disk: disk.follow(added))
        except TemporaryError:
            self._write(self._table().without(added))
            raise
        return added

    def _no_room(self, table: Table, size: int) -> TemporaryError | PermanentError:
        gaps = sorted(gap.size for gap in table.gaps())
        sentence = f"No room for a disk of {format_human(size)} in the pool {self.name}: "
        if size > table.last - table.first - 2 * MIB:
            return PermanentError(f"{sentence}{self.path} is smaller.", key="ProvisioningFailed")
        return TemporaryError(
            f"{sentence}{format_human(sum(gaps))} are free on {self.path}, "
            f"{format_human(max(gaps, default=0))} of that in one piece, which a disk needs.",
            key=NO_ROOM,
        )

    def _disk(self) -> Disk:
        """Raises as ``refusal``."""
        try:
            return Disk.at(self.path)
        except TemporaryError as err:
            raise self.refusal(err.message) from err

    def _doing(self, work: Callable[[Disk], T]) -> T:
        disk = self._disk()
        try:
            return work(disk)
        except TemporaryError as err:
            raise self.refusal(err.message) from err

    def _table(self) -> Table:
        """The pool's, as it is now; one that a disk which holds nothing is to get."""
        table = self._seen()
        if not table.id or not self._owner.is_new(table):
            return table
        with self._changed():
            table = self._seen()
            if self._owner.is_new(table):
                _log.warning("The pool %s takes the disk %s, as setting storage.pools says.", self.name, self.path)
                self._write(table)
            return self._seen()

    def _seen(self) -> Table:
        """What is on the disk, or is to be."""
        disk = self._disk()
        try:
            head = disk.head()
            if self._read is not None and self._read[0] == head:
                return self._read[1]
            self._read = None
            disk.reread()
            table = self._owner.table(disk)
        except OSError as err:
            raise self.refusal(f"{self.path} cannot be read: {err.strerror}") from err
        except (TemporaryError, PermanentError) as err:
            raise self.refusal(err.message.removesuffix(".")) from err
        if table.id:
            self._read = (head, table)
        return table

    def _write(self, table: Table) -> None:
        """The first time of all the disk becomes the pool's."""
        disk = self._disk()
        try:
            if not table.id:
                disk.require_unused()
            if self._owner.is_new(table):
                table = self._owner.takes(table)
            tables.write(disk.path, table, lock=self._lock)
        except TemporaryError as err:
            raise self.refusal(err.message) from err
        except OSError as err:
            raise self.refusal(f"its note cannot be written: {err.strerror}") from err
        finally:
            self._read = None


def _smallest(table: Table, size: int) -> Gap | None:
    """That is large enough: what is left of the others stays in one piece."""
    return min((gap for gap in table.gaps() if gap.size >= size), key=lambda gap: gap.size, default=None)
