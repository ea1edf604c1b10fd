"""Frees what deleted snapshots held, by making two layers of a chain one.

A layer that is garbage and read by one other goes once that has all of it. While a guest has them open its own
QEMU does that, else ``qemu-img`` here; both copy first and change the reader's header last, so that whatever ends
them leaves a chain that reads as before. A guest that is about to start waits for none of it: it is ended.

The header may be on the disk before all that was copied is, and a file does not tell. So the lower layer is marked
before, and stays until it is sure that the reader has all of it; whoever opens a reader of which that is not sure
has its header name the lower layer again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

from hyperd.background import to_the_end
from hyperd.errors import HyperdError
from hyperd.imagefile.handle import DiskFormat, FileHandle
from hyperd.imagefile.qemuimg import QemuImg
from hyperd.storage.backends.directory.folder import Folder
from hyperd.storage.backends.directory.layers import SUFFIX, Layer, Mark, MarkKind, Tree
from hyperd.storage.backends.directory.origins import may_read
from hyperd.storage.interface import Merge, MergeKind

_SECONDS: Final = 60.0
_SECONDS_A_GIB: Final = 60.0
"""Of what is copied: far more than it takes."""
_log = logging.getLogger(__name__)


class Merger:
    """Of one folder. ``changing`` is held by whoever changes which layers there are."""

    def __init__(self, folder: Folder, tools: QemuImg, *, reserve: int) -> None:
        """``reserve`` bytes stay free: a merge copies before it frees, and guests stop where the disk is full."""
        self._folder = folder
        self._reserve = reserve
        self._short: set[str] = set()
        """Layers for whose merge there was no room: told once."""
        self._tools = tools
        self.changing = asyncio.Lock()
        self._merging = asyncio.Lock()
        self._held: dict[str, int] = {}
        """Layers that something here reads, or that a guest may open any time, with those below them."""
        self._attached: dict[str, str] = {}
        """Volumes that a guest may open any time, and the layer that it was told to; empty while that is found."""
        self._work: tuple[str, asyncio.Task[None]] | None = None

    @property
    def held(self) -> Collection[str]:
        """Names of the layers that somebody reads."""
        return self._held.keys()

    async def attach(self, uid: str) -> None:
        """A guest may open the volume from now on; ``tell`` says by which layer."""
        self._attached[uid] = ""
        await self.make_whole(uid)

    async def make_whole(self, uid: str) -> None:
        """Before somebody opens it: nothing is being done to it, and it reads what it may not have all of."""
        await self.interrupt(uid)
        if await asyncio.to_thread(self._folder.is_pulled, uid):
            async with self.changing:
                await self.mend(uid)

    def tell(self, uid: str, layer: str) -> None:
        """Until the volume is attached anew its guest opens that one, whatever the top is by then."""
        if uid in self._attached:
            self._attached[uid] = layer

    def told(self, uid: str) -> str | None:
        """The layer by which a guest may open the volume; empty where that is not known, None where none may."""
        return self._attached.get(uid)

    def detach(self, uid: str) -> None:
        """None does any more."""
        self._attached.pop(uid, None)

    @contextmanager
    def hold(self, layer: str) -> Iterator[None]:
        """Somebody reads ``layer`` meanwhile."""
        self._held[layer] = self._held.get(layer, 0) + 1
        try:
            yield
        finally:
            self._held[layer] -= 1
            if not self._held[layer]:
                del self._held[layer]

    async def interrupt(self, uid: str) -> None:
        """End what is being done to layers that the volume reads."""
        if self._work is None:
            return
        name, task = self._work
        tree = await asyncio.to_thread(self._folder.tree)
        if any(name in _names(tree, top) for top in tree.tops() if top.uid == uid):
            task.cancel()
            await asyncio.wait([task])

    async def mend(self, uid: str) -> None:
        """Have the volume read what it may not have all of, unless its guest has it open. ``changing`` is held."""
        if not await asyncio.to_thread(self._folder.is_pulled, uid):
            return
        tree = await asyncio.to_thread(self._folder.tree)
        for lower, upper, mark in tree.pulled():
            if upper.uid == uid:
                await self._mend(lower, upper, mark)

    async def merge(self, in_use: Collection[str]) -> Sequence[Merge]:
        """Do what can be done here; what guests' QEMUs must do is returned. One at a time."""
        async with self._merging:
            failed: set[str] = set()
            while True:
                async with self.changing:
                    await to_the_end(self._move_marks)
                    tree = await to_the_end(self._folder.reap, self.held)
                    tree = await self._mend_unused(tree, in_use)
                    _, free = await asyncio.to_thread(self._folder.space)
                room = free - self._reserve
                busy = self._busy(tree, in_use)
                own = await asyncio.to_thread(self._own_pairs, tree)
                pairs = (pair for pair in own if _free(pair, busy, failed))
                mine = next((pair for pair in pairs if self._fits(*pair, room)), None)
                if mine is None:
                    return await self._noted(self._live(tree, own, set(in_use), room))
                if not await self._rebase(*mine):
                    failed.add(mine[0].name)

    async def merged(self, merge: Merge) -> None:
        """A guest's QEMU has done it; what it pulled is in the file for good."""
        async with self.changing:
            await to_the_end(self._confirm, merge)
            await to_the_end(self._move_marks)
            await to_the_end(self._folder.reap, self.held)

    async def _mend_unused(self, tree: Tree, in_use: Collection[str]) -> Tree:
        """What a guest left that ended, or a tool of ours: nobody knows how much of the pull is in the file."""
        pulled = () if tree.unread else tree.pulled()
        tops = [top for top in tree.tops() if top.uid in in_use or top.uid in self._attached]
        for lower, upper, mark in pulled:
            if not any(upper in tree.chain(top) for top in tops):
                try:
                    await self._mend(lower, upper, mark)
                except HyperdError as err:
                    _log.warning("What %s held is not freed yet: %s", lower.path, err.message)
        return await asyncio.to_thread(self._folder.tree) if pulled else tree

    async def _mend(self, lower: Layer, upper: Layer, mark: Mark) -> None:
        if await self._tools.read_again(upper.path, base=lower.path, base_format=DiskFormat.QCOW2):
            await asyncio.to_thread(self._folder.drop, [mark])

    def _confirm(self, merge: Merge) -> None:
        """Unless the upper layer reads the lower one again: its guest was ended meanwhile, and it was mended."""
        for lower, upper, mark in self._folder.tree().pulled():
            if merge.kind is not MergeKind.COMMIT and (upper.handle, lower.handle) == (merge.upper, merge.lower):
                self._folder.drop([mark])

    async def _noted(self, merges: Sequence[Merge]) -> Sequence[Merge]:
        """Before a commit is begun: at its end what the upper layer was is the lower one. Or a pull: see above."""
        for merge in merges:
            if isinstance(merge.upper, FileHandle) and isinstance(merge.lower, FileHandle):
                upper, lower = (each.path.name.removesuffix(SUFFIX) for each in (merge.upper, merge.lower))
                mark = Mark(upper, merge.uid, MarkKind.MERGING)
                if merge.kind is not MergeKind.COMMIT:
                    mark = Mark(lower, upper, MarkKind.PULLING)
                await asyncio.to_thread(self._folder.put, mark)
        return merges

    def _own_pairs(self, tree: Tree) -> Sequence[tuple[Layer, Layer]]:
        """Of ``_pairs``, but of those in which a volume's header names what it was not made of."""
        found = []
        for lower, upper in _pairs(tree):
            try:
                origin = None if lower.uid == upper.uid else self._folder.origins.find(upper.uid)
            except HyperdError as err:
                _log.warning("What %s held is not freed yet: %s", lower.path, err.message)
                continue
            if may_read(tree, upper.uid, lower, origin):
                found.append((lower, upper))
        return found

    def _live(self, tree: Tree, pairs: Sequence[tuple[Layer, Layer]], in_use: set[str], room: int) -> list[Merge]:
        """What QEMUs can do: each pair that one guest alone has open, and what is to be made sure of."""
        tops = [layer for layer in tree.tops() if layer.uid in in_use]
        found = [
            Merge(top.uid, MergeKind.SETTLE, upper.handle, lower.handle, upper.backing)
            for lower, upper, _ in tree.pulled()
            for top in tops
            if upper in tree.chain(top)
        ]
        for lower, upper in pairs:
            users = [top for top in tops if upper in tree.chain(top)]
            if len(users) != 1 or tree.marked(users[0], MarkKind.PREPARING):
                continue
            kind = MergeKind.PULL if users[0] is upper else MergeKind.COMMIT
            if kind is MergeKind.COMMIT and (len(tree.children(upper)) != 1 or lower.name in self._held):
                continue
            source, target = (lower, upper) if kind is MergeKind.PULL else (upper, lower)
            if self._fits(source, target, room):
                found.append(Merge(users[0].uid, kind, upper.handle, lower.handle, lower.backing))
        return found

    def _fits(self, source: Layer, target: Layer, room: int) -> bool:
        """Whether what ``source`` has may be copied into ``target``: at most what that may still take."""
        most = min(source.allocated, max(0, target.virtual_size - target.allocated))
        if most <= room:
            self._short.discard(source.name)
            return True
        if source.name not in self._short:
            self._short.add(source.name)
            _log.warning(
                "A deleted snapshot's space is not freed: %s may need %d bytes for that.", target.path, most
            )
        return False

    def _busy(self, tree: Tree, in_use: Collection[str]) -> set[str]:
        """Layers that a guest or a reader has open, or may open any time."""
        open_ = {*self._attached, *in_use}
        tops = [layer for layer in tree.tops() if layer.uid in open_]
        held = [tree.layers[name] for name in self._held if name in tree.layers]
        return {name for layer in (*tops, *held) for name in _names(tree, layer)}

    async def _rebase(self, lower: Layer, upper: Layer) -> bool:
        base, mark = lower.backing, Mark(lower.name, upper.name, MarkKind.PULLING)
        try:
            await asyncio.to_thread(self._folder.put, mark)
        except HyperdError as err:
            _log.warning("What %s held is not freed yet: %s", lower.path, err.message)
            return False
        timeout = _SECONDS + _SECONDS_A_GIB * lower.allocated / (1 << 30)
        work = self._tools.rebase(
            upper.path,
            base=None if base is None else base.path,
            base_format=DiskFormat.QCOW2 if base is None else base.format,
            timeout=timeout,
        )
        task = asyncio.create_task(work, name=f"merge {upper.name}")
        self._work = upper.name, task
        try:
            await asyncio.wait([task])
            if task.cancelled():
                return False
            task.result()
        except HyperdError as err:
            _log.warning("What %s held is not freed yet: %s", lower.path, err.message)
            return False
        finally:
            self._work = None
            if not task.done():
                task.cancel()
                with suppress(asyncio.CancelledError, HyperdError):
                    await task
        await asyncio.to_thread(self._forget, upper, mark)
        return True

    def _forget(self, upper: Layer, mark: Mark) -> None:
        """What a guest's QEMU had begun to do with it is not to be gone on with."""
        self._folder.drop([*self._folder.tree().marked(upper, MarkKind.MERGING), mark])

    def _move_marks(self) -> None:
        """Of what was committed into the layer below: that is now what this was, and this is nothing any more."""
        tree = self._folder.tree()
        if tree.unread:
            return
        for mark in tree.marks:
            upper = tree.layers.get(mark.layer)
            if mark.kind is not MarkKind.MERGING or (upper is not None and tree.marked(upper, MarkKind.PULLING)):
                continue
            lower = None if upper is None else next(iter(tree.chain(upper)[1:]), None)
            if upper is None or lower is None:
                self._folder.drop([mark])
            elif not tree.children(upper) and upper.name not in self._held:
                for kept in tree.marked(upper, MarkKind.SNAPSHOT):
                    self._folder.replace(kept, Mark(lower.name, kept.uid, kept.kind))
                if not tree.marked(upper, MarkKind.GARBAGE):
                    self._folder.drop(tree.marked(lower, MarkKind.GARBAGE))
                self._folder.remove([upper.path])
                self._folder.drop([*tree.marked(upper, MarkKind.GARBAGE), mark])


def _names(tree: Tree, layer: Layer) -> list[str]:
    return [each.name for each in tree.chain(layer)]


def _pairs(tree: Tree) -> Iterator[tuple[Layer, Layer]]:
    """What is garbage, and the only layer that reads it; none where that is not sure."""
    unsure = {upper.name for _, upper, _ in tree.pulled()}
    for lower in () if tree.unread else tree.layers.values():
        children = tree.children(lower)
        if len(children) != 1 or not tree.marked(lower, MarkKind.GARBAGE):
            continue
        if not unsure.isdisjoint((lower.name, children[0].name)):
            continue
        if not tree.marked(lower, MarkKind.SNAPSHOT) and lower.virtual_size and children[0].virtual_size:
            yield lower, children[0]


def _free(pair: tuple[Layer, Layer], busy: Collection[str], failed: Collection[str]) -> bool:
    lower, upper = pair
    return upper.name not in busy and lower.name not in failed
