"""A machine's ``status`` from what was found: phase, conditions, devices, resources.

Quiet conditions are removed when they have nothing to say (api-reference §6.4).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from hyperd import clock
from hyperd.controllers.macaddress import hardware
from hyperd.controllers.machine import applied, networking
from hyperd.controllers.machine.capacity import Sized, memory_overhead, requested
from hyperd.controllers.machine.dependencies import Dependencies
from hyperd.controllers.machine.plan import fraction_of
from hyperd.controllers.migration.interface import Movable
from hyperd.hypervisor.state import DomainInfo, DomainState, GuestInfo
from hyperd.resources.kinds.virtual_machine import NetworkType
from hyperd.resources.kinds.virtual_machine_conditions import (
    AgentReason,
    AwaitingRestartReason,
    ConfigurationReason,
    FirmwareReason,
    MigratableReason,
    RunningReason,
    VirtualMachineCondition,
)
from hyperd.resources.kinds.virtual_machine_status import VirtualMachinePhase
from hyperd.resources.schema.kind import AnyObject
from hyperd.resources.values.conditions import find_condition, remove_condition, set_condition
from hyperd.resources.values.meta import go_duration, now_rfc3339
from hyperd.resources.values.quantity import format_bytes
from hyperd.resources.values.sizing import socket_count

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine import Network, VirtualMachine
    from hyperd.resources.views.virtual_machine_class import VirtualMachineClassSpec
    from hyperd.resources.views.virtual_machine_status import (
        BlockDeviceStatus,
        GuestOSInfo,
        NetworkStatus,
        PhaseTransition,
        RestartAwaitingChange,
        Versions,
        VirtualMachineStats,
    )

_TRANSITIONS_KEPT = 10
_LAUNCH_STAGES: Mapping[
    tuple[VirtualMachinePhase, VirtualMachinePhase],
    Literal["waitingForDependencies", "virtualMachineStarting"],
] = {
    (VirtualMachinePhase.PENDING, VirtualMachinePhase.STARTING): "waitingForDependencies",
    (VirtualMachinePhase.STARTING, VirtualMachinePhase.RUNNING): "virtualMachineStarting",
}
OF_AN_INSTANCE = (
    VirtualMachineCondition.AGENT_READY,
    VirtualMachineCondition.MIGRATABLE,
    VirtualMachineCondition.CONFIGURATION_APPLIED,
    VirtualMachineCondition.AWAITING_RESTART,
    VirtualMachineCondition.FIRMWARE_UP_TO_DATE,
    VirtualMachineCondition.MIGRATING,
)
"""Conditions that say nothing of a machine that is off."""
_OSField = Literal["id", "name", "prettyName", "version", "versionId", "kernelRelease", "kernelVersion", "machine"]
_UNWRITABLE = "a disk could not be written; it goes on when there is space again."
_UNBOOTABLE = "The firmware found nothing to boot from: look at blockDeviceRefs, their order and their content."
TOLD_OFF = "An operation stopped the virtual machine."
"""Message of the Running condition by which a machine that has no domain stays off."""
_TOLD = (
    RunningReason.NODE_LOST, RunningReason.POD_NOT_STARTED, RunningReason.POD_TERMINATING,
    RunningReason.QUOTA_EXCEEDED,
)  # fmt: skip
"""Reasons of a condition that who places the machine may have written."""
_NO_CLUSTER = "Live migration needs a cluster of nodes."
_NOT_BUILT = "Live migration is not built yet in this version."
_DOUBLED_SECONDS = 2.0
"""libvirt may tell one reboot twice."""


@dataclass(frozen=True)
class Observed:
    """What the status is made from."""

    domain: DomainInfo | None
    found: Dependencies
    node_name: str
    bound: bool
    """Whether the node stays the machine's while it is off."""
    devices: list[BlockDeviceStatus]
    """``status.blockDeviceRefs``."""
    pool_unfit: str = ""
    """Why the node has no room, empty when it has."""
    quota: str = ""
    """Which quota of the namespace has no room, as the store says."""
    failure: str = ""
    """What went wrong at the last start."""
    unreadable: str = ""
    """Which disk the guest waits for in vain, and why."""
    unbootable: bool = False
    """The firmware found nothing to boot from."""
    emulated: bool = False
    note: str = ""
    """What the guest does not get as it was asked for."""
    libvirt_version: str = ""


def set_phase(machine: VirtualMachine, phase: VirtualMachinePhase) -> bool:
    """Enter ``phase``, with its time in ``stats.phasesTransitions``; whether it is another one.

    A machine is Pending from its creation, though that is not written where it does not have to wait.
    """
    status = machine.setdefault("status", {})
    was = status.get("phase")
    if was == phase:
        return False
    status["phase"] = phase
    stats = status.setdefault("stats", {})
    now = now_rfc3339()
    entered: list[PhaseTransition] = [{"phase": phase, "timestamp": now}]
    if not was and phase != VirtualMachinePhase.PENDING:
        created = machine["metadata"].get("creationTimestamp") or now
        entered.insert(0, {"phase": VirtualMachinePhase.PENDING, "timestamp": created})
    transitions = [*stats.get("phasesTransitions", []), *entered]
    stats["phasesTransitions"] = transitions[-_TRANSITIONS_KEPT:]
    _show_durations(stats, transitions)
    stats["phaseTimer"] = clock.timer()
    return True


def _show_durations(stats: VirtualMachineStats, transitions: list[PhaseTransition]) -> None:
    """``launchTimeDuration``: how long the last launch waited, and started; forgotten with the instance."""
    phase = transitions[-1]["phase"]
    before = transitions[-2]["phase"] if len(transitions) > 1 else None
    if phase in (VirtualMachinePhase.PENDING, VirtualMachinePhase.STOPPED):
        stats.pop("launchTimeDuration", None)
    elif before is not None and (stage := _LAUNCH_STAGES.get((before, phase))) is not None:
        durations = stats.setdefault("launchTimeDuration", {})
        durations[stage] = go_duration(clock.passed(stats.get("phaseTimer")))


def time_phase(machine: VirtualMachine) -> None:
    """See to it that the phase is timed by this boot's clock; what had passed before counts."""
    stats = machine["status"].setdefault("stats", {})
    known = stats.get("phaseTimer")
    if known is None or known.get("boot") != clock.boot_id():
        stats["phaseTimer"] = clock.timer(clock.passed(known))


def in_phase(machine: VirtualMachine) -> float:
    """Seconds for which the machine has been in its phase, no more than are sure."""
    return clock.passed(((machine.get("status") or {}).get("stats") or {}).get("phaseTimer"))


def since_start(machine: VirtualMachine) -> float | None:
    """Seconds since the guest started; None where it did not start in this boot of this node."""
    known = ((machine.get("status") or {}).get("stats") or {}).get("startTimer")
    return clock.passed(known) if known is not None and known.get("boot") == clock.boot_id() else None


def show_instance(machine: VirtualMachine, observed: Observed, movable: Movable | None = None) -> None:
    """Conditions and fields of a machine whose domain lives; ``movable`` where guests can go to other nodes."""
    status, domain = machine["status"], observed.domain
    assert domain is not None  # noqa: S101  asked only with a domain
    running = applied.decode(domain.applied)
    if domain.state is DomainState.PAUSED and domain.reason not in ("starting-up", "migration"):
        set_phase(machine, VirtualMachinePhase.PAUSE)
        message = f"The guest is paused ({domain.reason})."
        if domain.reason == "ioerror":
            message = f"The guest is paused: {observed.unreadable or _UNWRITABLE}"
        _not_running(machine, RunningReason.GUEST_NOT_RUNNING, message)
    elif status.get("phase") not in (VirtualMachinePhase.STOPPING, VirtualMachinePhase.TERMINATING):
        set_phase(machine, VirtualMachinePhase.RUNNING)
        reason = RunningReason.NO_BOOTABLE_DEVICE if observed.unbootable else RunningReason.RUNNING
        message = _UNBOOTABLE if observed.unbootable else _slow(observed)
        set_condition(machine, VirtualMachineCondition.RUNNING, True, reason=reason, message=message)
    status["nodeName"] = observed.node_name
    versions: Versions = {}
    if running.qemu:
        versions["qemu"] = running.qemu
    if observed.libvirt_version:
        versions["libvirt"] = observed.libvirt_version
    status["versions"] = versions
    agent = domain.agent_connected
    why = AgentReason.READY if agent else AgentReason.NOT_READY
    set_condition(machine, VirtualMachineCondition.AGENT_READY, agent, reason=why)
    cannot = _NOT_BUILT if observed.bound else _NO_CLUSTER
    movable = movable or Movable(MigratableReason.NON_MIGRATABLE, cannot, bound=True)
    _show_movable(machine, movable)
    if running.address:
        status["ipAddress"], status["virtualMachineIPAddressName"] = running.address, running.address_name
    has = (one for one in running.configuration.get("networks") or () if one["type"] != NetworkType.MAIN)
    _show_networks(machine, bool(running.address), has, networking.decode(running.cards))
    _show_changes(machine, running, observed.found.class_spec, placed=not movable.bound)
    status["blockDeviceRefs"] = observed.devices
    _show_resources(machine, running.configuration)


def is_told_off(machine: VirtualMachine) -> bool:
    """Whether it was an operation that stopped the machine."""
    return (find_condition(machine, VirtualMachineCondition.RUNNING) or {}).get("message") == TOLD_OFF


def _not_running(machine: VirtualMachine, reason: RunningReason, message: str) -> None:
    set_condition(machine, VirtualMachineCondition.RUNNING, False, reason=reason, message=message)


def _show_movable(machine: VirtualMachine, movable: Movable) -> None:
    """One that only waits for a node to take it again can go."""
    can = not movable.message or movable.reason is MigratableReason.WAITING_FOR_TARGET
    reason, message = movable.reason, movable.message
    set_condition(machine, VirtualMachineCondition.MIGRATABLE, can, reason=reason, message=message)


def show_firmware(machine: VirtualMachine, outdated: str) -> None:
    """Whether the guest runs the QEMU that it would be started with now; ``outdated`` says that it does not."""
    type_, reason = VirtualMachineCondition.FIRMWARE_UP_TO_DATE, FirmwareReason.OUT_OF_DATE
    if outdated:
        set_condition(machine, type_, False, reason=reason, message=outdated)
    else:
        remove_condition(machine, type_)


def show_absence(
    machine: VirtualMachine, observed: Observed, phase: VirtualMachinePhase, *, told_off: bool = False
) -> None:
    """Conditions and fields of a machine without a living domain, in ``phase``."""
    status = machine["status"]
    set_phase(machine, phase)
    status.pop("guestOSInfo", None)
    status.pop("versions", None)
    status.pop("restartAwaitingChanges", None)
    if not observed.bound:
        status.pop("nodeName", None)
    if phase == VirtualMachinePhase.STOPPED:
        status["stats"].pop("lastStartTime", None)
        status["stats"].pop("startTimer", None)
    for type_ in OF_AN_INSTANCE:
        remove_condition(machine, type_)
    if observed.failure:
        _not_running(machine, RunningReason.INTERNAL_ERROR, observed.failure)
    elif observed.quota:
        _not_running(machine, RunningReason.QUOTA_EXCEEDED, observed.quota)
    elif observed.pool_unfit:
        _not_running(machine, RunningReason.POD_NOT_STARTED, observed.pool_unfit)
    elif phase == VirtualMachinePhase.PENDING and observed.found.blocked:
        _not_running(machine, RunningReason.NOT_RUNNING, observed.found.blocked)
    else:
        _not_running(machine, RunningReason.NOT_RUNNING, TOLD_OFF if told_off else "")
    status["blockDeviceRefs"] = observed.devices
    _show_resources(machine, applied.configuration(machine["spec"]))
    # Nothing is requested of a node for an instance that is not there, and it costs nothing.
    cpu, memory = status["resources"]["cpu"], status["resources"]["memory"]
    del cpu["requestedCores"], cpu["runtimeOverhead"], memory["runtimeOverhead"]


def keep_told(before: VirtualMachine, machine: VirtualMachine) -> None:
    """Let stand what another says of why ``machine`` waits, if ``before`` says so."""
    said = find_condition(before, VirtualMachineCondition.RUNNING) or {}
    if (before.get("status") or {}).get("phase") == VirtualMachinePhase.PENDING and said.get("reason") in _TOLD:
        _not_running(machine, RunningReason(said["reason"]), said.get("message", ""))


def show_address(machine: VirtualMachine, found: Dependencies) -> None:
    """Address and its object, as far as they are known, and the main network that they are on."""
    _show_networks(machine, found.address is not None, hardware.additional(machine), found.cards)
    if found.address is not None:
        machine["status"]["ipAddress"] = str(found.address)
        machine["status"]["virtualMachineIPAddressName"] = found.address_name


def _show_networks(
    machine: VirtualMachine, main: bool, additional: Iterable[Network], cards: networking.Cards
) -> None:
    """The main network if the machine is on it, then each for which its card has an address."""
    first: list[NetworkStatus] = [{"id": 1, "type": NetworkType.MAIN, "name": "default"}] if main else []
    if found := [*first, *networking.shown(additional, cards)]:
        machine["status"]["networks"] = found
    else:
        machine["status"].pop("networks", None)


def show_started(machine: VirtualMachine) -> None:
    """Note the start's time, for the Uptime column."""
    stats = machine["status"].setdefault("stats", {})
    stats["lastStartTime"], stats["startTimer"] = now_rfc3339(), clock.timer()


def time_start(machine: VirtualMachine) -> None:
    """See to it that the start of a guest that runs is noted, and timed by this boot's clock."""
    if "lastStartTime" not in machine["status"].setdefault("stats", {}):
        show_started(machine)
    elif since_start(machine) is None:
        machine["status"]["stats"]["startTimer"] = clock.timer()


def show_rebooted(machine: VirtualMachine) -> bool:
    """The guest went down and came back within the same instance; False when that is shown already."""
    ago = since_start(machine)
    if ago is not None and ago < _DOUBLED_SECONDS:
        return False
    show_started(machine)
    running = find_condition(machine, VirtualMachineCondition.RUNNING)
    if running is not None:
        running["lastTransitionTime"] = machine["status"]["stats"]["lastStartTime"]
    return True


def show_guest(machine: VirtualMachine, guest: GuestInfo | None) -> None:
    """``guestOSInfo``, and how long the agent took; nothing while no agent answers."""
    status = machine["status"]
    if guest is None:
        status.pop("guestOSInfo", None)
        return
    stats = status.setdefault("stats", {})
    took = since_start(machine)
    if "guestOSInfo" not in status and took is not None:
        stats.setdefault("launchTimeDuration", {})["guestOSAgentStarting"] = go_duration(took)
    answers: Mapping[_OSField, str] = {
        "id": guest.os_id,
        "name": guest.os_name,
        "prettyName": guest.os_pretty_name,
        "version": guest.os_version,
        "versionId": guest.os_version_id,
        "kernelRelease": guest.kernel_release,
        "kernelVersion": guest.kernel_version,
        "machine": guest.machine,
    }
    info: GuestOSInfo = {}
    for key, value in answers.items():
        if value:
            info[key] = value
    status["guestOSInfo"] = info


def _slow(observed: Observed) -> str:
    parts = []
    if observed.emulated:
        parts.append("KVM cannot be used on this node: the guest is emulated and slow.")
    if observed.note:
        parts.append(observed.note)
    return " ".join(parts)


def awaited(changes: list[RestartAwaitingChange]) -> str:
    """A sentence that names what a restart would apply."""
    paths = ", ".join(change["path"] for change in changes)
    return f"Restart the virtual machine to apply: {paths}."


def _show_changes(
    machine: VirtualMachine, running: applied.Applied, class_spec: VirtualMachineClassSpec | None, *, placed: bool
) -> None:
    """``placed`` is whether what changes of the rules of placement is followed while the guest runs."""
    changes = applied.changes(running.configuration, machine["spec"], running.compared, class_spec)
    if placed:
        changes = [change for change in changes if change["path"] not in applied.PLACEMENT_PATHS]
    if not changes:
        machine["status"].pop("restartAwaitingChanges", None)
        remove_condition(machine, VirtualMachineCondition.CONFIGURATION_APPLIED)
        remove_condition(machine, VirtualMachineCondition.AWAITING_RESTART)
        return
    machine["status"]["restartAwaitingChanges"] = changes
    message = awaited(changes)
    not_applied, pending = ConfigurationReason.NOT_APPLIED, AwaitingRestartReason.CHANGES_PENDING
    set_condition(
        machine, VirtualMachineCondition.CONFIGURATION_APPLIED, False, reason=not_applied, message=message
    )
    set_condition(machine, VirtualMachineCondition.AWAITING_RESTART, True, reason=pending, message=message)


def _show_resources(machine: VirtualMachine, configuration: AnyObject) -> None:
    """Of the running instance; of the spec when there is none."""
    spec: Sized = {
        "cpu": {
            "cores": configuration.get("cpu.cores", machine["spec"]["cpu"]["cores"]),
            "coreFraction": configuration.get("cpu.coreFraction", "100%"),
        },
        "memory": {"size": configuration.get("memory.size", machine["spec"]["memory"]["size"])},
    }
    cores, fraction = spec["cpu"]["cores"], fraction_of(spec)
    sockets = socket_count(cores)
    milli = requested(spec).cpu_milli
    machine["status"]["resources"] = {
        "cpu": {
            "cores": cores,
            "coreFraction": f"{fraction}%",
            "requestedCores": str(milli // 1000) if milli % 1000 == 0 else f"{milli}m",
            "runtimeOverhead": "0",
            "topology": {"sockets": sockets, "coresPerSocket": cores // sockets},
        },
        "memory": {
            "size": spec["memory"]["size"],
            "runtimeOverhead": format_bytes(memory_overhead(cores)),
        },
    }
