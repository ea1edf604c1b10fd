"""ResourceQuotas of the home that has no quota controller: what a namespace holds, and what it may not take.

The rule it keeps: a write is judged in the same turn of the loop in which it is handed to the writer thread, by
what is committed and what is on its way there, so no two writes share the last place. What a write gives back is
free once it is durable: until then it may fail. The refusal is Kubernetes'.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from hyperd.background import Background
from hyperd.errors import Conflict, HyperdError, NotFound, QuotaExceeded
from hyperd.jsontypes import JsonObject
from hyperd.resources.core import storage_class
from hyperd.resources.schema.kind import Kind, Object, Registry
from hyperd.resources.values.charges import MADE, Charges, asked, charges, counted, measured, moves_to, shown
from hyperd.resources.values.quantity import parse
from hyperd.store.embedded.memory import Memory, Place
from hyperd.store.interface import EventType, Item, Rehearsal
from hyperd.store.records import Change, Stored

_log = logging.getLogger(__name__)
_RETRY_SECONDS = 1.0
_PAUSE_SECONDS = 0.02
"""Between two looks, so that many changes are counted at once."""


@dataclass
class _Count:
    """What the measured objects of a namespace take, kept while the namespace has a quota."""

    total: dict[str, Decimal]
    """The sum of ``charges``."""
    charges: dict[str, Charges]
    """By the object's uid."""


class Quotas:
    """Judges writes against the ResourceQuotas of their namespace."""

    def __init__(self, memory: Memory, kinds: Registry) -> None:
        self._memory = memory
        self.kind = kinds.by_resource("", "resourcequotas")
        self._classes = kinds.by_resource("storage.k8s.io", "storageclasses")
        self._pending: dict[Place, Charges] = {}
        """What writes on their way to the file add. An object has one at a time: whoever has its turn."""
        self._pending_total: dict[str, dict[str, Decimal]] = {}
        """Namespace → the sum of ``_pending`` in it."""
        self._counts: dict[str, _Count] = {}

    def of(self, namespace: str) -> Sequence[Stored]:
        """The quotas of a namespace."""
        if self.kind is None or not namespace:
            return ()
        table = self._memory.table(self.kind)
        return table.walk(namespace) if table.items else ()

    @contextmanager
    def charging(self, kind: Kind, new: Object, old: Stored | None) -> Iterator[None]:
        """While ``new`` is written over ``old``. Raises QuotaExceeded before anything is written."""
        namespace = new["metadata"].get("namespace", "")
        quotas = self.of(namespace)
        if not quotas:
            yield
            return
        added = self._added(kind, new, old)
        if _may_be_refused(kind, new):
            self._check(kind, new, added, quotas)
        place, more = Place(kind, namespace, new["metadata"]["name"]), _positive(added)
        if more:
            self._pending[place] = more
            _sum(self._pending_total.setdefault(namespace, {}), more, 1)
        try:
            yield
        finally:
            self._settle(place)

    def rehearse(self, kind: Kind, new: Object, rehearsal: Rehearsal) -> None:
        """Add ``new`` to what is to be made, with its claim. Raises QuotaExceeded where there is no room."""
        namespace = new["metadata"].get("namespace", "")
        if quotas := self.of(namespace):
            beside: dict[str, Decimal] = {}
            default = self._default_class()
            for gone, name in rehearsal.gone:
                if (old := self._memory.get(gone, namespace, name)) is not None:
                    _sum(beside, charges(gone, old.object()), -1)
            for made, obj in rehearsal.made:
                _sum(beside, asked(made, obj, default_class=default), 1)
            self._check(kind, new, asked(kind, new, default_class=default), quotas, beside)
        rehearsal.made.append((kind, new))

    def _settle(self, place: Place) -> None:
        """The write to ``place``, if there is one, is in memory or has failed."""
        added = self._pending.pop(place, None)
        if added is None:
            return
        total = self._pending_total[place.namespace]
        _sum(total, added, -1)
        if not total:
            del self._pending_total[place.namespace]

    def used(self, namespace: str, resources: frozenset[str]) -> dict[str, Decimal]:
        """How much of each of ``resources`` the objects of the namespace take, those on their way included."""
        found = dict.fromkeys(resources, Decimal(0))
        for kind in self._memory.kinds():
            if kind.namespaced and not measured(kind):
                for name in resources.intersection(counted(kind)):
                    found[name] += self._memory.number_in(kind, namespace)
        _add(found, self._total(namespace))
        _add(found, self._pending_total.get(namespace, {}))
        return found

    def _added(self, kind: Kind, new: Object, old: Stored | None) -> dict[str, Decimal]:
        added = dict(charges(kind, new))
        if old is not None:
            for name, amount in charges(kind, old.object()).items():
                added[name] = added.get(name, Decimal(0)) - amount
        return added

    def _check(
        self, kind: Kind, new: Object, added: Charges, quotas: Sequence[Stored], beside: Charges | None = None
    ) -> None:
        """``beside`` is what will be taken, or given back, before ``new`` is written."""
        wanted = _positive(added)
        for quota in quotas if wanted else ():
            hard = hard_of(quota.object())
            limited = frozenset(wanted).intersection(hard)
            used = self.used(quota.namespace, limited) if limited else {}
            _add(used, beside or {})
            exceeded = sorted(name for name in limited if used[name] + wanted[name] > hard[name])
            if exceeded:
                name = str(new["metadata"]["name"])
                raise QuotaExceeded(
                    f'{kind.qualified_resource} "{name}" is forbidden: exceeded quota: {quota.name}, requested: '
                    f"{_listed(exceeded, wanted)}, used: {_listed(exceeded, used)}, "
                    f"limited: {_listed(exceeded, hard)}",
                    kind=kind.plural,
                    group=kind.group,
                    name=name,
                )

    def _total(self, namespace: str) -> Charges:
        """What the measured objects of a namespace take; all are looked at once, then only what changes."""
        known = self._counts.get(namespace)
        if known is not None:
            return known.total
        found = _Count({}, {})
        for kind in filter(measured, self._memory.kinds()):
            for item in self._memory.table(kind).walk(namespace):
                found.charges[item.uid] = charges(kind, item.object())
                _sum(found.total, found.charges[item.uid], 1)
        if self.of(namespace):
            self._counts[namespace] = found
        return found.total

    def changed(self, change: Change) -> None:
        """Follow a change that memory has."""
        item, gone = change.item, change.type is EventType.DELETED
        self._settle(Place(change.kind, item.namespace, item.name))
        if change.kind == self.kind and gone and not self.of(item.namespace):
            self._counts.pop(item.namespace, None)
        known = self._counts.get(item.namespace)
        if known is None or not measured(change.kind):
            return
        before = known.charges.pop(item.uid, None)
        if before is not None:
            _sum(known.total, before, -1)
        elif change.type is not EventType.ADDED:
            del self._counts[item.namespace]
            return
        if not gone:
            known.charges[item.uid] = charges(change.kind, item.object())
            _sum(known.total, known.charges[item.uid], 1)

    def _default_class(self) -> str:
        if self._classes is None:
            return ""
        found = storage_class.default_of(item.object() for item in self._memory.table(self._classes).walk())
        return "" if found is None else str(found["metadata"]["name"])


def hard_of(quota: Object) -> dict[str, Decimal]:
    """The limits of a quota by resource."""
    return {name: parse(value) for name, value in ((quota.get("spec") or {}).get("hard") or {}).items()}


def _may_be_refused(kind: Kind, new: Object) -> bool:
    """Whether a write that takes more may be refused: not where it only tells what is so already."""
    phase = (new.get("status") or {}).get("phase")
    if kind.plural == "virtualmachines":
        return phase in (None, "", "Starting")
    if kind.plural == "virtualdisksnapshots":
        return phase in (None, "")  # then it says of what it is to be taken
    made = kind.plural in ("virtualdisks", "virtualimages") and phase in MADE
    return not made or _grows(new) or bool(moves_to(new))


def _grows(disk: Object) -> bool:
    """Whether the claim of a disk that has its volume asks for a larger one."""
    status = disk.get("status") or {}
    size = (status.get("target") or {}).get("size")
    return size is not None and parse(size) > parse(status.get("capacity") or "0")


def _add(found: dict[str, Decimal], more: Charges) -> None:
    for name, amount in more.items():
        if name in found:
            found[name] += amount


def _sum(total: dict[str, Decimal], more: Charges, sign: int) -> None:
    """Add or take away; what comes to nothing leaves no entry."""
    for name, amount in more.items():
        left = total.get(name, Decimal(0)) + sign * amount
        if left:
            total[name] = left
        else:
            total.pop(name, None)


def _positive(amounts: Charges) -> dict[str, Decimal]:
    return {name: amount for name, amount in amounts.items() if amount > 0}


def _listed(names: Sequence[str], amounts: Mapping[str, Decimal]) -> str:
    return ",".join(f"{name}={shown(name, amounts[name])}" for name in names)


class Writer(Protocol):
    """What the keeper needs of the store."""

    async def update(self, kind: Kind, namespace: str, name: str, obj: Object, *, subresource: str) -> Item: ...


class QuotaKeeper:
    """Keeps ``status`` of the quotas current: one task that looks at the namespaces which changes point to."""

    def __init__(self, store: Writer, memory: Memory, quotas: Quotas) -> None:
        self._store = store
        self._memory = memory
        self._quotas = quotas
        self._dirty: dict[str, None] = {}
        self._more = asyncio.Event()
        self._background = Background()

    def start(self) -> None:
        """Look at every quota once, then at what changes."""
        self._look_everywhere()
        self._background.spawn(self._run, "store quotas")

    async def stop(self) -> None:
        """Safe to call before ``start`` and twice."""
        await self._background.stop()

    def observe(self, changes: Sequence[Change]) -> None:
        """Note which namespaces the changes may have made fuller or emptier."""
        for change in changes:
            self._quotas.changed(change)
            if change.item.namespace and self._quotas.of(change.item.namespace):
                self._look(change.item.namespace)

    def _look_everywhere(self) -> None:
        if self._quotas.kind is not None:
            for item in self._memory.table(self._quotas.kind).walk():
                self._look(item.namespace)

    def _look(self, namespace: str) -> None:
        self._dirty[namespace] = None
        self._more.set()

    async def _run(self) -> None:
        while True:
            await self._more.wait()
            self._more.clear()
            while self._dirty:
                namespace = next(iter(self._dirty))
                del self._dirty[namespace]
                for quota in self._quotas.of(namespace):
                    await self._keep(quota)
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _keep(self, quota: Stored) -> None:
        kind = self._quotas.kind
        assert kind is not None  # noqa: S101  there is a quota
        try:
            obj = quota.object()
            limits = hard_of(obj)
            used = self._quotas.used(quota.namespace, frozenset(limits))
            status: JsonObject = {
                "hard": (obj.get("spec") or {}).get("hard") or {},
                "used": {name: shown(name, amount) for name, amount in sorted(used.items())},
            }
            if obj.get("status") != status:
                obj["status"] = status
                await self._store.update(kind, quota.namespace, quota.name, obj, subresource="status")
        except (Conflict, NotFound):
            self._look(quota.namespace)
        except HyperdError as err:
            _log.warning("Quota %s/%s could not be kept: %s", quota.namespace, quota.name, err)
            self._later(quota.namespace)
        except Exception:  # noqa: BLE001  border: one quota's fault must not stop the others
            _log.exception("Keeping quota %s/%s failed", quota.namespace, quota.name)
            self._later(quota.namespace)

    def _later(self, namespace: str) -> None:
        asyncio.get_running_loop().call_later(_RETRY_SECONDS, self._look, namespace)
