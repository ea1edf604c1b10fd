"""The Node object of this machine: what it has, and whether libvirt answers.

In a cluster the Node is the kubelet's: hyperd adds its own labels to it and nothing else, unless a setting says
that there is no kubelet.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from hyperd import __version__, clock
from hyperd.controllers.context import Context
from hyperd.controllers.node import pressure
from hyperd.errors import AlreadyExists, HyperdError, NotFound
from hyperd.hypervisor.facts.host import HostFacts
from hyperd.resources.all import NODE
from hyperd.resources.core.node import NodeConditionType, NodeReason
from hyperd.resources.values import names
from hyperd.resources.values.conditions import ConditionStatus, is_true
from hyperd.resources.values.meta import now_rfc3339
from hyperd.runtime.controller import Controller, Key, Result
from hyperd.runtime.recorder import EventLevel
from hyperd.runtime.status import update_status
from hyperd.store.interface import PatchType

if TYPE_CHECKING:
    from hyperd.resources.views.core import Node, NodeStatus, NodeStatusConditionsItem

HEARTBEAT_SECONDS = 300.0
LOOK_SECONDS = 10.0
"""How often to look for shortages, and for libvirt while it is away."""
_PROGRAM_SECONDS = 15.0
"""How often to look whether the host has another QEMU by now."""
MAX_MACHINES = 1000
_CPU_PREFIXES = (names.CPU_MODEL_LABEL_PREFIX, names.CPU_FEATURE_LABEL_PREFIX)
_GO_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


class NodeController(Controller):
    """Keeps the Node current; a change of libvirt's connection queues it at once."""

    name = "node"
    kind = NODE
    workers = 1
    writes: ClassVar = {NODE: ("patch",)}

    def __init__(self, context: Context) -> None:
        super().__init__()
        self._context = context
        settings = context.settings
        self._registers = settings.home == "embedded" or settings.kubernetes.register_node
        self._beats = clock.Seen()
        """How long ago each condition's heartbeat moved."""
        self._nodes = context.informer(NODE)
        context.hypervisor.on_connection(lambda _: self.enqueue(self.key))
        # No object may be there yet to begin with.
        self.enqueue(self.key)

    @property
    def key(self) -> Key:
        """This node's."""
        return Key("", self._context.node_name)

    async def reconcile(self, key: Key) -> Result | None:
        if key != self.key:
            return None
        facts = await self._facts()
        labels = {} if facts is None else await self._labels(facts)
        seen = self._nodes.get("", key.name)
        if not self._registers and (facts is None or (seen is not None and not _changes(seen, labels))):
            return Result(_PROGRAM_SECONDS)
        node = await self._ensure()
        if node is None:
            return Result(HEARTBEAT_SECONDS)  # once the kubelet makes it, its event comes here
        if facts is not None:
            node = await self._label(node, labels)
        if not self._registers:
            return Result(_PROGRAM_SECONDS)
        after = copy.deepcopy(node)
        status = after.setdefault("status", {})
        if facts is not None:
            status.update(_described(facts, self._context))
        self._ready(after)
        events = await self._pressures(after)
        await update_status(self._context.store, NODE, node, after)
        for level, reason, message in events:
            self._context.events.event(after, level, reason, message)
        return Result(LOOK_SECONDS)

    async def _facts(self) -> HostFacts | None:
        try:
            return await self._context.hypervisor.facts()
        except HyperdError:
            return None

    async def _ensure(self) -> Node | None:
        try:
            return (await self._context.store.get(NODE, "", self.key.name)).object()
        except NotFound:
            if not self._registers:
                return None
        body = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": self.key.name,
                "labels": {"kubernetes.io/hostname": self.key.name, "kubernetes.io/os": "linux"},
            },
            "spec": {},
        }
        try:
            item = await self._context.store.create(NODE, "", body)
        except AlreadyExists:
            item = await self._context.store.get(NODE, "", self.key.name)
        return item.object()

    async def _labels(self, facts: HostFacts) -> dict[str, str | None]:
        """What the Node's labels are to be; None for those that it is not to have."""
        wanted: dict[str, str | None] = {names.KVM_ENABLED_LABEL: "true" if facts.kvm_usable else None}
        if self._registers:
            wanted["kubernetes.io/arch"] = _GO_ARCHITECTURES.get(facts.architecture, facts.architecture)
        try:
            emulator = await self._context.hypervisor.emulators.present()
        except HyperdError:
            return {**wanted, **_processors(facts)}  # libvirt is away: what was told of its QEMU stays
        wanted[names.QEMU_VERSION_LABEL] = None if emulator is None else emulator.version or None
        wanted[names.QEMU_DIGEST_LABEL] = None if emulator is None else emulator.digest
        return {**wanted, **_processors(facts)}

    async def _label(self, node: Node, wanted: Mapping[str, str | None]) -> Node:
        changed = _changes(node, wanted)
        if not changed:
            return node
        patch = {"metadata": {"labels": changed}}
        item = await self._context.store.patch(NODE, "", self.key.name, PatchType.MERGE, patch)
        return item.object()

    def _ready(self, node: Node) -> None:
        hypervisor = self._context.hypervisor
        if hypervisor.connected:
            ready = (ConditionStatus.TRUE, NodeReason.READY, "libvirt answers")
        else:
            why = f"libvirt does not answer: {hypervisor.last_error or 'connecting'}"
            ready = (ConditionStatus.FALSE, NodeReason.NOT_READY, why)
        self._set(node, NodeConditionType.READY, *ready)

    async def _pressures(self, node: Node) -> list[tuple[EventLevel, str, str]]:
        """Set what is short; the events that tell of what changed."""
        before = {type_: is_true(node, type_) for type_ in pressure.TYPES}
        events: list[tuple[EventLevel, str, str]] = []
        for found in await asyncio.to_thread(pressure.look, self._context.settings, before):
            self._set(node, found.type, found.status, found.reason, found.message)
            if bool(found.shortage) != before[found.type]:
                reason = found.reason.replace("Kubelet", "Node", 1)
                events.append(("Warning" if found.shortage else "Normal", reason, found.message))
        return events

    def _set(
        self,
        node: Node,
        type_: NodeConditionType,
        status: ConditionStatus,
        reason: NodeReason,
        message: str,
    ) -> None:
        """A NodeCondition: like a metav1.Condition, with a heartbeat and without observedGeneration.

        The heartbeat moves only when it is due: each move is a write that wakes this controller again.
        """
        old = next((one for one in node["status"].get("conditions") or () if one.get("type") == type_), None)
        now = now_rfc3339()
        new: NodeStatusConditionsItem = {"type": type_, "status": status, "reason": reason, "message": message}
        if old is None:
            conditions = node["status"].setdefault("conditions", [])
            conditions.append({**new, "lastHeartbeatTime": now, "lastTransitionTime": now})
            return
        same = {**old, **new} == old
        if same and self._beats.age(type_, old["lastHeartbeatTime"], hint=HEARTBEAT_SECONDS) < HEARTBEAT_SECONDS:
            return
        moved = now if old["status"] != status else old["lastTransitionTime"]
        self._beats.forget(type_)
        old.update({**new, "lastHeartbeatTime": now, "lastTransitionTime": moved})
        self._beats.age(type_, now)


def _changes(node: Node, wanted: Mapping[str, str | None]) -> dict[str, str | None]:
    """What has to be written for the Node to have these labels, and no others of processors."""
    have = node["metadata"].get("labels") or {}
    stale = [key for key in have if key.startswith(_CPU_PREFIXES) and key not in wanted]
    all_ = {**wanted, **dict.fromkeys(stale)}
    return {key: value for key, value in all_.items() if have.get(key) != value}


def _processors(facts: HostFacts) -> dict[str, str]:
    """Labels of the models and features that guests may have.

    A node that emulates has a stand-in for the others that exist, too; a name that nothing has is a mistake.
    """
    given = {names.CPU_MODEL_LABEL_PREFIX: facts.cpu_models, names.CPU_FEATURE_LABEL_PREFIX: facts.features}
    able = {prefix + name: "true" for prefix, found in given.items() for name in found}
    if facts.kvm_usable:
        return able
    known = {
        names.CPU_MODEL_LABEL_PREFIX: facts.known_models,
        names.CPU_FEATURE_LABEL_PREFIX: facts.known_features,
    }
    return {prefix + name: names.CPU_STAND_IN for prefix, found in known.items() for name in found} | able


def _described(facts: HostFacts, context: Context) -> NodeStatus:
    reserved = context.settings.hypervisor.reserved_memory_bytes
    capacity: dict[str, str | int] = {
        "cpu": str(facts.cpus),
        "memory": f"{facts.memory_bytes >> 10}Ki",
        "pods": str(MAX_MACHINES),
    }
    allocatable: dict[str, str | int] = {**capacity, "memory": f"{max(0, facts.memory_bytes - reserved) >> 10}Ki"}
    return {
        "capacity": capacity,
        "allocatable": allocatable,
        "addresses": [
            {"type": "InternalIP", "address": context.settings.api.host},
            {"type": "Hostname", "address": facts.hostname},
        ],
        "nodeInfo": {
            "architecture": _GO_ARCHITECTURES.get(facts.architecture, facts.architecture),
            "bootID": facts.boot_id,
            "machineID": facts.machine_id,
            "systemUUID": facts.machine_id,
            "kernelVersion": facts.kernel,
            "osImage": facts.os_image or "Linux",
            "operatingSystem": "linux",
            "containerRuntimeVersion": f"libvirt://{facts.libvirt_version}",
            "kubeletVersion": f"hyperd-{__version__}",
            "kubeProxyVersion": "",
        },
    }
