"""How well an object is, in one glance: a level, a word, and the reason when it is not well.

The CLI's waiting, the TUI's rows and its detail pane read an object through this one function.
"""

from __future__ import annotations

from enum import StrEnum

from hyperd.client.shapes import mapping, mappings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from hyperd.resources.schema.kind import Object


class Level(StrEnum):
    """What a phase means to who looks."""

    GOOD = "good"
    BUSY = "busy"
    WAITING = "waiting"
    OFF = "off"
    BAD = "bad"


GLYPHS = {Level.GOOD: "●", Level.BUSY: "◐", Level.WAITING: "▲", Level.OFF: "○", Level.BAD: "✖"}

_LEVELS = {
    **dict.fromkeys(("Running", "Ready", "Bound", "Attached", "Completed", "Active"), Level.GOOD),
    **dict.fromkeys(("Stopped", "Released", "Superseded", "Pause"), Level.OFF),
    **dict.fromkeys(("Pending", "WaitForUserUpload", "WaitForFirstConsumer"), Level.WAITING),
    **dict.fromkeys(("Failed", "Degraded", "ImageLost", "PVCLost", "NotReady", "Lost"), Level.BAD),
}

_POOL = "VirtualMachinePool"
_LOST = "NodeLost"
_QUIET = {"NotInUse", "Unknown"}
_NEUTRAL = frozenset(
    ("InUse", "Migratable", "AgentReady", "Snapshotting", "FilesystemFrozen", "Migrating", "Resizing")
)
ALARMS = frozenset(
    (
        "AwaitingRestartToApplyConfiguration", "EvictionRequired", "Terminating", "Maintenance",
        "MemoryPressure", "DiskPressure", "PIDPressure", "NetworkUnavailable", "Degraded", "Stalled",
    )
)  # fmt: skip
"""Condition types that are noteworthy when True; most others are when they are not."""


def condition_level(entry: Object, of: Level) -> Level:
    """Of one condition of an object that is ``of``: OFF where it is no fault that it does not hold.

    Where it is one, BAD if the object is, else WAITING.
    """
    holds, kind = entry.get("status") == "True", entry.get("type")
    if kind in ALARMS:
        return Level.WAITING if holds else Level.OFF
    if holds:
        return Level.GOOD
    if kind in _NEUTRAL or entry.get("reason") in _QUIET:
        return Level.OFF
    return Level.BAD if of is Level.BAD else Level.WAITING


_CONVENTIONS = (
    ("Failed", "True", Level.BAD), ("Stalled", "True", Level.BAD),
    ("Ready", "False", Level.WAITING), ("Available", "False", Level.WAITING),
)  # fmt: skip
"""Condition types of others' kinds, with the status that is a fault."""


class Health:
    """``word`` is the phase, ``reason`` why it is not well (empty when it is), ``progress`` how far (``37 %``)."""

    __slots__ = ("level", "progress", "reason", "word")

    def __init__(self, level: Level, word: str, *, reason: str = "", progress: str = "") -> None:
        self.level = level
        self.word = word
        self.reason = reason
        self.progress = progress

    @property
    def glyph(self) -> str:
        return GLYPHS[self.level]


def health(obj: Object) -> Health:
    """The health of any object; a Node's comes from its Ready condition, a phaseless object is simply there."""
    status = mapping(obj.get("status"))
    phase = str(status.get("phase") or "")
    if obj.get("kind") == "Node":
        ready = condition(obj, "Ready") or {}
        fine = ready.get("status") == "True"
        if fine and mapping(obj.get("spec")).get("unschedulable"):
            return Health(Level.WAITING, "Cordoned", reason="It takes no new machines.")
        message = "" if fine else str(ready.get("message") or ready.get("reason") or "")
        return Health(Level.GOOD if fine else Level.BAD, "Ready" if fine else "NotReady", reason=message)
    if not phase:
        return _without_phase(obj)
    level = _LEVELS.get(phase, Level.BUSY)
    if mapping(obj.get("metadata")).get("deletionTimestamp"):
        phase, level = "Terminating", Level.BUSY
    running = condition(obj, "Running") or {}
    if running.get("status") == "Unknown" and running.get("reason") == _LOST:
        # Its phase is what it was when its node was heard of last.
        return Health(Level.BAD, _LOST, reason=str(running.get("message") or ""))
    network = condition(obj, "NetworkReady") or {}
    if phase == "Running" and network.get("status") == "False":
        # It runs, and nobody reaches it, or it reaches nobody.
        return Health(Level.WAITING, phase, reason=str(network.get("message") or network.get("reason") or ""))
    return Health(level, phase, reason=_beyond(status, trouble(obj, level)), progress=progress(status))


def _without_phase(obj: Object) -> Health:
    """Some kinds have no phase; one of ours that has none has not been looked at."""
    ours = str(obj.get("apiVersion", "")).startswith("virtualization.")
    if ours and (available := condition(obj, "Available")) is not None:
        return _by_number(obj, available)
    from hyperd.resources.index import INDEX

    if ours and any((entry.settled or entry.kind == _POOL) and entry.kind == obj.get("kind") for entry in INDEX):
        return Health(Level.WAITING, "Pending", reason="hyperd has not looked at it yet")
    return Health(Level.GOOD, "") if ours else _by_convention(obj)


def _by_convention(obj: Object) -> Health:
    """Of others' kinds, which mostly say by the same conditions how they are."""
    if mapping(obj.get("metadata")).get("deletionTimestamp"):
        return Health(Level.BUSY, "Terminating")
    for kind, fault, level in _CONVENTIONS:
        found = condition(obj, kind) or {}
        if found.get("status") == fault:
            reason = str(found.get("message") or found.get("reason") or "")
            return Health(level, kind if fault == "True" else f"Not{kind}", reason=reason)
    return Health(Level.GOOD, "")


def _by_number(obj: Object, available: Object) -> Health:
    """Of a pool: whether as many run as are wanted, and whether some come or go."""
    if mapping(obj.get("metadata")).get("deletionTimestamp"):
        return Health(Level.BUSY, "Terminating")
    moves = condition(obj, "Progressing")
    if available.get("status") != "True":
        level, word = (Level.BUSY, "Progressing") if moves is not None else (Level.WAITING, "Unavailable")
        return Health(level, word, reason=str(available.get("message") or ""))
    if moves is not None:
        return Health(Level.BUSY, "Progressing", reason=str(moves.get("message") or ""))
    return Health(Level.GOOD, "Available")


def trouble(obj: Object, level: Level) -> str:
    """The message of the condition that says best why the object is not where it should be."""
    found = ""
    running = condition(obj, "Running") or {}
    if running.get("reason") == "NoBootableDevice":
        return str(running.get("message") or "NoBootableDevice")
    for entry in conditions(obj):
        kind, state = str(entry.get("type")), entry.get("status")
        message = str(entry.get("message") or "") or str(entry.get("reason") or "")
        if kind in ALARMS:
            if state == "True" and message:
                found = found or message
        elif level in (Level.GOOD, Level.OFF) or kind in _NEUTRAL:
            continue
        elif state == "False" and entry.get("reason") not in _QUIET:
            # What a thing waits for says more than that it is not ready.
            if kind not in ("Ready", "Running", "Completed"):
                return message
            found = found or message
    return found


def progress(status: Object) -> str:
    """``37.2 % · 84 MB/s`` or ``2 of 5 objects`` while something is on its way, else nothing."""
    done = str(status.get("progress") or "")
    if not done:
        return _made(status)
    if done.startswith("100"):
        return ""
    speed = str(mapping(status.get("downloadSpeed")).get("current") or "")
    if speed and "/s" not in speed:
        speed += "/s"
    return " · ".join(part for part in (f"{done.rstrip('%').strip()} %", speed) if part)


def _made(status: Object) -> str:
    """How far a restore or a copy is, which tells of each object."""
    resources = status.get("resources")
    stands = (
        [each.get("status") for each in resources if isinstance(each, dict)] if isinstance(resources, list) else []
    )
    if "InProgress" not in stands:
        return ""
    return f"{stands.count('Completed')} of {len(stands)} objects"


def _beyond(status: Object, reason: str) -> str:
    """What ``reason`` says beyond ``progress``: the message of an import begins with the same figures."""
    done = str(status.get("progress") or "")
    if not done or not reason.startswith(f"{done}, "):
        return reason
    return next((part for part in reason.rstrip(".").split(", ") if part.endswith(" left")), "")


def conditions(obj: Object) -> Iterable[Object]:
    """The object's conditions; what is not a mapping is skipped."""
    return mappings(mapping(obj.get("status")).get("conditions"))


def condition(obj: Object, kind: str) -> Object | None:
    """The condition of one type, or None."""
    return next((entry for entry in conditions(obj) if entry.get("type") == kind), None)
