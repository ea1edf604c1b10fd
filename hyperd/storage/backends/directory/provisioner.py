"""Makes volumes of the directory pool: blank ones, and overlays of cached images and of snapshots."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from hyperd.background import to_the_end
from hyperd.errors import NotFound, PermanentError, TemporaryError
from hyperd.imagefile import copying, files
from hyperd.imagefile.handle import DiskFormat, FileHandle, Handle
from hyperd.imagefile.qemuimg import QemuImg
from hyperd.progress import Report
from hyperd.resources.core import storage_class
from hyperd.resources.values.quantity import format_human, round_up
from hyperd.settings import Settings
from hyperd.storage.backends.directory.fetching import LazyVolumes
from hyperd.storage.backends.directory.folder import Folder
from hyperd.storage.backends.directory.layers import Layer, Mark, MarkKind, Tree
from hyperd.storage.backends.directory.merging import Merger
from hyperd.storage.backends.directory.origins import Origin
from hyperd.storage.interface import (
    BUSY,
    Capability,
    Capacity,
    Merge,
    Provisioner,
    Snapshot,
    Volume,
    check_uid,
)
from hyperd.storage.overcommit import Overcommit

_METADATA_BYTES = 1 << 20
"""What an empty qcow2 takes on disk, generously."""
_MOST_LAYERS = 150
"""Of one volume: QEMU opens all of them, and libvirt starts no guest whose chain has more than 200."""


class DirectoryProvisioner(Provisioner):
    """Sizes are rounded up to whole MiB. libvirt gives a file to QEMU's user for as long as a domain runs.

    A volume from an image or a snapshot is an overlay of it, made at once, and reads it as long as it exists. A
    snapshot is what was the volume's top until then: the guest goes on in an overlay of that.
    """

    name: ClassVar = storage_class.PROVISIONER
    capabilities: ClassVar = frozenset(
        {Capability.CLONE, Capability.GROW_IN_USE, Capability.RECEIVE, Capability.SNAPSHOT, Capability.THIN}
    )

    def __init__(
        self, settings: Settings, folder: Folder, tools: QemuImg, merger: Merger, lazily: LazyVolumes
    ) -> None:
        self._folder = folder
        self._lazily = lazily
        self._reserve = settings.storage.reserve_bytes
        self._overcommit = Overcommit(settings.storage.overcommit_ratio, self._measure)
        self._tools = tools
        self._merger = merger

    @property
    def lazily(self) -> LazyVolumes:
        return self._lazily

    async def create_blank(self, uid: str, size: int) -> Volume:
        size = _aligned(size)
        return await self._create(uid, size, lambda path: self._tools.create_blank(path, size), of=Origin())

    async def create_from_image(self, uid: str, size: int, *, image: Handle) -> Volume:
        if not isinstance(image, FileHandle):
            raise PermanentError(
                f"Volume {uid} cannot be made over {image}: the image must be a file of the node."
            )
        size = _aligned(size)
        return await self._create(
            uid, size, lambda path: self._overlay(path, image, size), of=Origin.of_image(image.path)
        )

    async def create_from_snapshot(self, uid: str, size: int, *, snapshot: str) -> Volume:
        size = _aligned(size)
        async with self._merger.changing:
            tree = await asyncio.to_thread(self._folder.tree)
            layer = _layer_of(tree, MarkKind.SNAPSHOT, check_uid(snapshot))
            if layer is None:
                raise NotFound(f"Snapshot {snapshot} does not exist.")
            _require_shallow(tree, layer)
            origin = await asyncio.to_thread(self._folder.origins.of, tree, layer)
            return await self._create(uid, size, lambda path: self._overlay(path, layer.handle, size), of=origin)

    async def clone(self, uid: str, *, source: str, op_uid: str) -> Volume:
        """A copy of the top: what lies below it never changes, and is read by both."""
        await self._lazily.require_whole(source)
        async with self._merger.changing:
            top = await asyncio.to_thread(self._folder.top, source)
            if top is None:
                raise NotFound(f"Volume {source} does not exist.")
            with self._merger.hold(top.name):
                await self._merger.interrupt(source)
                await self._merger.mend(source)
                tree = await asyncio.to_thread(self._folder.tree)
                origin = await asyncio.to_thread(self._folder.origins.of, tree, tree.layers.get(top.name, top))
                return await self._create(
                    uid, top.virtual_size, lambda made: self._tools.copy(top.path, made), of=origin
                )

    async def receive(
        self, uid: str, size: int, *, layers: Sequence[Handle], op_uid: str, report: Report
    ) -> Volume:
        """Its layer is called after the operation: the name of a first one may be a snapshot's."""

        async def make(made: Path) -> None:
            if not layers:
                await self._tools.create_blank(made, _aligned(size))
                return
            had = await copying.copy(
                self._tools, layers, made, output=DiskFormat.QCOW2, reserve=self._reserve, report=report
            )
            if had < _aligned(size):
                await self._tools.resize(made, _aligned(size))

        return await self._create(uid, _aligned(size), make, of=Origin(), begun_by=op_uid)

    async def prepare_snapshot(self, uid: str, *, snapshot: str, op_uid: str, in_use: bool) -> Handle | None:
        path = self._folder.file(uid, snapshot)
        await self._lazily.require_whole(uid)
        async with self._merger.changing:
            tree = await asyncio.to_thread(self._folder.tree)
            top = await asyncio.to_thread(self._folder.top, uid)
            if top is None:
                raise NotFound(f"Volume {uid} does not exist.")
            mark = Mark(path.name.removesuffix(path.suffix), snapshot, MarkKind.PREPARING)
            committed = tree.mark(MarkKind.SNAPSHOT, snapshot) is not None
            if not in_use and not committed and self._merger.told(uid) not in (None, mark.layer):
                raise TemporaryError(f"Volume {uid} is being attached to a guest.", key=BUSY)
            if any(layer.path == path for layer in tree.layers.values()):
                return FileHandle(path, DiskFormat.QCOW2)
            if committed:
                return top.handle
            other = _pending(tree, uid)
            if other is not None and other != mark:
                raise TemporaryError(f"Another snapshot of volume {uid} is being taken.", key=BUSY)
            _require_shallow(tree, tree.layers.get(top.name, top))
            await self._require_space()
            if not in_use:
                await self._merger.mend(uid)
            await asyncio.to_thread(self._folder.put, mark)
            await self._make(path, lambda made: self._overlay(made, top.handle, top.virtual_size))
            return FileHandle(path, DiskFormat.QCOW2)

    async def commit_snapshot(self, uid: str, *, snapshot: str, op_uid: str) -> Snapshot:
        async with self._merger.changing:
            return await to_the_end(self._commit, uid, snapshot)

    async def cancel_snapshot(self, uid: str, *, snapshot: str) -> None:
        async with self._merger.changing:
            await to_the_end(self._cancel, uid, snapshot)

    async def delete_snapshot(self, snapshot: str) -> None:
        async with self._merger.changing:
            await to_the_end(self._discard, check_uid(snapshot))

    async def find_snapshot(self, snapshot: str) -> Snapshot | None:
        check_uid(snapshot)
        found = await asyncio.to_thread(self._folder.find_snapshot, snapshot)
        if found is None:
            return None
        layer, mark = found
        if not layer.virtual_size:
            raise PermanentError(f"The file of snapshot {snapshot} is damaged; delete the snapshot.")
        return self._snapshot(layer, mark, layer.allocated)

    async def snapshots(self) -> list[Snapshot]:
        tree = await asyncio.to_thread(self._folder.tree)
        return [
            self._snapshot(layer, mark, tree.own(layer))
            for mark in tree.marks
            if mark.kind in (MarkKind.SNAPSHOT, MarkKind.PREPARING)
            and (layer := tree.layers.get(mark.layer)) is not None
        ]

    async def merges(self, in_use: Collection[str]) -> Sequence[Merge]:
        return await self._merger.merge(in_use)

    async def merged(self, merge: Merge) -> None:
        await self._merger.merged(merge)

    async def grow(self, uid: str, size: int, *, in_use: bool) -> Volume:
        """QEMU alone may write to a file that it has open, so that it grows that one."""
        size = _aligned(size)
        top = await asyncio.to_thread(self._folder.top, uid)
        if top is None:
            raise NotFound(f"Volume {uid} does not exist.")
        if size < top.virtual_size:
            raise PermanentError(
                f"Volume {uid} has {top.virtual_size} bytes and cannot shrink to {size}: its end would be lost."
            )
        if size > top.virtual_size:
            await self._lazily.require_whole(uid)
            if _pending(await asyncio.to_thread(self._folder.tree), uid) is not None:
                raise TemporaryError(f"A snapshot of volume {uid} is being taken; it grows after that.", key=BUSY)
            async with self._overcommit.promise(uid, size):
                if not in_use:
                    await self._merger.interrupt(uid)
                    await self._tools.resize(top.path, size)
                    top = await asyncio.to_thread(self._folder.top, uid) or top
        return self._volume(top)

    async def delete(self, uid: str) -> None:
        check_uid(uid)
        await self._merger.interrupt(uid)
        self._merger.detach(uid)
        async with self._merger.changing:
            await to_the_end(self._delete, uid)

    async def find(self, uid: str) -> Volume | None:
        top = await asyncio.to_thread(self._folder.top, uid)
        return None if top is None else self._volume(top)

    async def inventory(self) -> list[Volume]:
        tree = await asyncio.to_thread(self._folder.tree)
        found = {top.uid: self._volume(top, tree.own(top)) for top in tree.tops()}
        return list(found.values())

    async def reads(self, image: Path) -> bool:
        """A damaged file may overlay anything."""
        tree = await asyncio.to_thread(self._folder.tree)
        return bool(tree.unread) or any(
            layer.backing is not None and layer.backing.path == image for layer in tree.layers.values()
        )

    async def capacity(self) -> Capacity:
        """Less ``settings.storage.reserve_bytes``, which volumes have to leave."""
        total, free = await asyncio.to_thread(self._folder.space)
        return Capacity(max(0, total - self._reserve), max(0, free - self._reserve))

    async def _overlay(self, made: Path, base: FileHandle, size: int) -> None:
        await self._tools.create_overlay(made, base=base.path, base_format=base.format, size=size)

    async def _create(
        self, uid: str, size: int, make: Callable[[Path], Awaitable[None]], *, of: Origin, begun_by: str = ""
    ) -> Volume:
        if (found := await self.find(uid)) is not None:
            return found
        await self._require_space()
        async with self._overcommit.promise(uid, size):
            await asyncio.to_thread(self._folder.note, uid, of)
            return self._volume(await self._make(self._folder.file(uid, begun_by), make))

    async def _make(self, path: Path, make: Callable[[Path], Awaitable[None]]) -> Layer:
        made = files.temporary(path)
        try:
            await asyncio.to_thread(made.unlink, missing_ok=True)
            await make(made)
            return await to_the_end(self._folder.publish, made, path)
        except BaseException:
            await asyncio.to_thread(made.unlink, missing_ok=True)
            raise

    async def _require_space(self) -> None:
        if (await self.capacity()).available < _METADATA_BYTES:
            raise TemporaryError(
                f"No space for a new volume in {self._folder.path}: {format_human(self._reserve)} must stay free "
                "(setting storage.reserve_bytes)."
            )

    def _commit(self, uid: str, snapshot: str) -> Snapshot:
        tree = self._folder.tree()
        mark = tree.mark(MarkKind.SNAPSHOT, snapshot)
        if mark is None:
            path = self._folder.file(uid, snapshot)
            upper = next((layer for layer in tree.layers.values() if layer.path == path), None)
            lower = None if upper is None else next(iter(tree.chain(upper)[1:]), None)
            if lower is None:
                raise NotFound(f"Snapshot {snapshot} of volume {uid} was not prepared.")
            mark = Mark(lower.name, snapshot, MarkKind.SNAPSHOT)
            self._folder.put(mark)
        self._folder.drop(each for each in tree.marks if (each.uid, each.kind) == (snapshot, MarkKind.PREPARING))
        layer = tree.layers.get(mark.layer)
        if layer is None:
            raise PermanentError(f"The file of snapshot {snapshot} is gone.")
        return self._snapshot(layer, mark, layer.allocated)

    def _cancel(self, uid: str, snapshot: str) -> None:
        path = self._folder.file(uid, snapshot)
        tree = self._folder.tree()
        mark = tree.mark(MarkKind.PREPARING, snapshot)
        if mark is None:
            return
        if self._merger.told(uid) in ("", mark.layer):
            raise TemporaryError(f"Volume {uid} was attached since its snapshot was prepared.", key=BUSY)
        self._folder.remove([path])
        self._folder.drop([mark])

    def _discard(self, snapshot: str) -> None:
        for mark in self._folder.tree().marks:
            if (mark.uid, mark.kind) == (snapshot, MarkKind.SNAPSHOT):
                self._folder.replace(mark, Mark(mark.layer, snapshot, MarkKind.GARBAGE))
        self._folder.reap(self._merger.held)

    def _delete(self, uid: str) -> None:
        """What a commit left is not gone on with by its marks: the layer that it went into may be half written."""
        files.unlink(files.temporary(self._folder.file(uid)))
        while True:
            tree = self._folder.tree()
            of_guest = (MarkKind.MERGING, MarkKind.SETTLING)
            self._folder.drop(mark for mark in tree.marks if mark.uid == uid and mark.kind in of_guest)
            tops = [top.path for top in self._folder.tree().tops() if top.uid == uid]
            if not tops:
                break
            self._folder.remove(tops)
        pending = _pending(self._folder.tree(), uid)
        self._folder.drop([] if pending is None else [pending])
        self._folder.reap(self._merger.held)
        self._folder.forget([uid])

    async def _measure(self) -> tuple[int, Mapping[str, int]]:
        return await asyncio.to_thread(self._measured)

    def _measured(self) -> tuple[int, Mapping[str, int]]:
        """A volume may grow to its size; what lies below its top does not grow."""
        whole, _ = self._folder.space()
        tree = self._folder.tree()
        tops = {top.name: top for top in tree.tops()}
        found = {layer.name: layer.allocated for layer in tree.layers.values() if layer.name not in tops}
        return max(0, whole - self._reserve), found | {top.uid: top.virtual_size for top in tops.values()}

    def _snapshot(self, layer: Layer, mark: Mark, allocated: int) -> Snapshot:
        pending = mark.kind is MarkKind.PREPARING
        return Snapshot(mark.uid, layer.uid, self.name, layer.virtual_size, 0 if pending else allocated, pending)

    def _volume(self, top: Layer, allocated: int | None = None) -> Volume:
        return Volume(top.uid, self.name, top.virtual_size, top.allocated if allocated is None else allocated)


def _layer_of(tree: Tree, kind: MarkKind, uid: str) -> Layer | None:
    mark = tree.mark(kind, uid)
    return None if mark is None else tree.layers.get(mark.layer)


def _pending(tree: Tree, uid: str) -> Mark | None:
    """The mark of the snapshot of a volume that is between its halves."""
    mine = (mark for mark in tree.marks if mark.kind is MarkKind.PREPARING)
    return next((mark for mark in mine if mark.layer.partition(".")[0] == uid), None)


def _require_shallow(tree: Tree, layer: Layer) -> None:
    """PermanentError where no layer may be put on this one."""
    if (count := len(tree.chain(layer))) >= _MOST_LAYERS:
        raise PermanentError(
            f"Volume {layer.uid} has {count} layers, and {_MOST_LAYERS} are the most: each snapshot adds one, and "
            "so does each disk that is made of a snapshot. Delete some of its snapshots."
        )


def _aligned(size: int) -> int:
    if size <= 0:
        raise PermanentError(f"A volume of {size} bytes cannot be made; its size must be positive.")
    return round_up(size)
