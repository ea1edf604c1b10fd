"""Kinds that exist for these tests only: one of ours in a namespace, one of ours without, and core ones."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from hyperd.resources.core import schemas as core_schemas
from hyperd.resources.kinds.base import LIST_SET, Conditions, FreeForm, Int32, Resource, Section, list_map
from hyperd.resources.schema.applies import LIVE
from hyperd.resources.schema.kind import Kind, Object, Registry
from hyperd.resources.schema.rule import Rule

GROUP = "test.deckhouse.io"


class WidgetPart(Section):
    name: str
    weight: int = 1


class WidgetPort(Section):
    port: int
    protocol: str = "TCP"
    label: str | None = None


class WidgetSpec(Section):
    """What a widget should be."""

    size: Annotated[int, Field(ge=0, le=100)]
    color: str = "grey"
    parts: list[WidgetPart] | None = None
    shape: str | None = None
    tags: Annotated[list[str] | None, Field(json_schema_extra=LIST_SET)] = None
    ports: Annotated[list[WidgetPort] | None, Field(json_schema_extra=list_map("port", "protocol"))] = None
    options: dict[str, str] | None = None
    extra: FreeForm = None


class WidgetStatus(Section):
    """What a widget is."""

    phase: str = ""
    conditions: Conditions | None = None


class Widget(Resource):
    """A thing to test with."""

    spec: Annotated[WidgetSpec, LIVE]
    status: WidgetStatus | None = None


class GadgetSpec(Section):
    """What a gadget should be."""

    mode: str = "plain"


class Gadget(Resource):
    """A thing without a namespace."""

    spec: Annotated[GadgetSpec | None, LIVE] = None


class CrowdSpec(Section):
    """How many there should be."""

    replicas: Annotated[Int32 | None, Field(ge=0)] = None
    color: str = "grey"


class CrowdStatus(Section):
    """How many there are."""

    replicas: Int32 | None = None
    selector: str | None = None


class Crowd(Resource):
    """A thing that counts."""

    spec: Annotated[CrowdSpec, LIVE]
    status: CrowdStatus | None = None


KINDS = Registry()
NAMESPACES = KINDS.add(
    Kind(
        "", "v1", "Namespace", "namespaces", "namespace", False,
        subresources=frozenset(("status",)), openapi=core_schemas.NAMESPACE,
    )
)  # fmt: skip
CONFIG_MAPS = KINDS.add(
    Kind("", "v1", "ConfigMap", "configmaps", "configmap", True, openapi=core_schemas.CONFIG_MAP)
)
SECRETS = KINDS.add(
    Kind(
        "", "v1", "Secret", "secrets", "secret", True, selectable_fields=("type",), openapi=core_schemas.SECRET
    )
)  # fmt: skip
EVENTS = KINDS.add(
    Kind("", "v1", "Event", "events", "event", True, selectable_fields=("involvedObject.name", "reason"))
)
WIDGETS = KINDS.add(
    Kind(
        GROUP,
        "v1",
        "Widget",
        "widgets",
        "widget",
        True,
        model=Widget,
        finalizer="test.deckhouse.io/hold",
        subresources=frozenset(("status",)),
        selectable_fields=("spec.color",),
        rules=(
            Rule(
                "spec.shape",
                "shape is immutable",
                "self == oldSelf",
                lambda value, old: value == old,
                transition=True,
            ),
        ),
    )
)
GADGETS = KINDS.add(Kind(GROUP, "v1", "Gadget", "gadgets", "gadget", False, model=Gadget))

CROWDS = KINDS.add(
    Kind(GROUP, "v1", "Crowd", "crowds", "crowd", True, model=Crowd, subresources=frozenset(("status", "scale")))
)


def widget(name: str = "w", **spec: Any) -> Object:
    """A manifest as a user writes it."""
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": "Widget",
        "metadata": {"name": name},
        "spec": {"size": 1, **spec},
    }


def config_map(name: str = "c", **data: str) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def owned_by(obj: Object, *owners: Object, block: bool = True) -> Object:
    """``obj`` with references to ``owners``."""
    obj["metadata"]["ownerReferences"] = [
        {
            "apiVersion": owner["apiVersion"],
            "kind": owner["kind"],
            "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"],
            "blockOwnerDeletion": block,
        }
        for owner in owners
    ]
    return obj
