"""``virtualmachines/cancelevacuation``: a machine whose Pod was asked to go stays after all.

The Pod's mark is taken back, and so is the operation that moves the guest because of it. The words are the
reference's.
"""

from __future__ import annotations

from typing import Final

from aiohttp import web

from hyperd.api.sessions.outcomes import done
from hyperd.api.sessions.target import title
from hyperd.api.wire import bodies
from hyperd.api.wire.subresources import SubresourceHandlers
from hyperd.errors import BadRequest
from hyperd.resources.all import POD, VIRTUAL_MACHINE, VIRTUAL_MACHINE_OPERATION
from hyperd.resources.kinds.virtual_machine_operation import FINISHED_PHASES
from hyperd.resources.schema.kind import AnyObject
from hyperd.resources.values import meta
from hyperd.resources.values.names import POD_EVICTED_ANNOTATION, VMOP_EVACUATION_ANNOTATION
from hyperd.runtime import evicted
from hyperd.runtime.status import delete_this
from hyperd.store.interface import Store, User

SUBRESOURCE: Final = "cancelevacuation"
_MAX_BODY_BYTES: Final = 1 << 16


class Evacuations:
    """The handler."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def handlers(self) -> SubresourceHandlers:
        """The table for ``ApiServer``."""
        return {(VIRTUAL_MACHINE.plural, SUBRESOURCE): self._cancel}

    async def _cancel(self, request: web.BaseRequest, _: User, namespace: str, name: str) -> web.StreamResponse:
        body = await bodies.read(request, _MAX_BODY_BYTES)
        asked, _media = await bodies.parse_object(body or b"{}", request.content_type, protobuf_allowed=False)
        vm = (await self._store.get(VIRTUAL_MACHINE, namespace, name)).object()
        pods = [
            one["name"] for one in (vm.get("status") or {}).get("virtualMachinePods") or () if one.get("active")
        ]
        pod = await self._store.find(POD, namespace, pods[0]) if pods else None
        if pod is None or POD_EVICTED_ANNOTATION not in meta.annotations(pod):
            raise BadRequest(f"vmi {title(vm)} is not evacuated")
        if not asked.get("dryRun"):
            # The mark first: without it nobody makes another operation.
            await evicted.unmark(self._store, pod)
            for op in await self._store.find_all(VIRTUAL_MACHINE_OPERATION, namespace):
                if _evacuates(op, name):
                    await delete_this(self._store, VIRTUAL_MACHINE_OPERATION, op)
        return done(f"The evacuation of VirtualMachine {title(vm)} is cancelled.")


def _evacuates(op: AnyObject, machine: str) -> bool:
    """Whether the operation goes on, and is there because of an eviction."""
    going = (op.get("status") or {}).get("phase") not in FINISHED_PHASES and not meta.is_deleting(op)
    return (
        going
        and op["spec"]["virtualMachineName"] == machine
        and VMOP_EVACUATION_ANNOTATION in meta.annotations(op)
    )
