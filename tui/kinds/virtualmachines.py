"""Machines: the list that one sees first, and the only one with a console."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from rich.text import Text

from hyperd.client import sanitize
from hyperd.client.amounts import address, quantity
from hyperd.client.health import conditions
from hyperd.resources.values.jsonpath import value_at
from tui import usage
from tui.kind import AGE, CONSOLE, NAME, NAMESPACE, STATE, TABS, Field, Kind, Relatives, at, first, moment, size
from tui.lines import pair, pairs, state_of
from tui.shelf import Object
from tui.usage import worth
from tui.widgets.rows import Column

_FACTS = (
    ("address", ".status.ipAddress"), ("node", ".status.nodeName"), ("class", ".spec.virtualMachineClassName"),
    ("policy", ".spec.runPolicy"), ("guest", ".status.guestOSInfo.prettyName"),
)  # fmt: skip

_EMULATED = "is emulated"
"""In what a home says of a guest that runs without KVM."""
_CORES = first(at(".status.resources.cpu.cores"), at(".spec.cpu.cores"))
_SHARE = first(at(".status.resources.cpu.coreFraction"), at(".spec.cpu.coreFraction"))
_MEMORY = first(at(".status.resources.memory.size"), at(".spec.memory.size"))


def _devices(obj: Object) -> Iterator[Mapping[str, object]]:
    attached = value_at(obj, ".status.blockDeviceRefs") or value_at(obj, ".spec.blockDeviceRefs")
    for device in attached if isinstance(attached, list) else ():
        if isinstance(device, dict):
            yield device


def _name(reference: Mapping[str, object]) -> str:
    return f"{reference.get('kind', '')}/{reference.get('name', '')}"


def relations(obj: Object) -> Iterable[str]:
    """Its disks and images."""
    return map(_name, _devices(obj))


def overview(obj: Object, relatives: Relatives) -> list[Text]:
    """Size, place, disks with how they are, and what waits for a restart."""
    lines = [
        pair("cpu", Text(sanitize.line(f"{_CORES(obj)} × {_SHARE(obj) or '100%'}"))),
        pair("memory", Text(sanitize.line(str(_MEMORY(obj) or "")))),
        *pairs(_FACTS, obj),
    ]
    for device in _devices(obj):
        line = Text(sanitize.line(f"{device.get('target') or '–':<4} {_name(device)}"))
        length = device.get("size")
        line.append(f"  {sanitize.line(str(length))}" if length else "")
        if (health := relatives.get(_name(device))) is not None:
            line.append("  ").append_text(state_of(health))
        lines.append(pair("disk", line))
    changes = value_at(obj, ".status.restartAwaitingChanges")
    for change in changes if isinstance(changes, list) else ():
        before, after = (_short(change.get(side)) for side in ("currentValue", "desiredValue"))
        text = f"{change.get('path')}: {before} → {after}"
        lines.append(pair("restart", Text(f"needed for {sanitize.line(text)}", style="yellow")))
    return lines


def _short(value: object) -> str:
    """A value of the spec in a line: a reference as ``Kind/name``, nothing as a dash."""
    if value is None:
        return "–"
    if not isinstance(value, dict):
        return str(value)
    if set(value) == {"kind", "name"}:
        return _name(value)
    return str(value.get("type") or value.get("name") or ", ".join(map(str, value.values())))


def notes(obj: Object) -> str:
    """What one should know of a machine that is well: what is worst first."""
    found = {str(entry.get("type")): entry for entry in conditions(obj)}
    running = found.get("Running") or {}
    parts = {
        "restart": (found.get("AwaitingRestartToApplyConfiguration") or {}).get("status") == "True",
        "emulated": _EMULATED in str(running.get("message") or ""),
        "no agent": running.get("status") == "True" and (found.get("AgentReady") or {}).get("status") == "False",
    }
    return " · ".join(part for part, told in parts.items() if told)


KIND = Kind(
    "virtualmachines",
    "machines",
    ("vm", "virtualmachine", "virtualmachines", "machines"),
    (
        NAME,
        NAMESPACE,
        STATE,
        Field(Column("CPU%", 9, right=True, rank=1, number=worth), live=usage.cpu),
        Field(Column("MEM%", 4, right=True, rank=1, number=worth), live=usage.memory),
        Field(Column("DISK/S", 6, right=True, rank=3, number=worth), live=usage.disk),
        Field(Column("NET/S", 5, right=True, rank=3, number=worth), live=usage.network),
        Field(Column("CPU", 3, right=True, rank=2, number=quantity), _CORES),
        Field(
            Column("MEMORY", 7, right=True, rank=2, number=quantity),
            first(size(".status.resources.memory.size"), size(".spec.memory.size")),
        ),
        Field(Column("ADDRESS", 15, rank=1, number=address), at(".status.ipAddress")),
        Field(Column("NOTE", 8, grow=1, rank=1), notes),
        Field(Column("NODE", 12, grow=1, rank=4), at(".status.nodeName")),
        Field(Column("UPTIME", 6, right=True, rank=5, age=True), moment(".status.stats.lastStartTime")),
        AGE,
    ),
    digit="1",
    empty=(
        "There is no machine here yet.",
        "hv apply -f machine.yaml --wait   makes one from a manifest",
        "3 shows images, 2 disks, ? all the keys",
    ),
    tabs=(*TABS, CONSOLE),
    relations=relations,
    overview=overview,
    counted="vm",
    loss="Its disks stay.",
)
