"""Which storage a volume has left for another one, noted on the node before anybody is told that it is elsewhere.

What is left there stays until its storage can be asked to remove it, which may be months later. By the note it is
known for what it is then: older than the volume, even where that is lost. A note goes with what it is about.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import orjson

from hyperd.background import to_the_end
from hyperd.errors import PermanentError, TemporaryError
from hyperd.storage.notefolder import NoteFolder

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Departure:
    """``left`` and ``to`` are provisioners, ``op_uid`` the operation that moves the volume.

    It is ``final`` once the guest writes to what ``to`` has, or its owner has said so: not before is it sure that
    the volume left.
    """

    left: str
    to: str
    op_uid: str
    final: bool = False


class Departures:
    """The notes of one node in ``folder``, by the volumes' uids and what they left; read once, written through."""

    def __init__(self, folder: Path) -> None:
        self._folder = NoteFolder(folder, "what a volume has left")
        self._known: dict[str, Mapping[str, Departure]] | None = None
        self._writing = asyncio.Lock()

    async def begin(self) -> None:
        """At start."""
        self._known = await asyncio.to_thread(self._read)

    def of(self, uid: str) -> Mapping[str, Departure]:
        """All that is noted of a volume, by what it left."""
        return self._all().get(uid, {})

    def get(self, uid: str, left: str) -> Departure | None:
        return self.of(uid).get(left)

    def now(self, uid: str, named: str) -> str:
        """Where the volume is for sure by now, of which somebody says that it is with ``named``; empty for nobody.

        Who says so may be an earlier state of the store.
        """
        final = {left: note.to for left, note in self.of(uid).items() if note.final}
        for _ in range(len(final)):
            named = final.get(named, named)
        ends = set(final.values()) - final.keys()
        return named or (ends.pop() if len(ends) == 1 else "")

    async def note(self, uid: str, departure: Departure) -> None:
        """Durably. What it goes to it has not left, and what it leaves it has reached.

        Raises TemporaryError where that cannot be.
        """
        if self.get(uid, departure.left) == departure:
            return
        async with self._writing:
            notes = {departure.left: departure}
            for left, note in self.of(uid).items():
                if left not in (departure.left, departure.to):
                    notes[left] = replace(note, final=note.final or note.to == departure.left)
            await self._put(uid, notes)

    async def forget(self, uid: str, left: str) -> None:
        """Nothing is left there, or it never left; none is fine. Raises TemporaryError where that cannot be."""
        async with self._writing:
            if self._known is None:
                await self.begin()
            if self.get(uid, left) is not None:
                await self._put(uid, {each: note for each, note in self.of(uid).items() if each != left})

    async def _put(self, uid: str, notes: Mapping[str, Departure]) -> None:
        try:
            await to_the_end(self._write, uid, notes)
        except OSError as err:
            raise TemporaryError(f"{self._folder.path} cannot be written to: {err.strerror}.") from err
        self._all()[uid] = notes

    def _all(self) -> dict[str, Mapping[str, Departure]]:
        """Read at the first question where nobody has begun."""
        if self._known is None:
            self._known = self._read()
        return self._known

    def _write(self, uid: str, notes: Mapping[str, Departure]) -> None:
        if notes:
            self._folder.write(uid, [asdict(note) for note in notes.values()])
        else:
            self._folder.remove(uid)

    def _read(self) -> dict[str, Mapping[str, Departure]]:
        found: dict[str, Mapping[str, Departure]] = {}
        for uid in self._folder.names():
            try:
                found[uid] = self._folder.read(uid, _notes)
            except PermanentError as err:
                _log.warning("%s", err.message)
        return found


def _notes(said: bytes) -> Mapping[str, Departure]:
    body = orjson.loads(said)
    return {note.left: note for note in map(_note, body if isinstance(body, list) else [body])}


def _note(body: Mapping[str, object]) -> Departure:
    return Departure(str(body["left"]), str(body["to"]), str(body["op_uid"]), body["final"] is True)
