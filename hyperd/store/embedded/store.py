"""The embedded home: the Store over one SQLite file, for one machine.

The rules it keeps: reads come from memory and see only what is durable; every write is compare-and-set under the
object's turn; two daemons never share a file. Beside Kubernetes' grammar it does the work of its garbage
collector and namespace controller, because no other process would.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from hyperd.background import end_all
from hyperd.errors import AlreadyExists, BadRequest, Cause
from hyperd.offload import Offload, is_large
from hyperd.resources.core.scale import SCALE, SUBRESOURCE
from hyperd.resources.schema.kind import Kind, Object, Registry
from hyperd.resources.schema.structural import check_metadata, invalid
from hyperd.settings import StoreSettings
from hyperd.store.embedded import checks, deletion
from hyperd.store.embedded.engine import Engine
from hyperd.store.embedded.housekeeping import Housekeeper
from hyperd.store.embedded.ledger import Ledger
from hyperd.store.embedded.memory import Memory, Place, not_found
from hyperd.store.embedded.namespaces import Namespaces
from hyperd.store.embedded.pipeline import Pipeline, precondition_failed, random_name
from hyperd.store.embedded.quota import QuotaKeeper, Quotas
from hyperd.store.embedded.reading import EmbeddedReader
from hyperd.store.embedded.schema import MIGRATIONS, Migration
from hyperd.store.embedded.watching import QUEUE_LIMIT, Hub
from hyperd.store.grammar import core_kinds, scaling
from hyperd.store.grammar.beside import Beside
from hyperd.store.grammar.fields.apply import apply
from hyperd.store.grammar.fields.tracking import differs_in_times_alone, track
from hyperd.store.grammar.patching import apply_patch
from hyperd.store.grammar.preparing import report_unknown
from hyperd.store.interface import (
    BY_SYSTEM,
    SYSTEM,
    Admit,
    Item,
    PatchType,
    Preconditions,
    Propagation,
    Write,
)
from hyperd.store.records import Stored

_NAME_ATTEMPTS = 8
_ANYTHING = Preconditions()


class EmbeddedStore(EmbeddedReader):
    """``Store`` and ``Reader`` in one process, durable in one file. ``start`` before use, ``close`` at the end."""

    def __init__(
        self,
        path: Path,
        *,
        settings: StoreSettings,
        admit: Admit | None,
        kinds: Registry,
        migrations: Sequence[Migration] = MIGRATIONS,
        vfs: str = "",
        queue_limit: int = QUEUE_LIMIT,
        processes: Offload | None = None,
    ) -> None:
        """``admit`` None admits everything; it may be set any time before the first write it must see.

        ``processes`` work on large objects, which a thread does without them.
        ``queue_limit`` is how many events may wait for one watcher; ``vfs`` names SQLite's file layer.
        """
        self.path = path
        self.admit = admit
        self.kinds = kinds
        memory = Memory(kinds)
        engine = Engine(
            path,
            log_events=settings.watch_log_events,
            log_bytes=settings.watch_log_bytes,
            on_commit=lambda changes: self._ledger.committed(changes),
            migrations=migrations,
            vfs=vfs,
        )
        super().__init__(memory, Hub(memory, queue_limit=queue_limit), engine)
        self._ledger = Ledger(self._memory, self._engine, namespace_bytes=settings.namespace_bytes)
        self._quotas = Quotas(self._memory, kinds)
        self._keeper = QuotaKeeper(self, self._memory, self._quotas)
        self._beside = Beside(processes)
        self._pipeline = Pipeline(self, lambda: self.admit, self._beside)
        self._namespaces = Namespaces(kinds, self._memory, self._ledger)
        self._housekeeper = Housekeeper(self, self._memory, self._ledger)
        self._ledger.observe(self._hub.publish)
        self._ledger.observe(self._housekeeper.observe)
        self._ledger.observe(self._keeper.observe)

    async def start(self) -> None:
        """Open the file, load it, and begin housekeeping. Raises PermanentError when the file cannot be used."""
        await self._engine.open()
        rows, rv = await self._engine.load()
        self._memory.load(rows, rv)
        self._ledger.begin()
        self._hub.begin()
        for kind, name in self._namespaces.missing():
            await self.create(kind, "", {"metadata": {"name": name}})
        self._housekeeper.start()
        self._keeper.start()

    async def close(self) -> None:
        """End watches and housekeeping, finish what was written, close the file. Safe to call twice."""
        await end_all(
            (
                ("the watches", self._end_watches),
                ("the quotas", self._keeper.stop),
                ("the store's housekeeping", self._housekeeper.stop),
                ("the store", self._engine.close),
            )
        )

    async def _end_watches(self) -> None:
        self._hub.close()

    async def backup(self, target: Path) -> None:
        """Write a consistent copy of the store to ``target``, 0600, while it is in use."""
        await self._engine.backup(target)

    @property
    def instance_id(self) -> str:
        """Made once for this file; marks what belongs to it."""
        return self._engine.instance_id

    @property
    def writes(self) -> int:
        """Changes committed since the start."""
        return self._ledger.writes

    @property
    def watchers(self) -> int:
        """Open watches."""
        return len(self._hub)

    async def create(self, kind: Kind, namespace: str, obj: Object, *, write: Write = BY_SYSTEM) -> Item:
        new, large = await self._pipeline.decode(kind, namespace, obj, write, applied=False)
        meta = new["metadata"]
        if meta.get("resourceVersion"):
            raise BadRequest("resourceVersion should not be set on objects to be created")
        name, prefix = meta.get("name"), meta.get("generateName")
        if not name and prefix and isinstance(prefix, str):
            for _ in range(_NAME_ATTEMPTS - 1):
                meta["name"] = random_name(prefix)
                if self._memory.get(kind, namespace, meta["name"]) is None:
                    break
        elif not name or not isinstance(name, str):
            raise invalid(kind, "", check_metadata(kind, new))
        return await self._create(kind, namespace, new, write, large=large)

    async def _create(self, kind: Kind, namespace: str, new: Object, write: Write, *, large: bool) -> Item:
        name = new["metadata"]["name"]
        async with self._ledger.turn(Place(kind, namespace, name)):
            self._namespaces.require_open(kind, namespace, name)
            if self._memory.get(kind, namespace, name) is not None:
                raise AlreadyExists(
                    f'{kind.qualified_resource} "{name}" already exists',
                    kind=kind.plural,
                    group=kind.group,
                    name=name,
                )
            return await self._add(kind, namespace, new, write, large=large)

    async def _add(
        self, kind: Kind, namespace: str, new: Object, write: Write, *, large: bool, applied: bool = False
    ) -> Item:
        """Write the decoded ``new``, whose turn is held, for the first time."""
        new = await self._pipeline.create(kind, new, write, applied=applied, large=large)
        # Again: admission took its time, and nothing may appear in a namespace that is going.
        self._namespaces.require_open(kind, namespace, new["metadata"]["name"])
        return await self._put(kind, new, None, write)

    async def _put(self, kind: Kind, new: Object, old: Stored | None, write: Write) -> Item:
        """Commit ``new`` unless it is a rehearsal. Raises QuotaExceeded."""
        if write.dry_run and write.rehearsal is not None:
            self._quotas.rehearse(kind, new, write.rehearsal)
            return Item.of(new)
        with self._quotas.charging(kind, new, old):
            if write.dry_run:
                return Item.of(new)
            return await self._ledger.put(kind, new, old, shares=write.shares or write.user != SYSTEM)

    async def update(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        obj: Object,
        *,
        subresource: str = "",
        write: Write = BY_SYSTEM,
    ) -> Item:
        if subresource == SUBRESOURCE:
            return await self._rescale(kind, namespace, name, lambda _: obj, write)
        new, large = await self._pipeline.decode(kind, namespace, obj, write, applied=False)
        async with self._ledger.turn(Place(kind, namespace, name)):
            old = self._memory.require(kind, namespace, name)
            if not new["metadata"].get("resourceVersion") and not kind.core:
                cause = Cause("metadata.resourceVersion", "Invalid value: 0x0: must be specified for an update")
                raise invalid(kind, name, [cause])
            return await self._replace(kind, old, new, subresource, write, large=large)

    async def patch(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        patch_type: PatchType,
        patch: object,
        *,
        subresource: str = "",
        force: bool = False,
        write: Write = BY_SYSTEM,
    ) -> Item:
        if patch_type is PatchType.APPLY:
            applied = self.apply(kind, namespace, name, patch, subresource=subresource, force=force, write=write)
            return (await applied)[0]
        if subresource == SUBRESOURCE:

            def change(scale: Object) -> Object:
                patched = apply_patch(kind, scale, patch_type, patch)
                with checks.blaming_the_patch(patched):
                    scaling.checked(patched)
                return patched

            return await self._rescale(kind, namespace, name, change, write)
        async with self._ledger.turn(Place(kind, namespace, name)):
            old = self._memory.require(kind, namespace, name)
            patched = await self._beside.patch(kind, old.raw, patch_type, patch, write)
            with checks.blaming_the_patch(patched):
                new, large = await self._pipeline.decode(kind, namespace, patched, write, applied=False)
            return await self._replace(kind, old, new, subresource, write, large=large)

    async def apply(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        config: object,
        *,
        subresource: str = "",
        force: bool = False,
        write: Write = BY_SYSTEM,
    ) -> tuple[Item, bool]:
        manager = write.field_manager
        if subresource == SUBRESOURCE:

            def change(scale: Object) -> Object:
                return apply(SCALE, scale, config, manager=manager, subresource=subresource, force=force)

            return await self._rescale(kind, namespace, name, change, write, applied=True), False
        async with self._ledger.turn(Place(kind, namespace, name)):
            old = self._memory.get(kind, namespace, name)
            if old is None and (subresource or not write.may_create):
                raise not_found(kind, name)
            live = b"" if old is None else old.raw
            new = await self._beside.apply(kind, live, config, write, subresource=subresource, force=force)
            # What the configuration leaves to the schema is filled in after it was merged: nobody owns that.
            new, large = await self._pipeline.decode(kind, namespace, new, write, applied=True)
            if old is not None:
                return await self._replace(kind, old, new, subresource, write, large=large, applied=True), False
            checks.has_name(new["metadata"], name)
            if new["metadata"].get("uid"):
                text = (
                    f"uid mismatch: the provided object specified uid {str(new['metadata']['uid'])[:64]}, "
                    "and no existing object was found"
                )
                raise precondition_failed(kind, name, text)
            self._namespaces.require_open(kind, namespace, name)
            return await self._add(kind, namespace, new, write, large=large, applied=True), True

    async def delete(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        *,
        preconditions: Preconditions = _ANYTHING,
        propagation: Propagation = Propagation.BACKGROUND,
        write: Write = BY_SYSTEM,
    ) -> tuple[Item, bool]:
        async with self._ledger.turn(Place(kind, namespace, name)):
            old = self._memory.require(kind, namespace, name)
            checks.meets(kind, old, preconditions)
            core_kinds.before_delete(kind, name)
            obj = old.object()
            await self._pipeline.delete(kind, obj, write)
            if propagation is Propagation.FOREGROUND and not self._memory.owned(old.uid):
                propagation = Propagation.BACKGROUND
            changed = deletion.mark(kind, obj, propagation)
            gone = deletion.may_go(kind, obj)
            if write.dry_run:
                return Item.of(obj), gone
            if gone:
                return await self._ledger.drop(kind, obj, old), True
            return (await self._ledger.put(kind, obj, old) if changed else old), False

    async def finalize_namespace(self, name: str) -> None:
        """An empty namespace that is being deleted may go; other finalizers still hold it."""
        await self._namespaces.finalize(name)

    async def tell_of_namespace(self, name: str, left: Iterable[tuple[Kind, Item]]) -> None:
        """Have a namespace that is being deleted show what is left in it."""
        await self._namespaces.tell(name, left)

    async def _rescale(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        change: Callable[[Object], Object],
        write: Write,
        *,
        applied: bool = False,
    ) -> Item:
        """Write what ``change`` makes of the object's Scale; returns the Scale that results."""
        async with self._ledger.turn(Place(kind, namespace, name)):
            old = self._memory.require(kind, namespace, name)
            checks.has_subresource(kind, name, SUBRESOURCE)
            obj = old.object()
            scale, unknown = scaling.checked(change(scaling.owned_scale(kind, obj)))
            report_unknown(SCALE, unknown, write)
            if scale["metadata"].get("namespace") not in (None, "", namespace):
                raise BadRequest(
                    "the namespace of the provided object does not match the namespace sent on the request"
                )
            if not applied:
                former = scaling.owned_scale(kind, obj)
                manager = write.field_manager
                track(SCALE, scale, former, manager=manager, subresource=SUBRESOURCE)
            new = scaling.rescaled(kind, obj, scale)
            written = await self._replace(
                kind, old, new, "", write, large=False, applied=True, through=SUBRESOURCE
            )
            return Item.of(scaling.shown(kind, written.object()))

    async def _replace(
        self,
        kind: Kind,
        old: Stored,
        new: Object,
        subresource: str,
        write: Write,
        *,
        large: bool,
        applied: bool = False,
        through: str = "",
    ) -> Item:
        """Write ``new`` over ``old``, whose turn is held; ``applied`` says that it has its managedFields.

        ``through`` is the subresource that admission hears of, where ``new`` is the whole object all the same.
        """
        checks.has_subresource(kind, old.name, subresource)
        meta = new["metadata"]
        checks.has_name(meta, old.name)
        checks.is_current(kind, old, meta)
        large = large or is_large(old.raw)
        former = old.object()
        if large:
            await asyncio.sleep(0)
        if subresource == "status":
            new = await self._pipeline.update_status(kind, new, former, write, applied=applied, large=large)
        else:
            new = await self._pipeline.update(
                kind, new, former, write, applied=applied, large=large, through=through
            )
        if new == former or differs_in_times_alone(new, former):
            return old
        if old.deleting and deletion.may_go(kind, new):
            return Item.of(new) if write.dry_run else await self._ledger.drop(kind, new, old)
        return await self._put(kind, new, old, write)


@asynccontextmanager
async def opened_store(store: EmbeddedStore) -> AsyncIterator[EmbeddedStore]:
    """``store`` between its start and its close."""
    await store.start()
    try:
        yield store
    finally:
        await store.close()
