"""What disks and images are made of, and the columns that images of both scopes share."""

from __future__ import annotations

from hyperd.client.amounts import quantity
from hyperd.client.shapes import mapping
from hyperd.resources.values.jsonpath import value_at
from tui.kind import AGE, STATE, Field, at, size
from tui.shelf import Object
from tui.widgets.rows import Column


def _source(obj: Object) -> str:
    source = mapping(value_at(obj, ".spec.dataSource"))
    reference = mapping(source.get("objectRef"))
    if reference:
        return f"{reference.get('kind', '')}/{reference.get('name', '')}"
    http = mapping(source.get("http"))
    return str(http.get("url") or source.get("type") or "blank")


SOURCE = Field(Column("SOURCE", 20, grow=2, rank=4), _source)

IMAGE_FIELDS = (
    STATE,
    Field(Column("FORMAT", 6, rank=2), at(".status.format")),
    Field(Column("STORED", 9, right=True, rank=1, number=quantity), size(".status.size.stored")),
    Field(Column("UNPACKED", 9, right=True, rank=1, number=quantity), size(".status.size.unpacked")),
    SOURCE,
    AGE,
)
IMAGE_FACTS = (
    ("format", ".status.format"), ("stored", ".status.size.stored"), ("unpacked", ".status.size.unpacked"),
    ("url", ".spec.dataSource.http.url"), ("registry", ".status.target.registryURL"),
    ("speed", ".status.downloadSpeed.avg"),
)  # fmt: skip
