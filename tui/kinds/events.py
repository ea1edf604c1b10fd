"""Events: what happened, newest first."""

from __future__ import annotations

from hyperd.client.health import Health, Level
from tui.kind import OVERVIEW, YAML, Field, Kind, at, moment
from tui.shelf import Object
from tui.widgets.rows import Column


def _about(obj: Object) -> str:
    involved = obj.get("involvedObject") or {}
    return f"{involved.get('kind', '')}/{involved.get('name', '')}"


def _health(obj: Object) -> Health:
    level = Level.WAITING if obj.get("type") == "Warning" else Level.OFF
    return Health(level, str(obj.get("reason") or ""))


KIND = Kind(
    "events",
    "events",
    ("event", "events", "ev"),
    (
        Field(Column("ABOUT", 24, grow=1), _about),
        Field(Column("NAMESPACE", 10, rank=4), at(".metadata.namespace")),
        Field(Column("REASON", 20, state=True), at(".reason")),
        Field(Column("MESSAGE", 24, grow=4, rank=1), at(".message")),
        Field(Column("COUNT", 5, right=True, rank=3), at(".count")),
        Field(
            Column("AGE", 5, right=True, rank=2, age=True),
            moment(".lastTimestamp", ".eventTime", ".metadata.creationTimestamp"),
        ),
    ),
    digit="7",
    sort="AGE",
    reverse=True,
    empty=("Nothing has happened yet.",),
    facts=(
        ("reason", ".reason"),
        ("message", ".message"),
        ("about", ".involvedObject.name"),
        ("count", ".count"),
        ("source", ".source.component"),
    ),
    tabs=(OVERVIEW, YAML),
    health=_health,
    called=_about,
    noted=False,
    deletable=False,
    editable=False,
)
