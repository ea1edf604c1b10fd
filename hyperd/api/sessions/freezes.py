"""``virtualmachines/{freeze,unfreeze}``: a guest's file systems, frozen for who reads its disks meanwhile.

A frozen guest's writes wait for ever, so each freeze has a deadline, by which the guest is thawed whatever becomes
of its client and of us. A snapshot that is taken meanwhile is of that very moment.
"""

from __future__ import annotations

import re
from typing import Final

from aiohttp import web

from hyperd.api.sessions.outcomes import done
from hyperd.api.sessions.target import require_here, title
from hyperd.api.wire import bodies
from hyperd.api.wire.subresources import SubresourceHandlers
from hyperd.errors import BadRequest, Conflict
from hyperd.hypervisor.interface import Hypervisor
from hyperd.hypervisor.state import DomainState
from hyperd.resources.all import VIRTUAL_MACHINE
from hyperd.resources.schema.kind import AnyObject
from hyperd.store.interface import Store, User

FREEZE: Final = "freeze"
UNFREEZE: Final = "unfreeze"
USUAL_SECONDS: Final = 300.0
"""Of who does not say how long, or says 0."""
LONGEST_SECONDS: Final = 600.0
_MAX_BODY_BYTES: Final = 1 << 16
_RUNNING: Final = "Running"
_UNITS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9}
_PART: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(h|ms|m|s|us|µs|μs|ns)")


class Freezes:
    """The handlers."""

    def __init__(self, store: Store, hypervisor: Hypervisor, *, node_name: str = "") -> None:
        """``node_name`` is this node's where there are others."""
        self._store = store
        self._hypervisor = hypervisor
        self._node_name = node_name

    def handlers(self) -> SubresourceHandlers:
        """The table for ``ApiServer``."""
        return {(VIRTUAL_MACHINE.plural, FREEZE): self._freeze, (VIRTUAL_MACHINE.plural, UNFREEZE): self._unfreeze}

    async def _freeze(self, request: web.BaseRequest, _: User, namespace: str, name: str) -> web.StreamResponse:
        seconds = await _asked(request)
        vm = await self._machine(namespace, name)
        if vm.get("status", {}).get("phase") != _RUNNING:
            raise BadRequest(f"VirtualMachine {title(vm)} is not Running: its file systems cannot be frozen.")
        domain = await self._hypervisor.info(vm["metadata"]["uid"])
        if domain is None or domain.state is DomainState.PAUSED:
            raise Conflict(f"The guest of VirtualMachine {title(vm)} does not run now; nothing was frozen.")
        if not domain.agent_connected:
            raise Conflict(
                f"The guest agent of VirtualMachine {title(vm)} does not answer, so that its file systems cannot "
                "be frozen: start qemu-guest-agent in it."
            )
        number, left = await self._hypervisor.holds.hold(domain.uid, seconds)
        return done(
            f"The file systems of VirtualMachine {title(vm)} are frozen ({number}), and thawed in {left:.0f} s at "
            "the latest."
        )

    async def _unfreeze(self, _: web.BaseRequest, __: User, namespace: str, name: str) -> web.StreamResponse:
        vm = await self._machine(namespace, name)
        whole = await self._hypervisor.holds.release(vm["metadata"]["uid"])
        if whole is None:
            return done(f"The file systems of VirtualMachine {title(vm)} are not frozen, or no longer.")
        if whole:
            return done(f"The file systems of VirtualMachine {title(vm)} are thawed.")
        return done(
            f"The file systems of VirtualMachine {title(vm)} are thawed, and were for a time before: what was "
            "read meanwhile is not of one moment."
        )

    async def _machine(self, namespace: str, name: str) -> AnyObject:
        vm = (await self._store.get(VIRTUAL_MACHINE, namespace, name)).object()
        require_here(vm, self._node_name)
        return vm


async def _asked(request: web.BaseRequest) -> float:
    """Seconds. Raises BadRequest."""
    body = await bodies.read(request, _MAX_BODY_BYTES)
    value, _ = await bodies.parse_object(body or b"{}", request.content_type, protobuf_allowed=False)
    seconds = duration(value.get("unfreezeTimeout", "0s")) or USUAL_SECONDS
    if seconds > LONGEST_SECONDS:
        raise BadRequest(
            f"unfreezeTimeout may be {LONGEST_SECONDS:.0f}s at most: for so long all that the guest writes waits."
        )
    return seconds


def duration(text: object) -> float:
    """Seconds of a duration as Go writes it, such as ``1m30s``; none is 0. Raises BadRequest."""
    if text is None:
        return 0.0
    if isinstance(text, str) and len(text) <= 64 and re.fullmatch(f"(?:{_PART.pattern})+|0", text):
        return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    raise BadRequest(f'unfreezeTimeout must be a duration such as "1m30s", not {str(text)[:64]!r}.')
