"""Which storage a volume has left for another one, noted on the node before anybody is told that it is elsewhere.

What is left there stays until its storage can be asked to remove it, which may be months later. By the note it is
known for what it is then: older than the volume, even where that is lost. A note goes with what it is about.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import orjson

from hyperd import durable
from hyperd.background import to_the_end
from hyperd.errors import TemporaryError
from hyperd.imagefile import files

_log = logging.getLogger(__name__)
_NOTE: Final = re.compile(r"[a-z0-9][-a-z0-9]{0,62}\.json")
_LIMIT_BYTES: Final = 65536


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
        self._folder = folder
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
            raise TemporaryError(f"{self._folder} cannot be written to: {err.strerror}.") from err
        self._all()[uid] = notes

    def _all(self) -> dict[str, Mapping[str, Departure]]:
        """Read at the first question where nobody has begun."""
        if self._known is None:
            self._known = self._read()
        return self._known

    def _write(self, uid: str, notes: Mapping[str, Departure]) -> None:
        path = self._folder / f"{uid}.json"
        if not notes:
            files.unlink(path)
            return
        self._folder.mkdir(mode=0o700, exist_ok=True)
        body = orjson.dumps([asdict(note) for note in notes.values()])
        durable.write(path, body, made=files.temporary(path))

    def _read(self) -> dict[str, Mapping[str, Departure]]:
        return {path.stem: _notes(path) for path in files.named(self._folder, _NOTE)}


def _notes(path: Path) -> Mapping[str, Departure]:
    try:
        with files.open_regular(path) as file:
            body = orjson.loads(file.read(_LIMIT_BYTES))
        return {note.left: note for note in map(_note, body if isinstance(body, list) else [body])}
    except (OSError, ValueError, KeyError, TypeError) as err:
        _log.warning("%s, which says what a volume has left, cannot be read: %s", path, err)
        return {}


def _note(body: Mapping[str, object]) -> Departure:
    return Departure(str(body["left"]), str(body["to"]), str(body["op_uid"]), body["final"] is True)
