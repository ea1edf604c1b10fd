"""The volumes of several backends as one: each call goes to the backend that it concerns."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Protocol, TypeVar

from hyperd.errors import NotFound, PermanentError, TemporaryError
from hyperd.imagefile.handle import Handle
from hyperd.storage.claims import Claims
from hyperd.storage.departures import Departures
from hyperd.storage.interface import (
    Backend,
    Keeper,
    Keepers,
    Merge,
    Provisioner,
    Snapshot,
    Usage,
    Volume,
    Volumes,
)
from hyperd.storage.lazily import Lazily

T = TypeVar("T")


class ClaimingBackend(Backend, Protocol):
    """The one whose volumes are claims."""

    def lead(self, claims: Claims) -> None:
        """From now on ask ``claims`` which there are."""
        ...

    def awaited(self, uid: str) -> str:
        """What the volume waits for to be on this node, as a sentence; empty where it is, and for what is none."""
        ...


class BackendVolumes(Volumes):
    """A volume is found again by asking every backend, first of all the one that its owner names."""

    def __init__(
        self, backends: Sequence[Backend], departures: Departures, *, claiming: ClaimingBackend | None = None
    ) -> None:
        """``claiming`` has the volumes of all provisioners that are none of the ``backends``."""
        self._own = [backend.name for backend in backends]
        self._claiming = claiming
        self._backends: dict[str, Backend] = {backend.name: backend for backend in backends}
        if claiming is not None:
            self._backends[claiming.name] = claiming
        self._departures = departures
        self._keepers: Keepers = nobody_says

    def ask(self, keepers: Keepers) -> None:
        self._keepers = keepers

    @property
    def claims(self) -> bool:
        return self._claiming is not None

    def lead(self, claims: Claims) -> None:
        if self._claiming is not None:
            self._claiming.lead(claims)

    def awaited(self, uid: str) -> str:
        return "" if self._claiming is None else self._claiming.awaited(uid)

    @property
    def departures(self) -> Departures:
        return self._departures

    @property
    def provisioners(self) -> list[str]:
        return self._own

    def provisioner(self, name: str) -> Provisioner:
        found = self._backends.get(name) or self._claiming
        if found is None:
            raise PermanentError(
                f'No volumes are made by the provisioner "{name}" in this version of hyperd; it has '
                f"{', '.join(sorted(self._own))}.",
                key="ProvisioningFailed",
            )
        return found.provisioner

    async def start(self) -> None:
        await self._departures.begin()
        for backend in self._backends.values():
            await backend.start()

    async def find(self, uid: str) -> Volume | None:
        return await self._first_by(uid, lambda backend: backend.provisioner.find(uid))

    async def attach_copy(self, uid: str, provisioner: str) -> Handle:
        self.provisioner(provisioner)
        return await self._backends[provisioner].attacher.attach(uid)

    async def remove_copy(self, uid: str, provisioner: str, *, kept: str) -> None:
        if provisioner == kept or provisioner not in self._backends:
            return
        note = self._departures.get(uid, kept)
        if provisioner in (self._departures.now(uid, kept), "" if note is None else note.to):
            raise TemporaryError(
                f"Volume {uid} was moved from {kept} to {provisioner} by what this node has noted: what "
                f"{provisioner} has of it may be the newer one, and is kept."
            )
        if await self.provisioner(kept).find(uid) is None:
            raise NotFound(f"Volume {uid} is not with {kept}: what {provisioner} has of it is kept.")
        await self._remove([self._backends[provisioner]], uid)

    async def inventory(self) -> list[Volume]:
        return [volume for backend in self._backends.values() for volume in await backend.provisioner.inventory()]

    async def reads(self, image: Path) -> bool:
        for backend in self._backends.values():
            if await backend.provisioner.reads(image):
                return True
        return False

    async def grow(self, uid: str, size: int, *, in_use: bool) -> Volume:
        return await (await self._of(uid)).provisioner.grow(uid, size, in_use=in_use)

    async def delete(self, uid: str) -> None:
        """Wherever it is. A storage that cannot be asked may have it, unless another had."""
        await self._remove(list(self._backends.values()), uid)

    async def _remove(self, backends: Sequence[Backend], uid: str) -> None:
        had, unable = False, None
        for backend in backends:
            try:
                had = await _has(backend, uid) or had
                await backend.attacher.detach(uid)
                await backend.provisioner.delete(uid)
                await self._departures.forget(uid, backend.name)
            except TemporaryError as err:
                unable = unable or err
        if unable is not None and not had:
            raise unable

    async def attach(self, uid: str) -> Handle:
        return await (await self._of(uid)).attacher.attach(uid)

    async def detach(self, uid: str) -> None:
        for backend in self._backends.values():
            await backend.attacher.detach(uid)

    async def usage(self, uid: str) -> Usage:
        return await (await self._of(uid)).attacher.usage(uid)

    async def expand(self, uid: str, size: int) -> Handle | None:
        return await (await self._of(uid)).attacher.expand(uid, size)

    async def prepare_snapshot(self, uid: str, *, snapshot: str, op_uid: str, in_use: bool) -> Handle | None:
        volumes = (await self._of(uid)).provisioner
        return await volumes.prepare_snapshot(uid, snapshot=snapshot, op_uid=op_uid, in_use=in_use)

    async def commit_snapshot(self, uid: str, *, snapshot: str, op_uid: str) -> Snapshot:
        backend = await self._of_snapshot(snapshot) or await self._of(uid)
        return await backend.provisioner.commit_snapshot(uid, snapshot=snapshot, op_uid=op_uid)

    async def cancel_snapshot(self, uid: str, *, snapshot: str) -> None:
        """Of a volume that is gone, wherever it was: what was prepared of it may be left."""
        for backend in await self._with(uid):
            await backend.provisioner.cancel_snapshot(uid, snapshot=snapshot)

    async def delete_snapshot(self, snapshot: str, *, of: str = "") -> None:
        had, unable = False, None
        for backend in await self._with(of):
            try:
                had = await _has_snapshot(backend, snapshot) or had
                await backend.provisioner.delete_snapshot(snapshot)
            except TemporaryError as err:
                unable = unable or err
        if unable is not None and not had:
            raise unable

    async def find_snapshot(self, snapshot: str, *, of: str = "") -> Snapshot | None:
        return await self._first(lambda backend: backend.provisioner.find_snapshot(snapshot), await self._with(of))

    async def snapshots(self) -> list[Snapshot]:
        return [found for backend in self._backends.values() for found in await backend.provisioner.snapshots()]

    async def merges(self, in_use: Collection[str]) -> list[Merge]:
        return [found for backend in self._backends.values() for found in await backend.provisioner.merges(in_use)]

    async def merged(self, merge: Merge) -> None:
        for backend in self._backends.values():
            await backend.provisioner.merged(merge)

    @property
    def lazily(self) -> Lazily:
        return _Lazily(self._lazily_of)

    @asynccontextmanager
    async def reading(self, uid: str) -> AsyncIterator[Handle]:
        async with (await self._having(uid)).attacher.reading(uid) as handle:
            yield handle

    async def layers(self, uid: str) -> Sequence[Handle]:
        return await (await self._having(uid)).attacher.layers(uid)

    async def _lazily_of(self, uid: str) -> Lazily | None:
        return (await self._of(uid)).provisioner.lazily

    async def _of_snapshot(self, snapshot: str) -> Backend | None:
        async def having(backend: Backend) -> Backend | None:
            return None if await backend.provisioner.find_snapshot(snapshot) is None else backend

        return await self._first(having)

    async def _having(self, uid: str) -> Backend:
        """The backend that has the volume or snapshot; NotFound where none has."""

        async def having(backend: Backend) -> Backend | None:
            there = await backend.provisioner.find(uid) or await backend.provisioner.find_snapshot(uid)
            return None if there is None else backend

        return _there(uid, await self._first_by(uid, having))

    async def _of(self, uid: str) -> Backend:
        """The backend that has the volume; NotFound where none has."""

        async def having(backend: Backend) -> Backend | None:
            return None if await backend.provisioner.find(uid) is None else backend

        return _there(uid, await self._first_by(uid, having))

    async def _with(self, volume: str) -> Sequence[Backend]:
        """The one that has the volume, and what was made of it; all of them where that is not known."""
        keeper = self._keepers(volume) if volume else None
        if volume and not (keeper is not None and keeper.moved):
            with suppress(NotFound, PermanentError, TemporaryError):
                return [await self._of(volume)]
        return [*self._backends.values()]

    async def _first_by(self, uid: str, ask: Callable[[Backend], Awaitable[T | None]]) -> T | None:
        """As ``_first``; what the owner of the volume names is asked before, as others may have a copy.

        A store that was restored may name one that has it no more. What a volume was moved away from is older than
        what its owner names, and never that; where it surely went the note counts for more than its owner.
        TemporaryError where only a move knows of it that may have ended or not, and no owner says.
        """
        keeper = self._keepers(uid)
        notes = self._departures.of(uid).values()
        name = self._departures.now(uid, "" if keeper is None else keeper.provisioner)
        named = self._backends.get(name)
        if named is not None and (found := await ask(named)) is not None:
            return found
        stale = {note.left for note in notes if note.final or note.to == name}
        unsure = {
            each
            for note in notes
            if not note.final and name not in (note.left, note.to)
            for each in (note.left, note.to)
        } - stale
        others = [each for each in self._backends.values() if each is not named and each.name not in stale]
        found = await self._first(ask, [each for each in others if each.name not in unsure])
        in_doubt = [each for each in others if each.name in unsure]
        if found is None and await self._first(ask, in_doubt) is not None:
            raise TemporaryError(
                f"Volume {uid} was being moved between {' and '.join(sorted(unsure))}, and nobody says which of "
                "them has it now. Both are kept, and neither is used until the status of its disk names one."
            )
        return found

    async def _first(
        self, ask: Callable[[Backend], Awaitable[T | None]], among: Sequence[Backend] | None = None
    ) -> T | None:
        """What the first backend has that has it. One that cannot be asked is heard of if no other has it."""
        unable: TemporaryError | None = None
        for backend in self._backends.values() if among is None else among:
            try:
                if (found := await ask(backend)) is not None:
                    return found
            except TemporaryError as err:
                unable = unable or err
        if unable is not None:
            raise unable
        return None


class _Lazily(Lazily):
    """Of whatever backend has the volume; one that cannot have any lazily has none."""

    def __init__(self, of: Callable[[str], Awaitable[Lazily | None]]) -> None:
        self._of = of

    async def image(self, uid: str) -> Path | None:
        found = await self._of(uid)
        return None if found is None else await found.image(uid)

    async def prepare(self, uid: str) -> Handle:
        found = await self._of(uid)
        if found is None:
            raise PermanentError(f"Volume {uid} is not made of an image that is being fetched.")
        return await found.prepare(uid)

    async def prepared(self, uid: str) -> Handle | None:
        found = await self._of(uid)
        return None if found is None else await found.prepared(uid)

    async def commit(self, uid: str) -> None:
        if (found := await self._of(uid)) is not None:
            await found.commit(uid)

    async def cancel(self, uid: str) -> None:
        if (found := await self._of(uid)) is not None:
            await found.cancel(uid)


def nobody_says(uid: str) -> Keeper | None:
    """Before anybody is asked."""
    return None


def _there(uid: str, backend: Backend | None) -> Backend:
    if backend is None:
        raise NotFound(f"Volume {uid} does not exist.")
    return backend


async def _has(backend: Backend, uid: str) -> bool:
    """Whether the volume is there, whole or damaged."""
    try:
        return await backend.provisioner.find(uid) is not None
    except PermanentError:
        return True


async def _has_snapshot(backend: Backend, snapshot: str) -> bool:
    """Likewise."""
    try:
        return await backend.provisioner.find_snapshot(snapshot) is not None
    except PermanentError:
        return True
