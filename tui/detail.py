"""One object as lines: an overview of what matters, highlighted YAML, its events. Text only, no widgets."""

from __future__ import annotations

import time
from collections.abc import Iterable

from rich.cells import set_cell_size
from rich.text import Text

from hyperd.client import ages, sanitize
from hyperd.client.health import Level, condition, condition_level, conditions, health
from hyperd.client.yamltext import dump
from hyperd.resources.values.jsonpath import value_at
from tui.kind import Kind, Relatives
from tui.lines import COLOURS, LABEL_WIDTH, pair, pairs, state_of
from tui.shelf import Object

_CONDITION_INDENT = 6
_EVENT_INDENT = 10
_REASON_WIDTH = 24
"""Of an event's reason, where there is room for what it says beside it."""
_ROOMY = 84
_CONDITION_WIDTH, _NARROW_CONDITION_WIDTH = 38, 22
"""Of a condition's name, where there is room for more beside it and where there is not."""
_MARKS = {
    Level.GOOD: ("✓", "green"),
    Level.OFF: ("·", "dim"),
    Level.WAITING: ("!", "yellow"),
    Level.BAD: ("✖", "red"),
}
"""Of conditions."""
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def overview(kind: Kind, obj: Object, relatives: Relatives, width: int, live: Iterable[Text] = ()) -> list[Text]:
    """What a person asks first, in ``width`` cells; ``live`` is what it uses now."""
    state = kind.health(obj)
    lines = [pair("state", state_of(state))] if state.word else []
    if state.progress:
        lines.append(pair("progress", Text(sanitize.line(state.progress))))
    if state.reason:
        colour = "yellow" if state.level is Level.GOOD else COLOURS[state.level]
        lines.append(pair("why", Text(sanitize.line(state.reason), style=colour)))
    lines += live
    lines += kind.overview(obj, relatives) if kind.overview is not None else pairs(kind.facts, obj)
    lines.append(pair("age", Text(ages.age(str(value_at(obj, ".metadata.creationTimestamp") or "")))))
    folded = fold(lines, width, indent=LABEL_WIDTH + 2)
    return folded + fold(_conditions(obj, width), width, indent=_CONDITION_INDENT)


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


def yaml(obj: Object) -> list[str]:
    """The lines of the object as YAML, without what only machines read."""
    metadata = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    annotations = metadata.pop("annotations", None)
    if isinstance(annotations, dict):
        annotations = {key: value for key, value in annotations.items() if key != _LAST_APPLIED}
    if annotations:
        metadata["annotations"] = annotations
    head = {"apiVersion": obj.get("apiVersion"), "kind": obj.get("kind"), "metadata": metadata}
    rest = {key: value for key, value in obj.items() if key not in head}
    return dump({**head, **rest}).splitlines()


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
        reason = sanitize.line(str(event.get("reason") or ""))
        line.append(f"{reason:<{_REASON_WIDTH if width >= _ROOMY else 0}}  ", style="yellow" if warning else "")
        line.append(sanitize.line(str(event.get("message") or "")))
        count = event.get("count") or 1
        if isinstance(count, int) and count > 1:
            line.append(f"  ×{count}", style="dim")
        lines.append(line)
    lines = lines or [Text("Nothing has happened to it that is still remembered.", style="dim")]
    return fold(lines, width, indent=_EVENT_INDENT)


def event_time(event: Object) -> float | None:
    """When it happened last, in epoch seconds."""
    metadata = event.get("metadata") or {}
    stamp = event.get("lastTimestamp") or event.get("eventTime") or metadata.get("creationTimestamp")
    return ages.parse(str(stamp)) if stamp else None


def _conditions(obj: Object, width: int) -> list[Text]:
    name_width = _CONDITION_WIDTH if width >= _ROOMY else _NARROW_CONDITION_WIDTH
    entries = list(conditions(obj))
    if not entries:
        return []
    lines = [Text("")]
    for entry in entries:
        mark, style = _MARKS[condition_level(entry, health(obj).level)]
        line = Text("  ").append(f"{mark} ", style=style)
        kind, reason = str(entry.get("type")), str(entry.get("reason") or "")
        line.append(f"{sanitize.line(kind):<{name_width}} ")
        said = [Text(sanitize.line(reason), style="dim")] if reason not in ("", kind) else []
        if message := entry.get("message"):
            said.append(Text(sanitize.line(str(message))))
        line.append_text(Text("  ").join(said))
        lines.append(line)
    return lines


def completed(obj: Object) -> str:
    """Why an operation ended, in its own words."""
    entry: Object = condition(obj, "Completed") or {}
    return sanitize.line(str(entry.get("message") or entry.get("reason") or "no reason was given"))
