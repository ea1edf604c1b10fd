"""What both ends of a migration are told by: a guest's disks, how far it is, what became of it."""

from __future__ import annotations

import asyncio
import base64
import logging
import re
from collections.abc import Container, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hyperd.controllers.context import Context
from hyperd.controllers.machine import applied, holding
from hyperd.controllers.machine.held import Held
from hyperd.controllers.machine.holding import Record
from hyperd.controllers.machine.status import set_phase
from hyperd.controllers.migration.interface import Stage
from hyperd.controllers.ownership import bind_disk, disk_node
from hyperd.controllers.pod import manifest, reading, second, turns
from hyperd.controllers.pod.claims import Claims
from hyperd.errors import EXCEEDED_QUOTA, Conflict, HyperdError, PermanentError
from hyperd.hypervisor.state import DomainInfo, Transfer
from hyperd.imagefile.handle import BlockHandle, DiskFormat, FileHandle, Handle
from hyperd.jsontypes import Json
from hyperd.network.connections import Connection
from hyperd.network.interface import Link
from hyperd.resources.all import VIRTUAL_DISK, VIRTUAL_MACHINE
from hyperd.resources.kinds.virtual_machine_conditions import VirtualMachineCondition
from hyperd.resources.kinds.virtual_machine_operation import CompletedReason
from hyperd.resources.kinds.virtual_machine_status import MigrationResult, VirtualMachinePhase
from hyperd.resources.schema.kind import Object
from hyperd.resources.values.conditions import remove_condition
from hyperd.resources.values.meta import now_rfc3339
from hyperd.resources.values.quantity import to_bytes
from hyperd.runtime.informer import Informer

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine import VirtualMachine

_log = logging.getLogger(__name__)
_CONNECTIONS_SECONDS: Final = 2.0
_VERSION: Final = re.compile(r"[0-9]{1,8}(?:\.[0-9]{1,8}){0,3}")


async def hand_over(context: Context, machine: VirtualMachine, device: Held, node: str) -> None:
    """Have the disk be kept by ``node``, which has its volume."""
    while True:
        disk = await context.store.find(VIRTUAL_DISK, machine["metadata"]["namespace"], device["name"])
        if disk is None or disk["metadata"]["uid"] != device["uid"] or disk_node(disk) == node:
            return
        try:
            await bind_disk(context.store, disk, node)
        except Conflict:
            continue
        return


async def going_on(context: Context, uid: str, question: Object) -> Object:
    """The question with the guest's connections; without them these may stand still on the other node.

    It is stopped on both by now, and waits for this: whatever that raises, and if it takes long, it goes without.
    """
    begun: list[Json] = []
    try:
        async with asyncio.timeout(_CONNECTIONS_SECONDS):
            begun = [one.encode() for one in await context.network.connections(uid)]
    except (HyperdError, TimeoutError) as error:
        _log.warning("The connections of the guest of %s are not taken along: %s", uid, str(error) or "no answer")
    except Exception:  # noqa: BLE001  else nobody would let the guest go on
        _log.exception("The connections of the guest of %s are not taken along", uid)
    return {**question, "connections": begun}


async def take_up(context: Context, link: Link, begun: Sequence[Connection]) -> None:
    """Have the guest that came be reached, and what was begun with it go on. One need not wait for the other."""
    network = context.network
    for part in (partial(network.take_over, link.uid, begun), partial(network.connect, link)):
        try:
            await part()
        except HyperdError as error:
            _log.warning("%s", error.message)  # a link is mended with the next look at the machine


def was_tried(machine: VirtualMachine, target: str) -> bool:
    """Whether the migration to the Pod ``target`` has ended, whatever came of it."""
    state = (machine.get("status") or {}).get("migrationState") or {}
    return (state.get("target") or {}).get("pod") == target and bool(state.get("result"))


def end(after: VirtualMachine, result: MigrationResult) -> None:
    """Have the status say that the migration has ended, and how."""
    state = after["status"].setdefault("migrationState", {})
    state["endTimestamp"], state["result"] = now_rfc3339(), result
    remove_condition(after, VirtualMachineCondition.MIGRATING)
    if result == MigrationResult.SUCCEEDED:
        # What was said of the QEMU that it left: it is said anew of the one that it runs now.
        remove_condition(after, VirtualMachineCondition.FIRMWARE_UP_TO_DATE)
    set_phase(after, VirtualMachinePhase.RUNNING)


def claimed(context: Context, claims: Claims, domain: DomainInfo) -> dict[str, Object]:
    """The claims of the guest's disks that are claims, by the disks' uids."""
    found: dict[str, Object] = {}
    for one in disks_of(domain):
        disk = context.informer(VIRTUAL_DISK).get(domain.namespace, one["name"])
        if disk is not None and disk["metadata"]["uid"] == one["uid"] and (claim := claims.of(disk)) is not None:
            found[one["uid"]] = claim
    return found


async def bytes_of(context: Context, machine: VirtualMachine, domain: DomainInfo, shared: Container[str]) -> int:
    """What is sent of a guest at least: its memory, and its disks but those that are ``shared``."""
    copied = [one["uid"] for one in disks_of(domain) if one["uid"] not in shared]
    volumes = [await context.volumes.usage(uid) for uid in copied]
    memory = machine["status"].get("resources", {}).get("memory", {}).get("size", "1Gi")
    return sum(one.virtual_size for one in volumes) + to_bytes(memory)


def disks_of(domain: DomainInfo) -> list[Held]:
    """The VirtualDisks that the guest has, or had."""
    return [one for one in applied.decode(domain.applied).devices if one["kind"] == VIRTUAL_DISK.kind]


def syncing(transfer: Transfer, *, converges: bool = True) -> Stage:
    """Between 10 and 90 %: the first pass ends at 45."""
    done = 1 - transfer.remaining / transfer.total if transfer.total else 0.0
    percent = 10 + int((35 if transfer.iteration <= 1 else 80) * min(1.0, max(0.0, done)))
    mib = 1 << 20
    message = (
        f"TimeElapsed: {transfer.seconds:.0f}s; DataProcessed: {transfer.processed // mib}MiB; "
        f"DataRemaining: {transfer.remaining // mib}MiB; DataTotal: {transfer.total // mib}MiB; "
        f"Iteration: {transfer.iteration}; AutoConvergeThrottle: {transfer.throttle}%"
    )
    return Stage(CompletedReason.SYNCING if converges else CompletedReason.NOT_CONVERGING, percent, message)


def decoded(one: Object) -> Handle:
    """What another node opens a disk by."""
    path, format_ = Path(str(one["path"])), DiskFormat(str(one["format"]))
    return BlockHandle(path, format_) if one["type"] == "block" else FileHandle(path, format_)


def version(ready: Object) -> str:
    """Of the QEMU that the guest gets where it goes, as that node says; empty where it says none."""
    said = str(ready.get("qemu") or "")
    return said if _VERSION.fullmatch(said) else ""


def waits(machine: VirtualMachine, pod: Object | None) -> Stage | None:
    """What the guest's new Pod waits for; None for nothing."""
    if pod is None or not reading.is_of(pod, machine):
        if why := second.why_none(machine):
            if turns.are_full(why):
                return Stage(CompletedReason.MIGRATION_PENDING, 0, why)
            reason = CompletedReason.QUOTA_EXCEEDED if EXCEEDED_QUOTA in why else CompletedReason.TARGET_SCHEDULING
            return Stage(reason, 2, why)
        return Stage(CompletedReason.TARGET_SCHEDULING, 2, "The Pod that the guest goes to is being made.")
    _, why = reading.why_waiting(pod)
    if not why:
        return None
    if reading.node_of(pod):
        return Stage(CompletedReason.TARGET_PREPARING, 3, why)
    told = reading.is_unschedulable(pod)
    return Stage(CompletedReason.TARGET_UNSCHEDULABLE if told else CompletedReason.TARGET_SCHEDULING, 2, why)


def asking(machine: VirtualMachine, record: Record, domain: DomainInfo | None) -> Object:
    """What every question to the other node has."""
    address = "" if domain is None else applied.decode(domain.applied).address
    return {
        "namespace": machine["metadata"]["namespace"],
        "name": machine["metadata"]["name"],
        "from": record.node,
        "operation": record.operation,
        "pod": manifest.pod_name(machine, operation=record.operation),
        "address": address or machine["status"].get("ipAddress") or "",
    }


def ends(pods: Informer[Object], machine: VirtualMachine, record: Record) -> str:
    """Whether a Pod of the guest ends, which it has or goes to: a sentence."""
    namespace, here = machine["metadata"]["namespace"], manifest.current_pod_name(machine)
    there = manifest.pod_name(machine, operation=record.operation)
    for name, which in ((there, "to which it goes"), (here, "in which it is")):
        pod = pods.get(namespace, name)
        if pod is None or reading.is_ending(pod) or reading.is_finished(pod):
            return f"Pod {name}, {which}, ends."
    return ""


async def needed(context: Context, domain: DomainInfo, shared: Container[str]) -> Object:
    """What the other node is to have ready for the guest. Raises PermanentError."""
    seed = await context.seeds.content(domain.uid)
    return {
        "volumes": await _volumes_of(context, domain, shared),
        "seed": "" if seed is None else base64.b64encode(seed).decode(),
    }


async def _volumes_of(context: Context, domain: DomainInfo, shared: Container[str]) -> list[Object]:
    """Of disks: what it is to make, or to reach if ``shared``."""
    made: list[Object] = []
    for device in disks_of(domain):
        volume = await context.volumes.find(device["uid"])
        if volume is None:
            raise PermanentError(f'The volume of VirtualDisk "{device["name"]}" is not found.')
        size, by = volume.virtual_size, volume.provisioner
        one = {"uid": device["uid"], "name": device["name"], "provisioner": by, "size": size}
        made.append({**one, "shared": True} if device["uid"] in shared else one)
    return made


async def fresh_of(context: Context, machine: VirtualMachine, record: Record) -> VirtualMachine | None:
    """The machine as the store has it; None where its record is another one by now."""
    known = machine["metadata"]
    found = await context.store.find(VIRTUAL_MACHINE, known["namespace"], known["name"])
    same = found is not None and found["metadata"]["uid"] == known["uid"]
    return found if found is not None and same and holding.read(found) == record else None
