"""What this node has made for guests that are on their way here, written down before it is made."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from hyperd import durable
from hyperd.imagefile import files


@dataclass(frozen=True)
class Note:
    """Of one guest. ``disks`` are its disks, uid by name, of which there are volumes here, or may be.

    Those that are ``shared`` are in volumes that the other node reaches as well. ``namespace`` and ``name`` are
    its machine's, ``source`` is the node that it comes from. Once it ``went_on`` here what it has here counts,
    whatever becomes of it, and what it left is old; once it ``ran`` nobody has to let it run any more.
    """

    uid: str
    operation: str
    disks: Mapping[str, str]
    namespace: str
    name: str
    source: str
    went_on: bool = False
    ran: bool = False
    shared: Sequence[str] = ()


class Notes:
    """One file a guest, found again after a crash."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, Note] | None = None

    async def all(self) -> dict[str, Note]:
        """By the machine's uid."""
        if self._known is None:
            self._known = await asyncio.to_thread(self._read)
        return self._known

    async def get(self, uid: str) -> Note | None:
        return (await self.all()).get(uid)

    async def put(self, note: Note) -> None:
        """Returns once it is written."""
        known = await self.all()
        path = self._path(note.uid)
        await asyncio.to_thread(durable.write, path, orjson.dumps(asdict(note)), made=files.temporary(path))
        known[note.uid] = note

    async def forget(self, uid: str) -> None:
        """Nothing to do is fine."""
        if (await self.all()).pop(uid, None) is not None:
            await asyncio.to_thread(files.unlink, self._path(uid))

    def _path(self, uid: str) -> Path:
        return self._folder / f"{uid}.json"

    def _read(self) -> dict[str, Note]:
        found: dict[str, Note] = {}
        for path in files.folder(self._folder).iterdir():
            if files.is_temporary(path) or path.suffix != ".json":
                continue
            said = orjson.loads(path.read_bytes())
            found[said["uid"]] = Note(**said)
        return found
