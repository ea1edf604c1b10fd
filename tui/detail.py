"""One object as lines: an overview of what matters, highlighted YAML, its events. Text only, no widgets."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from typing import Any

from rich.cells import set_cell_size
from rich.text import Text

from hyperd.client import ages, sanitize
from hyperd.client.health import ALARMS, Health, Level, condition, conditions, health
from hyperd.client.yamltext import dump
from hyperd.resources.values.jsonpath import value_at
from tui.fleet import Object

COLOURS = {
    Level.GOOD: "green",
    Level.BUSY: "cyan",
    Level.WAITING: "yellow",
    Level.OFF: "dim",
    Level.BAD: "red",
}
_LABEL_WIDTH = 11
_CONDITION_INDENT = 6
_EVENT_INDENT = 10
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_YAML_LINE = re.compile(r"(?P<indent>\s*(?:- )*)(?P<key>(?:\"[^\"]*\"|[\w./$@-]+)):(?P<rest>(?: .*)?)\Z")
_NUMBER_OR_WORD = re.compile(r"(?:-?[0-9.]+(?:[eE][-+]?[0-9]+)?|true|false|null|\[\]|\{\})\Z")


def overview(plural: str, obj: Object, relatives: dict[str, Object], width: int) -> list[Text]:
    """What a person asks first, in ``width`` cells. ``relatives`` are objects it refers to, by ``Kind/name``."""
    state = health(obj)
    lines = [_pair("state", _state(state))]
    if state.progress:
        lines.append(_pair("progress", Text(sanitize.line(state.progress))))
    if state.reason:
        colour = "yellow" if state.level is Level.GOOD else COLOURS[state.level]
        lines.append(_pair("why", Text(sanitize.line(state.reason), style=colour)))
    if plural == "virtualmachines":
        lines += _machine(obj, relatives)
    else:
        lines += _pairs(_FACTS.get(plural, ()), obj)
    lines.append(_pair("age", Text(ages.age(str(value_at(obj, ".metadata.creationTimestamp") or "")))))
    folded = fold(lines, width, indent=_LABEL_WIDTH + 2)
    return folded + fold(_conditions(obj), width, indent=_CONDITION_INDENT)


def fold(lines: Iterable[Text], width: int, *, indent: int) -> list[Text]:
    """Lines that fit: a longer one goes on below, ``indent`` cells in. What does not fit anyhow stays whole."""
    folded: list[Text] = []
    for line in lines:
        while indent < width < line.cell_len:
            cut = len(set_cell_size(line.plain, width).rstrip())
            space = line.plain.rfind(" ", indent, cut + 1)
            cut = space if space > indent else cut
            folded.append(line[:cut])
            rest = line[cut:]
            line = Text(" " * indent).append_text(rest[len(rest.plain) - len(rest.plain.lstrip()) :])
        folded.append(line)
    return folded


_FACTS: dict[str, tuple[tuple[str, str], ...]] = {
    "virtualdisks": (
        ("size", ".status.capacity"), ("class", ".status.storageClassName"),
        ("source", ".spec.dataSource.objectRef.name"),
        ("machine", ".status.attachedToVirtualMachines[0].name"),
    ),
    "virtualimages": (
        ("format", ".status.format"), ("stored", ".status.size.stored"), ("unpacked", ".status.size.unpacked"),
        ("url", ".spec.dataSource.http.url"), ("registry", ".status.target.registryURL"),
        ("speed", ".status.downloadSpeed.avg"),
    ),
    "nodes": (
        ("cpu", ".status.capacity.cpu"), ("memory", ".status.capacity.memory"),
        ("allocatable", ".status.allocatable.memory"),
        ("kernel", ".status.nodeInfo.kernelVersion"), ("system", ".status.nodeInfo.osImage"),
    ),
    "virtualmachineoperations": (
        ("type", ".spec.type"), ("machine", ".spec.virtualMachineName"), ("force", ".spec.force"),
    ),
    "events": (
        ("reason", ".reason"), ("message", ".message"), ("about", ".involvedObject.name"), ("count", ".count"),
        ("source", ".source.component"),
    ),
}  # fmt: skip
_FACTS["clustervirtualimages"] = _FACTS["virtualimages"]


def _machine(obj: Object, relatives: dict[str, Object]) -> list[Text]:
    cores = value_at(obj, ".status.resources.cpu.cores") or value_at(obj, ".spec.cpu.cores")
    share = value_at(obj, ".status.resources.cpu.coreFraction") or value_at(obj, ".spec.cpu.coreFraction")
    memory = value_at(obj, ".status.resources.memory.size") or value_at(obj, ".spec.memory.size")
    lines = [
        _pair("cpu", Text(sanitize.line(f"{cores} × {share or '100%'}"))),
        _pair("memory", Text(sanitize.line(str(memory or "")))),
    ]
    lines += _pairs(
        (
            ("address", ".status.ipAddress"), ("node", ".status.nodeName"),
            ("class", ".spec.virtualMachineClassName"),
            ("policy", ".spec.runPolicy"), ("guest", ".status.guestOSInfo.prettyName"),
        ),
        obj,
    )  # fmt: skip
    attached = value_at(obj, ".status.blockDeviceRefs") or value_at(obj, ".spec.blockDeviceRefs") or []
    for device in attached if isinstance(attached, list) else []:
        reference = f"{device.get('kind', '')}/{device.get('name', '')}"
        line = Text(sanitize.line(f"{device.get('target') or '–':<4} {reference}"))
        size = device.get("size")
        line.append(f"  {sanitize.line(str(size))}" if size else "")
        if reference in relatives:
            line.append("  ").append_text(_state(health(relatives[reference])))
        lines.append(_pair("disk", line))
    for change in value_at(obj, ".status.restartAwaitingChanges") or []:
        before, after = (_short(change.get(side)) for side in ("currentValue", "desiredValue"))
        text = f"{change.get('path')}: {before} → {after}"
        lines.append(_pair("restart", Text(f"needed for {sanitize.line(text)}", style="yellow")))
    return lines


def _short(value: Any) -> str:
    """A value of the spec in a line: a reference as ``Kind/name``, nothing as a dash."""
    if value is None:
        return "–"
    if not isinstance(value, dict):
        return str(value)
    if set(value) == {"kind", "name"}:
        return f"{value['kind']}/{value['name']}"
    return str(value.get("type") or value.get("name") or ", ".join(map(str, value.values())))


def yaml(obj: Object) -> list[Text]:
    """The object as coloured YAML, without what only machines read."""
    metadata = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    annotations = {k: v for k, v in (metadata.pop("annotations", None) or {}).items() if k != _LAST_APPLIED}
    if annotations:
        metadata["annotations"] = annotations
    head = {"apiVersion": obj.get("apiVersion"), "kind": obj.get("kind"), "metadata": metadata}
    rest = {key: value for key, value in obj.items() if key not in head}
    return [_yaml_line(line) for line in dump({**head, **rest}).splitlines()]


def _yaml_line(line: str) -> Text:
    match = _YAML_LINE.match(line)
    if match is None:
        return Text(line)
    text = Text(match["indent"])
    text.append(match["key"], style="cyan").append(":", style="dim")
    value = match["rest"]
    style = "yellow" if _NUMBER_OR_WORD.match(value.strip()) else "green"
    return text.append(value, style=style)


def events(found: Iterable[Object], width: int) -> list[Text]:
    """Events, newest first, in ``width`` cells."""
    lines = []
    ordered = sorted(found, key=lambda event: event_time(event) or 0.0, reverse=True)
    for event in ordered:
        when = event_time(event)
        age = ages.span(time.time() - when) if when is not None else ""
        warning = event.get("type") == "Warning"
        line = Text(f"{age:>6}  ")
        line.append(f"{'▲' if warning else '·'} ", style="yellow" if warning else "dim")
        line.append(f"{sanitize.line(str(event.get('reason') or '')):<24}  ", style="yellow" if warning else "")
        line.append(sanitize.line(str(event.get("message") or "")))
        count = event.get("count") or 1
        if isinstance(count, int) and count > 1:
            line.append(f"  ×{count}", style="dim")
        lines.append(line)
    lines = fold(lines, width, indent=_EVENT_INDENT)
    return lines or [Text("Nothing has happened to it that is still remembered.", style="dim")]


def event_time(event: Object) -> float | None:
    """When it happened last, in epoch seconds."""
    metadata = event.get("metadata") or {}
    stamp = event.get("lastTimestamp") or event.get("eventTime") or metadata.get("creationTimestamp")
    return ages.parse(str(stamp)) if stamp else None


def _conditions(obj: Object) -> list[Text]:
    entries = list(conditions(obj))
    if not entries:
        return []
    lines = [Text("")]
    for entry in entries:
        fine = entry.get("status") == "True" and entry.get("type") not in ALARMS
        line = Text("  ").append("✓ " if fine else "! ", style="green" if fine else "yellow")
        line.append(f"{sanitize.line(str(entry.get('type'))):<38} ")
        line.append(sanitize.line(str(entry.get("reason") or "")), style="dim")
        if message := entry.get("message"):
            line.append(f"  {sanitize.line(str(message))}")
        lines.append(line)
    return lines


def completed(obj: Object) -> str:
    """Why an operation ended, in its own words."""
    entry: dict[str, Any] = condition(obj, "Completed") or {}
    return sanitize.line(str(entry.get("message") or entry.get("reason") or "no reason was given"))


def _pairs(facts: Sequence[tuple[str, str]], obj: Object) -> list[Text]:
    found = ((label, value_at(obj, path)) for label, path in facts)
    return [_pair(label, Text(sanitize.line(str(value)))) for label, value in found if value not in (None, "")]


def _pair(label: str, value: Text) -> Text:
    return Text("  ").append(f"{label:<{_LABEL_WIDTH}}", style="dim").append_text(value)


def _state(state: Health) -> Text:
    return Text(f"{state.glyph} {sanitize.line(state.word)}", style=COLOURS[state.level])
