"""``virtualmachinepools/scaledownwith``: which machines of a pool go, by their names.

All of them are judged before anything is done. Then one write lowers the pool's number and says who goes: whatever
ends this daemon afterwards, the pool's controller removes those and makes none in their place. Asking again for
machines that go already changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import orjson
from aiohttp import web

from hyperd.api.sessions.outcomes import success
from hyperd.api.wire import bodies, options
from hyperd.api.wire.query import Query
from hyperd.api.wire.subresources import SubresourceHandlers
from hyperd.background import hear
from hyperd.crashpoints import CrashPoint, reached
from hyperd.errors import BadRequest, Conflict, HyperdError, NotFound
from hyperd.jsontypes import JsonObject
from hyperd.resources import pooling
from hyperd.resources.all import VIRTUAL_MACHINE, VIRTUAL_MACHINE_POOL
from hyperd.resources.schema.kind import Object
from hyperd.resources.values.meta import is_deleting
from hyperd.resources.values.names import POOL_LEAVING_ANNOTATION
from hyperd.store.interface import PatchType, Preconditions, Store, User, Write

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine import VirtualMachine
    from hyperd.resources.views.virtual_machine_pool import VirtualMachinePool

SUBRESOURCE: Final = "scaledownwith"
_TRIES: Final = 10
"""So often somebody else may change the pool meanwhile."""
_MAX_BODY_BYTES: Final = 1 << 20
_SHOWN: Final = 10
"""So many faults are told at once."""


@dataclass(frozen=True)
class Asked:
    """What somebody asked for: names of machines, each once, and whether only to judge them."""

    targets: Sequence[str]
    dry_run: bool


class ScaleDown:
    """The handler. It changes things in hyperd's name: who may use it need not be let to delete machines."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def handlers(self) -> SubresourceHandlers:
        """The table for ``ApiServer``."""
        return {(VIRTUAL_MACHINE_POOL.plural, SUBRESOURCE): self._serve}

    async def _serve(self, request: web.BaseRequest, _: User, namespace: str, name: str) -> web.StreamResponse:
        asked = await _asked(request)
        # It is one piece of work, also where its client leaves.
        task = asyncio.create_task(self.scale_down(namespace, name, asked))
        task.add_done_callback(hear)
        return web.Response(
            body=orjson.dumps(await asyncio.shield(task)), headers={"Content-Type": "application/json"}
        )

    async def scale_down(self, namespace: str, name: str, asked: Asked) -> JsonObject:
        """A Status of what was done. Raises BadRequest, with nothing done, NotFound and Conflict."""
        for _ in range(_TRIES):
            pool = await self._store.find(VIRTUAL_MACHINE_POOL, namespace, name)
            if pool is None:
                kind = VIRTUAL_MACHINE_POOL
                text = f'{kind.qualified_resource} "{name}" not found'
                raise NotFound(text, kind=kind.plural, group=kind.group, name=name)
            if is_deleting(pool):
                raise BadRequest(f'VirtualMachinePool "{name}" is being deleted, and its machines with it.')
            machines = await self._judged(pool, asked.targets)
            try:
                left = await self._lower(pool, machines, dry_run=asked.dry_run)
            except Conflict:
                continue
            if not asked.dry_run:
                reached(CrashPoint.POOL_AFTER_LOWERING)
                await self._remove(machines)
            return _status(pool, machines, left, dry_run=asked.dry_run)
        raise Conflict(
            f'VirtualMachinePool "{name}" keeps being changed by others; nothing was removed: try again.',
            kind=VIRTUAL_MACHINE_POOL.plural,
            group=VIRTUAL_MACHINE_POOL.group,
            name=name,
        )

    async def _judged(self, pool: VirtualMachinePool, targets: Sequence[str]) -> list[VirtualMachine]:
        namespace, name, uid = (pool["metadata"][field] for field in ("namespace", "name", "uid"))
        found: list[VirtualMachine] = []
        faults: list[str] = []
        for target in targets:
            machine = await self._store.find(VIRTUAL_MACHINE, namespace, target)
            if machine is None:
                faults.append(f'"{target[:253]}" does not exist')
            elif not pooling.is_member(machine, uid):
                faults.append(f'"{target}" is not a machine of the pool')
            else:
                found.append(machine)
        if faults:
            more = f" and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
            raise BadRequest(
                f'VirtualMachinePool "{name}": VirtualMachine {", ".join(faults[:_SHOWN])}{more}; '
                "nothing was removed."
            )
        return found

    async def _lower(self, pool: VirtualMachinePool, machines: Sequence[VirtualMachine], *, dry_run: bool) -> int:
        """The number that is left. Raises Conflict when the pool changed since it was judged."""
        before = pooling.leaving(pool)
        new = {machine["metadata"]["uid"] for machine in machines} - before
        number = pool["spec"].get("replicas") or 0
        left = max(0, number - len(new))
        if not new:
            return number
        meta = pool["metadata"]
        patch: Object = {
            "metadata": {
                "resourceVersion": meta["resourceVersion"],
                "annotations": {POOL_LEAVING_ANNOTATION: pooling.leaving_text(before | new)},
            },
            "spec": {"replicas": left},
        }
        await self._store.patch(
            VIRTUAL_MACHINE_POOL,
            meta["namespace"],
            meta["name"],
            PatchType.MERGE,
            patch,
            write=Write(field_manager=SUBRESOURCE, dry_run=dry_run),
        )
        return left

    async def _remove(self, machines: Sequence[VirtualMachine]) -> None:
        """Those that cannot be removed now are the controller's to remove: it is written that they go."""
        for machine in machines:
            meta = machine["metadata"]
            with contextlib.suppress(HyperdError):
                await self._store.delete(
                    VIRTUAL_MACHINE, meta["namespace"], meta["name"], preconditions=Preconditions(uid=meta["uid"])
                )


async def _asked(request: web.BaseRequest) -> Asked:
    body = await bodies.read(request, _MAX_BODY_BYTES)
    value, _ = await bodies.parse_object(body or b"{}", request.content_type, protobuf_allowed=False)
    targets, dry = value.get("targets"), value.get("dryRun")
    if not isinstance(targets, list) or not targets or not all(isinstance(one, str) and one for one in targets):
        raise BadRequest('targets must name the machines that are to go, such as {"targets": ["web-x4k2z"]}.')
    if dry not in (None, [], ["All"]):
        raise BadRequest('dryRun must be ["All"], or be left out.')
    asked = options.write_options("CreateOptions", Query(request.url.raw_query_string))
    return Asked(tuple(dict.fromkeys(targets)), asked.dry_run or bool(dry))


def _status(
    pool: VirtualMachinePool, machines: Sequence[VirtualMachine], left: int, *, dry_run: bool
) -> JsonObject:
    named = ", ".join(f'"{machine["metadata"]["name"]}"' for machine in machines)
    meta = pool["metadata"]
    details: JsonObject = {
        "name": meta["name"],
        "group": VIRTUAL_MACHINE_POOL.group,
        "kind": VIRTUAL_MACHINE_POOL.plural,
        "uid": meta["uid"],
    }
    message = f"VirtualMachine {named} {'would go' if dry_run else 'goes'}; spec.replicas is {left}"
    return success(message + (" then." if dry_run else "."), details)
