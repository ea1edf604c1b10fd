"""A machine's ``status`` from what was found: phase, conditions, devices, resources.

Quiet conditions are removed when they have nothing to say (api-reference §6.4).
"""

from __future__ import annotations

from dataclasses import dataclass

from hyperd import clock
from hyperd.controllers.machine import applied
from hyperd.controllers.machine.capacity import memory_overhead, requested
from hyperd.controllers.machine.dependencies import Dependencies
from hyperd.controllers.machine.plan import fraction_of
from hyperd.hypervisor.state import DomainInfo, DomainState, GuestInfo
from hyperd.resources.all import VIRTUAL_MACHINE
from hyperd.resources.schema.kind import Object
from hyperd.resources.schema.unbuilt import not_live_in
from hyperd.resources.values.conditions import find_condition, remove_condition, set_condition
from hyperd.resources.values.meta import go_duration, now_rfc3339
from hyperd.resources.values.quantity import format_bytes
from hyperd.resources.values.sizing import socket_count

_TRANSITIONS_KEPT = 10
_LAUNCH_STAGES = {
    ("Pending", "Starting"): "waitingForDependencies",
    ("Starting", "Running"): "virtualMachineStarting",
}
_UNBOOTABLE = "The firmware found nothing to boot from: look at blockDeviceRefs, their order and their content."
TOLD_OFF = "An operation stopped the virtual machine."
"""Message of the Running condition by which a machine that has no domain stays off."""
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
    devices: list[Object]
    """``status.blockDeviceRefs``."""
    pool_unfit: str = ""
    """Why the node has no room, empty when it has."""
    quota: str = ""
    """Which quota of the namespace has no room, as the store says."""
    failure: str = ""
    """What went wrong at the last start."""
    unbootable: bool = False
    """The firmware found nothing to boot from."""
    emulated: bool = False
    note: str = ""
    """What the guest does not get as it was asked for."""
    libvirt_version: str = ""


def set_phase(machine: Object, phase: str) -> bool:
    """Enter ``phase``, with its time in ``stats.phasesTransitions``; whether it is another one."""
    status = machine.setdefault("status", {})
    if status.get("phase") == phase:
        return False
    status["phase"] = phase
    stats = status.setdefault("stats", {})
    transitions = [*stats.get("phasesTransitions", []), {"phase": phase, "timestamp": now_rfc3339()}]
    stats["phasesTransitions"] = transitions[-_TRANSITIONS_KEPT:]
    _show_durations(stats, transitions)
    stats["phaseTimer"] = clock.timer()
    return True


def _show_durations(stats: Object, transitions: list[Object]) -> None:
    """``launchTimeDuration``: how long the last launch waited, and started; forgotten with the instance."""
    phase = transitions[-1]["phase"]
    before = transitions[-2]["phase"] if len(transitions) > 1 else ""
    if phase in ("Pending", "Stopped"):
        stats.pop("launchTimeDuration", None)
    elif (before, phase) in _LAUNCH_STAGES:
        durations = stats.setdefault("launchTimeDuration", {})
        durations[_LAUNCH_STAGES[before, phase]] = go_duration(clock.passed(stats.get("phaseTimer") or {}))


def time_phase(machine: Object) -> None:
    """See to it that the phase is timed by this boot's clock; what had passed before counts."""
    stats = machine["status"].setdefault("stats", {})
    known = stats.get("phaseTimer") or {}
    if known.get("boot") != clock.boot_id():
        stats["phaseTimer"] = clock.timer(clock.passed(known))


def in_phase(machine: Object) -> float:
    """Seconds for which the machine has been in its phase, no more than are sure."""
    return clock.passed(((machine.get("status") or {}).get("stats") or {}).get("phaseTimer") or {})


def since_start(machine: Object) -> float | None:
    """Seconds since the guest started; None where it did not start in this boot of this node."""
    known = ((machine.get("status") or {}).get("stats") or {}).get("startTimer") or {}
    return clock.passed(known) if known.get("boot") == clock.boot_id() else None


def show_instance(machine: Object, observed: Observed) -> None:
    """Conditions and fields of a machine whose domain lives."""
    status, domain = machine["status"], observed.domain
    assert domain is not None  # noqa: S101  asked only with a domain
    running = applied.decode(domain.applied)
    if domain.state is DomainState.PAUSED and domain.reason not in ("starting-up", "migration"):
        set_phase(machine, "Pause")
        message = (
            "The guest is paused: a disk could not be written; it goes on when there is space again."
            if domain.reason == "ioerror"
            else f"The guest is paused ({domain.reason})."
        )
        set_condition(machine, "Running", False, reason="GuestNotRunning", message=message)
    elif status.get("phase") not in ("Stopping", "Terminating"):
        set_phase(machine, "Running")
        if observed.unbootable:
            set_condition(machine, "Running", True, reason="NoBootableDevice", message=_UNBOOTABLE)
        else:
            set_condition(machine, "Running", True, reason="Running", message=_slow(observed))
    status["nodeName"] = observed.node_name
    versions = {"qemu": running.qemu, "libvirt": observed.libvirt_version}
    status["versions"] = {what: version for what, version in versions.items() if version}
    if domain.agent_connected:
        set_condition(machine, "AgentReady", True, reason="AgentReady")
    else:
        set_condition(machine, "AgentReady", False, reason="AgentNotReady")
    message = _NOT_BUILT if observed.bound else _NO_CLUSTER
    set_condition(machine, "Migratable", False, reason="VirtualMachineNonMigratable", message=message)
    if running.address:
        status["ipAddress"], status["virtualMachineIPAddressName"] = running.address, running.address_name
    _show_changes(machine, running)
    status["blockDeviceRefs"] = observed.devices
    _show_resources(machine, running.configuration)


def is_told_off(machine: Object) -> bool:
    """Whether it was an operation that stopped the machine."""
    return (find_condition(machine, "Running") or {}).get("message") == TOLD_OFF


def show_absence(machine: Object, observed: Observed, phase: str, *, told_off: bool = False) -> None:
    """Conditions and fields of a machine without a living domain, in ``phase``."""
    status = machine["status"]
    set_phase(machine, phase)
    gone = ("guestOSInfo", "versions", "restartAwaitingChanges")
    for key in gone if observed.bound else (*gone, "nodeName"):
        status.pop(key, None)
    if phase == "Stopped":
        status["stats"].pop("lastStartTime", None)
        status["stats"].pop("startTimer", None)
    for type_ in ("AgentReady", "ConfigurationApplied", "AwaitingRestartToApplyConfiguration"):
        remove_condition(machine, type_)
    set_condition(machine, "Migratable", False, reason="VirtualMachineNonMigratable")
    if observed.failure:
        set_condition(machine, "Running", False, reason="InternalVirtualMachineError", message=observed.failure)
    elif observed.quota:
        set_condition(machine, "Running", False, reason="QuotaExceeded", message=observed.quota)
    elif observed.pool_unfit:
        set_condition(machine, "Running", False, reason="PodNotStarted", message=observed.pool_unfit)
    elif phase == "Pending" and observed.found.blocked:
        set_condition(machine, "Running", False, reason="NotRunning", message=observed.found.blocked)
    else:
        message = TOLD_OFF if told_off else ""
        set_condition(machine, "Running", False, reason="NotRunning", message=message)
    status["blockDeviceRefs"] = observed.devices
    _show_resources(machine, applied.configuration(machine["spec"]))
    # Nothing is requested of a node for an instance that is not there.
    del status["resources"]["cpu"]["requestedCores"]


def show_address(machine: Object, found: Dependencies) -> None:
    """Address and its object, as far as they are known, and the main network that they are on."""
    if found.address is not None:
        machine["status"]["networks"] = [{"id": 1, "type": "Main", "name": "default"}]
        machine["status"]["ipAddress"] = str(found.address)
        machine["status"]["virtualMachineIPAddressName"] = found.address_name


def show_started(machine: Object) -> None:
    """Note the start's time, for the Uptime column."""
    machine["status"].setdefault("stats", {}).update(lastStartTime=now_rfc3339(), startTimer=clock.timer())


def time_start(machine: Object) -> None:
    """See to it that the start of a guest that runs is noted, and timed by this boot's clock."""
    if "lastStartTime" not in machine["status"].setdefault("stats", {}):
        show_started(machine)
    elif since_start(machine) is None:
        machine["status"]["stats"]["startTimer"] = clock.timer()


def show_rebooted(machine: Object) -> bool:
    """The guest went down and came back within the same instance; False when that is shown already."""
    ago = since_start(machine)
    if ago is not None and ago < _DOUBLED_SECONDS:
        return False
    show_started(machine)
    running = find_condition(machine, "Running")
    if running is not None:
        running["lastTransitionTime"] = machine["status"]["stats"]["lastStartTime"]
    return True


def show_guest(machine: Object, guest: GuestInfo | None) -> None:
    """``guestOSInfo``, and how long the agent took; nothing while no agent answers."""
    status = machine["status"]
    if guest is None:
        status.pop("guestOSInfo", None)
        return
    stats = status.setdefault("stats", {})
    took = since_start(machine)
    if "guestOSInfo" not in status and took is not None:
        stats.setdefault("launchTimeDuration", {})["guestOSAgentStarting"] = go_duration(took)
    told = {
        "id": guest.os_id,
        "name": guest.os_name,
        "prettyName": guest.os_pretty_name,
        "version": guest.os_version,
        "versionId": guest.os_version_id,
        "kernelRelease": guest.kernel_release,
        "kernelVersion": guest.kernel_version,
        "machine": guest.machine,
    }
    status["guestOSInfo"] = {key: value for key, value in told.items() if value}


def _slow(observed: Observed) -> str:
    parts = []
    if observed.emulated:
        parts.append("KVM cannot be used on this node: the guest is emulated and slow.")
    if observed.note:
        parts.append(observed.note)
    return " ".join(parts)


def awaited(changes: list[Object]) -> str:
    """A sentence that names what a restart would apply."""
    paths = ", ".join(change["path"] for change in changes)
    why = not_live_in(VIRTUAL_MACHINE, (change["path"] for change in changes))
    return " ".join((f"Restart the virtual machine to apply: {paths}.", *why))


def _show_changes(machine: Object, running: applied.Applied) -> None:
    changes = applied.changes(running.configuration, machine["spec"], running.compared)
    if not changes:
        machine["status"].pop("restartAwaitingChanges", None)
        remove_condition(machine, "ConfigurationApplied")
        remove_condition(machine, "AwaitingRestartToApplyConfiguration")
        return
    machine["status"]["restartAwaitingChanges"] = changes
    message = awaited(changes)
    set_condition(machine, "ConfigurationApplied", False, reason="ConfigurationNotApplied", message=message)
    set_condition(
        machine,
        "AwaitingRestartToApplyConfiguration",
        True,
        reason="ChangesPendingRestart",
        message=message,
    )


def _show_resources(machine: Object, configuration: Object) -> None:
    """Of the running instance; of the spec when there is none."""
    spec = {
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
