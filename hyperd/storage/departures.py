"""Which storage a volume has left for another one, noted on the node before anybody is told that it is elsewhere.

What is left there stays until its storage can be asked to remove it, which may be months later. By the note it is
known for what it is then: older than the volume, even where that is lost. A note goes with what it is about.
"""

from __future__ import annotations

import asyncio
import logging
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import orjson

from hyperd import durable
from hyperd.background import to_the_end
from hyperd.errors import TemporaryError
from hyperd.imagefile import files

_log = logging.getLogger(__name__)
_NOTE: Final = re.compile(r"[a-z0-9][-a-z0-9]{0,62}\.json")
_LIMIT_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class Departure:
    """``left`` and ``to`` are provisioners, ``op_uid`` the operation that moves the volume.

    It is ``final`` once the guest writes to what ``to`` has, whether or not its owner says so yet.
    """

    left: str
    to: str
    op_uid: str
    final: bool = False


class Departures:
    """The notes of one node in ``folder``, by the volumes' uids; read once, written through."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, Departure] | None = None

    async def begin(self) -> None:
        """At start."""
        self._known = await asyncio.to_thread(self._read)

    def get(self, uid: str) -> Departure | None:
        """What is noted of a volume."""
        return self._all().get(uid)

    async def note(self, uid: str, departure: Departure) -> None:
        """Durably. Raises TemporaryError where that cannot be."""
        if self.get(uid) == departure:
            return
        try:
            await to_the_end(self._write, uid, departure)
        except OSError as err:
            raise TemporaryError(f"{self._folder} cannot be written to: {err.strerror}.") from err
        self._all()[uid] = departure

    async def forget(self, uid: str) -> None:
        """Nothing is left there, or it never left; none is fine."""
        if self._all().pop(uid, None) is not None:
            await to_the_end(files.unlink, self._path(uid))

    def _all(self) -> dict[str, Departure]:
        """Read at the first question where nobody has begun."""
        if self._known is None:
            self._known = self._read()
        return self._known

    def _path(self, uid: str) -> Path:
        return self._folder / f"{uid}.json"

    def _write(self, uid: str, departure: Departure) -> None:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        path = self._path(uid)
        durable.write(path, orjson.dumps(asdict(departure)), made=files.temporary(path))

    def _read(self) -> dict[str, Departure]:
        found = {path.stem: _note(path) for path in files.named(self._folder, _NOTE)}
        return {uid: departure for uid, departure in found.items() if departure is not None}


def _note(path: Path) -> Departure | None:
    try:
        with files.open_regular(path) as file:
            body = orjson.loads(file.read(_LIMIT_BYTES))
        return Departure(str(body["left"]), str(body["to"]), str(body["op_uid"]), body["final"] is True)
    except (OSError, ValueError, KeyError, TypeError) as err:
        _log.warning("%s, which says what a volume has left, cannot be read: %s", path, err)
        return None
