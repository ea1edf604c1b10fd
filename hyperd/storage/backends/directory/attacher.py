"""Volumes of the directory pool on their node: a file needs nothing to be opened."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from hyperd.errors import NotFound, PermanentError
from hyperd.imagefile.handle import FileHandle
from hyperd.storage.backends.directory.fetching import LazyVolumes
from hyperd.storage.backends.directory.folder import Folder
from hyperd.storage.backends.directory.layers import Layer, MarkKind, Tree
from hyperd.storage.backends.directory.merging import Merger
from hyperd.storage.backends.directory.origins import stranger
from hyperd.storage.interface import Attacher, Usage, check_uid


class DirectoryAttacher(Attacher):
    """Tells where the files are: a volume's handle is its top, which is another one after a snapshot."""

    def __init__(self, folder: Folder, merger: Merger, lazily: LazyVolumes, *, images: Path) -> None:
        """``images`` is the folder of what volumes overlay."""
        self._folder = folder
        self._lazily = lazily
        self._images = images
        self._merger = merger

    async def attach(self, uid: str) -> FileHandle:
        await self._merger.attach(check_uid(uid))
        top = await self._find(uid)
        if top.backing is not None:
            # One that is read from an image alone is judged without a look at all others: there may be thousands.
            above = top.backing.path.parent != self._folder.path
            tree = Tree((top,), ()) if above else await asyncio.to_thread(self._folder.tree)
            await self._require_own(uid, tree, tree.layers.get(top.name, top))
        self._merger.tell(uid, top.name)
        return await self._lazily.opened(top)

    async def detach(self, uid: str) -> None:
        self._merger.detach(uid)

    async def usage(self, uid: str) -> Usage:
        top = await self._find(uid)
        _, free = await asyncio.to_thread(self._folder.space)
        tree = await asyncio.to_thread(self._folder.tree)
        return Usage(top.virtual_size, tree.own(tree.layers.get(top.name, top)), free)

    async def expand(self, uid: str, size: int) -> FileHandle:
        """QEMU grows the file itself."""
        return (await self._find(uid)).handle

    @asynccontextmanager
    async def reading(self, uid: str) -> AsyncIterator[FileHandle]:
        await self._lazily.require_whole(check_uid(uid))
        async with self._merger.changing:
            tree = await asyncio.to_thread(self._folder.tree)
            mark = tree.mark(MarkKind.SNAPSHOT, check_uid(uid))
            layer = await self._find(uid) if mark is None else tree.layers.get(mark.layer)
            if layer is None:
                raise NotFound(f"Snapshot {uid} does not exist.")
            held = self._merger.hold(layer.name)
            held.__enter__()
        try:
            await self._merger.make_whole(layer.uid)
            yield layer.handle
        finally:
            held.__exit__(None, None, None)

    async def layers(self, uid: str) -> Sequence[FileHandle]:
        """The files of the pool, and the image that the last of them overlays."""
        await self._lazily.require_whole(uid)
        tree = await asyncio.to_thread(self._folder.tree)
        mark = tree.mark(MarkKind.SNAPSHOT, check_uid(uid))
        top = await self._find(uid) if mark is None else tree.layers.get(mark.layer)
        if top is None:
            raise NotFound(f"Snapshot {uid} does not exist.")
        top = tree.layers.get(top.name, top)
        await self._require_own(uid, tree, top)
        chain = tree.chain(top)
        image = chain[-1].backing
        if image is None:
            return [layer.handle for layer in chain]
        if image.path.parent != self._images:
            # A guest's QEMU may write to its top's header.
            raise PermanentError(
                f"Volume {uid} is damaged: it is read from {image}, which is no image of this node."
            )
        return [*(layer.handle for layer in chain), image]

    async def _require_own(self, uid: str, tree: Tree, top: Layer) -> None:
        """PermanentError where it is read from what it was not made of: a guest's QEMU may write to its top."""
        origin = await asyncio.to_thread(self._folder.origins.find, top.uid)
        found = stranger(tree, top, origin)
        if found is not None:
            # A mark that took another's place while the folder was listed may have been seen nowhere.
            async with self._merger.changing:
                tree = await asyncio.to_thread(self._folder.tree)
            found = stranger(tree, tree.layers.get(top.name, top), origin)
        if found is not None:
            raise PermanentError(
                f"Volume {uid} is damaged: it is read from {found}, and {self._folder.origins.file(top.uid)} says "
                "that it was made of others. Its guest may have taken over its hypervisor; restore the volume "
                "from a snapshot or a backup."
            )

    async def _find(self, uid: str) -> Layer:
        found = await asyncio.to_thread(self._folder.top, uid)
        if found is None:
            raise NotFound(f"Volume {uid} does not exist.")
        return found
