"""What this node has made for guests that are on their way here, written down before it is made."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from hyperd.storage.notefolder import NoteFolder


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
        self._folder = NoteFolder(folder, "what was made for a guest that comes")
        self._known: dict[str, Note] | None = None

    async def all(self) -> dict[str, Note]:
        """By the machine's uid. Raises PermanentError where one is damaged."""
        if self._known is None:
            self._known = await asyncio.to_thread(self._read)
        return self._known

    async def get(self, uid: str) -> Note | None:
        return (await self.all()).get(uid)

    async def put(self, note: Note) -> None:
        """Returns once it is written."""
        known = await self.all()
        await asyncio.to_thread(self._folder.write, note.uid, asdict(note))
        known[note.uid] = note

    async def forget(self, uid: str) -> None:
        """Nothing to do is fine."""
        if (await self.all()).pop(uid, None) is not None:
            await asyncio.to_thread(self._folder.remove, uid)

    def _read(self) -> dict[str, Note]:
        """A damaged one is no reason to forget what it is about: PermanentError."""
        found = [self._folder.read(name, _note) for name in self._folder.names()]
        return {note.uid: note for note in found}


def _note(said: bytes) -> Note:
    return Note(**orjson.loads(said))
