"""What this node keeps although nobody owns it: in place, with a note beside that says since when.

Nothing is renamed and nothing moves: a guest runs on, a chain of images stays whole. The note is a file by the uid
of the owner that is absent; it goes when that uid returns, or with what it is about.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import orjson

from hyperd import durable
from hyperd.imagefile import files
from hyperd.resources.values.meta import now_rfc3339

_log = logging.getLogger(__name__)
UID = re.compile(r"[a-z0-9][-a-z0-9]{0,62}")
_NOTE = re.compile(UID.pattern + r"\.json")
_LIMIT_BYTES = 1 << 20


@dataclass(frozen=True)
class Kept:
    """What is kept of one absent owner.

    ``since`` is RFC 3339; ``things`` are words for people ("running guest", "volume"); ``images`` are the
    (repository, tag) of those in the registry; ``why`` says what is the matter with the owner.
    """

    uid: str
    kind: str
    name: str
    why: str
    things: tuple[str, ...] = ()
    images: tuple[tuple[str, str], ...] = ()
    since: str = ""

    def sentence(self) -> str:
        """For people."""
        known = f"{self.kind} {self.name}" if self.name else f"a {self.kind}"
        images = (f"image {repository}" for repository, _ in self.images)
        return (
            f"{', '.join((*self.things, *images)).capitalize()} of {known} (uid {self.uid}): {self.why} since "
            f"{self.since}. It is left as it is; `hv gc empty {self.uid}` removes it."
        )


class Quarantine:
    """The notes of one node, in ``folder``; read once, written through."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept: dict[str, Kept] = {}
        self._writing = asyncio.Lock()
        """The sweep and the registry's collection may note things of one owner at once."""

    async def begin(self) -> None:
        """At start: read the notes. One that cannot be read is made anew when its thing is met."""
        self._kept = {kept.uid: kept for kept in await asyncio.to_thread(self._read)}

    def all(self) -> Sequence[Kept]:
        """By age."""
        return sorted(self._kept.values(), key=lambda kept: (kept.since, kept.uid))

    def get(self, uid: str) -> Kept | None:
        return self._kept.get(uid)

    async def mark(
        self,
        uid: str,
        *,
        kind: str,
        why: str,
        name: str = "",
        things: Iterable[str] | None = None,
        images: Iterable[tuple[str, str]] | None = None,
    ) -> bool:
        """Note it, since now unless it is noted already; whether it is new. None leaves what is noted of that."""
        before = self._kept.get(uid)
        known = before or Kept(uid, kind, name, why, since=now_rfc3339())
        after = replace(
            known,
            name=name or known.name,
            why=why,
            things=known.things if things is None else tuple(things),
            images=known.images if images is None else tuple(sorted(images)),
        )
        if after == before or not (after.things or after.images):
            return False
        self._kept[uid] = after
        try:
            async with self._writing:
                if (latest := self._kept.get(uid)) is not None:
                    await asyncio.to_thread(self._publish, latest)
        except OSError as err:
            _log.warning("The note about %s cannot be written to %s: %s", uid, self._folder, err.strerror)
        return before is None

    async def clear(self, uids: Iterable[str]) -> list[Kept]:
        """Their owners are back, or nothing is left of them; those that were noted."""
        gone = [kept for uid in uids if (kept := self._kept.pop(uid, None)) is not None]
        async with self._writing:
            for kept in gone:
                if kept.uid not in self._kept:
                    await asyncio.to_thread(files.unlink, self._path(kept.uid))
        return gone

    def _path(self, uid: str) -> Path:
        return self._folder / f"{uid}.json"

    def _publish(self, kept: Kept) -> None:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        path = self._path(kept.uid)
        durable.write(path, orjson.dumps(kept), made=files.temporary(path))

    def _read(self) -> list[Kept]:
        return [kept for path in files.named(self._folder, _NOTE) if (kept := _note(path)) is not None]


def _note(path: Path) -> Kept | None:
    try:
        with files.open_regular(path) as file:
            body = orjson.loads(file.read(_LIMIT_BYTES))
        texts = {key: str(body[key]) for key in ("kind", "name", "why", "since")}
        images = tuple((str(repository), str(tag)) for repository, tag in body["images"])
        return Kept(path.stem, things=tuple(map(str, body["things"])), images=images, **texts)
    except (OSError, ValueError, KeyError, TypeError) as err:
        _log.warning("The note %s cannot be read and is made anew: %s", path, err)
        return None
