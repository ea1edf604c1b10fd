"""What each kind shows as a table: its columns, their places in the object, its order."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hyperd.client import ages, sanitize
from hyperd.client.amounts import address, quantity
from hyperd.client.health import Health, Level, health
from hyperd.resources.values.jsonpath import value_at
from tui.fleet import Key, Object
from tui.widgets.rows import Column, Row

Getter = Callable[[Object], Any]


@dataclass(frozen=True)
class View:
    """One list. ``words`` open it from the command line, ``digit`` from the keyboard."""

    plural: str
    title: str
    digit: str
    words: tuple[str, ...]
    columns: tuple[Column, ...]
    getters: tuple[Getter, ...]
    sort_column: int = 0
    reverse: bool = False
    empty: tuple[str, ...] = ()
    """What to say where there is none yet."""


def _at(path: str) -> Getter:
    return lambda obj: value_at(obj, path)


def _time(*wanted: str) -> Getter:
    def getter(obj: Object) -> float | None:
        for path in wanted:
            if stamp := value_at(obj, path):
                return ages.parse(str(stamp))
        return None

    return getter


def _first_user(obj: Object) -> str:
    users = value_at(obj, ".status.attachedToVirtualMachines") or []
    names = [str(user.get("name", "")) for user in users if isinstance(user, dict)]
    return ", ".join(names)


def _source(obj: Object) -> str:
    source = value_at(obj, ".spec.dataSource") or {}
    reference = source.get("objectRef") or {}
    if reference:
        return f"{reference.get('kind', '')}/{reference.get('name', '')}"
    http = source.get("http") or {}
    return str(http.get("url") or source.get("type") or "blank")


def _about(obj: Object) -> str:
    involved = obj.get("involvedObject") or {}
    return f"{involved.get('kind', '')}/{involved.get('name', '')}"


def _memory(obj: Object) -> Any:
    return _bytes(value_at(obj, ".status.resources.memory.size") or value_at(obj, ".spec.memory.size"))


def _size(path: str) -> Getter:
    return lambda obj: _bytes(value_at(obj, path))


def _bytes(value: Any) -> Any:
    """A quantity of bytes in the unit that people read; what is none stays as it is."""
    number = quantity(value)
    if number is None:
        return value
    for unit, size in (("Ti", 1 << 40), ("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)):
        if number >= size:
            return f"{number / size:.4g}{unit}"
    return f"{number:.0f}"


def _cores(obj: Object) -> Any:
    return value_at(obj, ".status.resources.cpu.cores") or value_at(obj, ".spec.cpu.cores")


def _view(plural: str, title: str, digit: str, words: str, *columns: tuple[Column, Getter], **kwargs: Any) -> View:
    return View(
        plural, title, digit, tuple(words.split()),
        tuple(column for column, _ in columns), tuple(getter for _, getter in columns), **kwargs,
    )  # fmt: skip


_NAME = (Column("NAME", 16, grow=3), _at(".metadata.name"))
_NAMESPACE = (Column("NAMESPACE", 12, grow=1, rank=3), _at(".metadata.namespace"))
_STATE = (Column("STATE", 14, state=True), lambda obj: health(obj).word)
_AGE = (Column("AGE", 5, right=True, rank=2, age=True), _time(".metadata.creationTimestamp"))
_IMAGE = (
    _STATE,
    (Column("FORMAT", 6, rank=2), _at(".status.format")),
    (Column("STORED", 9, right=True, rank=1, number=quantity), _size(".status.size.stored")),
    (Column("UNPACKED", 9, right=True, rank=1, number=quantity), _size(".status.size.unpacked")),
    (Column("SOURCE", 20, grow=2, rank=4), _source),
    _AGE,
)

_EVENT_TIME = _time(".lastTimestamp", ".eventTime", ".metadata.creationTimestamp")

VIEWS: tuple[View, ...] = (
    _view(
        "virtualmachines", "machines", "1", "vm vms virtualmachine virtualmachines machines",
        _NAME, _NAMESPACE, _STATE,
        (Column("CPU", 3, right=True, rank=1), _cores),
        (Column("MEMORY", 7, right=True, rank=1, number=quantity), _memory),
        (Column("ADDRESS", 15, rank=1, number=address), _at(".status.ipAddress")),
        (Column("NODE", 12, grow=1, rank=4), _at(".status.nodeName")),
        (Column("UPTIME", 6, right=True, rank=5, age=True), _time(".status.stats.lastStartTime")),
        _AGE,
        empty=(
            "There is no machine here yet.",
            "hv apply -f machine.yaml --wait   makes one from a manifest",
            "3 shows images, 2 disks, ? all the keys",
        ),
    ),
    _view(
        "virtualdisks", "disks", "2", "vd vds virtualdisk virtualdisks disks",
        _NAME, _NAMESPACE, _STATE,
        (Column("SIZE", 9, right=True, rank=1, number=quantity), _size(".status.capacity")),
        (Column("MACHINE", 16, grow=1, rank=1), _first_user),
        (Column("SOURCE", 20, grow=2, rank=4), _source),
        _AGE,
        empty=("There is no disk here yet.", "hv apply -f disk.yaml   makes one, blank or from an image"),
    ),
    _view(
        "virtualimages", "images", "3", "vi vis virtualimage virtualimages images", _NAME, _NAMESPACE, *_IMAGE,
        empty=("There is no image here yet.", "hv apply -f image.yaml --wait   imports one over HTTP"),
    ),
    _view(
        "clustervirtualimages", "cluster images", "4", "cvi cvis clustervirtualimage clustervirtualimages",
        _NAME, *_IMAGE, empty=("There is no cluster-wide image here yet.",),
    ),
    _view(
        "nodes", "nodes", "5", "node nodes no",
        _NAME, _STATE,
        (Column("CPU", 4, right=True, rank=1, number=quantity), _at(".status.capacity.cpu")),
        (Column("MEMORY", 11, right=True, rank=1, number=quantity), _size(".status.capacity.memory")),
        (Column("VERSION", 16, grow=1, rank=2), _at(".status.nodeInfo.kubeletVersion")),
        (Column("KERNEL", 20, grow=1, rank=3), _at(".status.nodeInfo.kernelVersion")),
        _AGE,
    ),
    _view(
        "virtualmachineoperations", "operations", "6", "vmop vmops op ops operations",
        _NAME, _NAMESPACE, _STATE,
        (Column("TYPE", 8, rank=1), _at(".spec.type")),
        (Column("MACHINE", 16, grow=1, rank=1), _at(".spec.virtualMachineName")),
        _AGE,
        sort_column=5, reverse=True, empty=("No operation is known.",),
    ),
    _view(
        "events", "events", "7", "event events ev",
        (Column("ABOUT", 24, grow=1), _about),
        (Column("NAMESPACE", 10, rank=4), _at(".metadata.namespace")),
        (Column("REASON", 20, state=True), _at(".reason")),
        (Column("MESSAGE", 24, grow=4, rank=1), _at(".message")),
        (Column("COUNT", 5, right=True, rank=3), _at(".count")),
        (Column("AGE", 5, right=True, rank=2, age=True), _EVENT_TIME),
        sort_column=5, reverse=True, empty=("Nothing has happened yet.",),
    ),
)  # fmt: skip

BY_WORD = {word: view for view in VIEWS for word in view.words}
HOME_COLUMN = Column("HOME", 10, rank=2)


def columns(view: View, *, several_homes: bool) -> tuple[Column, ...]:
    """The view's columns; with several homes each row says whose it is."""
    return (view.columns[0], HOME_COLUMN, *view.columns[1:]) if several_homes else view.columns


def make_row(view: View, key: Key, obj: Object, *, several_homes: bool, stale_since: float | None) -> Row:
    """The row of one object, all text safe. ``stale_since`` is wall-clock seconds when its home is not heard."""
    state = _health_of(view, obj)
    values = tuple(_safe(getter(obj)) for getter in view.getters)
    if several_homes:
        values = (values[0], sanitize.line(key.home), *values[1:])
    note = ""
    if stale_since is not None:
        note = f"last seen {ages.span(time.time() - stale_since)} ago"
    elif state.level in (Level.BUSY, Level.WAITING, Level.BAD) and view.plural != "events":
        note = sanitize.line(" · ".join(part for part in (state.progress, state.reason) if part))
    version = (value_at(obj, ".metadata.resourceVersion"), note)
    return Row(key, version, values, state.level, note, stale_since is not None)


def _health_of(view: View, obj: Object) -> Health:
    if view.plural != "events":
        return health(obj)
    level = Level.WAITING if obj.get("type") == "Warning" else Level.OFF
    return Health(level, str(obj.get("reason") or ""))


def _safe(value: Any) -> Any:
    if value is None or isinstance(value, int | float):
        return value
    return sanitize.line(str(value))
