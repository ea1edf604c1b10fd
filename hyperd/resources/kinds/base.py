"""The ground every model of a kind stands on: naming, documentation, and the field types of Kubernetes.

A model is written in Python's names with the wire's as aliases (``staticIP`` where camel case would not find it).
A docstring under a field is its documentation everywhere. The views are frozen and lenient: controllers read with
them and write JSON; what may be stored is decided by the schema derived from them, never by pydantic.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel

from hyperd.resources.values import quantity


class Section(BaseModel):
    """A block of an object: spec, status, or a part of them."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="ignore",
        frozen=True,
        use_attribute_docstrings=True,
    )


Quantity = Annotated[
    str | int,
    WithJsonSchema({
        "anyOf": [{"type": "integer"}, {"type": "string"}],
        "pattern": quantity.PATTERN,
        "x-kubernetes-int-or-string": True,
    }),
]  # fmt: skip
"""A Kubernetes quantity, such as ``10Gi`` or ``1073741824``."""
QuantityText = Annotated[str | int, WithJsonSchema({"type": "string", "pattern": quantity.PATTERN})]
"""A quantity where the reference takes no bare number. The view still reads one, which an older version kept."""

Int32 = Annotated[int, Field(json_schema_extra={"format": "int32"})]
Int64 = Annotated[int, Field(json_schema_extra={"format": "int64"})]
Timestamp = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
"""RFC 3339 in UTC."""
Base64 = Annotated[str, Field(json_schema_extra={"format": "byte"})]
FreeForm = Annotated[Any, Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})]
"""Any JSON at all."""
NonEmpty = Annotated[str, Field(min_length=1)]


def one_of(*values: str) -> Any:
    """A field with these values. The view stays lenient: an object of a newer version must still be read."""
    return Field(json_schema_extra={"enum": list(values)})


def list_map(*keys: str) -> dict[str, Any]:
    """Marks a list as a map by ``keys``: unique, and merged item by item on server-side apply."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


LIST_SET: dict[str, Any] = {"x-kubernetes-list-type": "set"}
LIST_ATOMIC: dict[str, Any] = {"x-kubernetes-list-type": "atomic"}


class OwnerReference(Section):
    """Who owns an object and takes it along when deleted."""

    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class Metadata(Section):
    """What controllers read of an object's metadata."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    finalizers: list[str] = []
    owner_references: list[OwnerReference] = []


class Resource(Section):
    """An object: a kind adds its ``spec`` and ``status``."""

    api_version: str = ""
    kind: str = ""
    metadata: Metadata = Metadata()


class Condition(Section):
    """One aspect of the object's state, as metav1.Condition."""

    type: NonEmpty
    """What the condition is about, in CamelCase."""
    status: Annotated[str, one_of("True", "False", "Unknown")]
    """True, False or Unknown."""
    reason: NonEmpty
    """Why it is so: one word for programs, in CamelCase."""
    message: str = ""
    """Why it is so, in a sentence for people."""
    last_transition_time: Timestamp
    """When the status last changed."""
    observed_generation: Annotated[Int64 | None, Field(ge=0)] = None
    """Generation of the object that was looked at."""


class Timer(Section):
    """How much of a duration has passed, by a clock that nobody can set."""

    boot: NonEmpty
    """Which boot of which node the clock counts from."""
    at: Int64
    """When this was noted: milliseconds since that boot."""
    passed: Annotated[Int64, Field(ge=0)]
    """Milliseconds that had passed by then."""


class OperationRecord(Section):
    """Work under way that goes on after a restart. For hyperd alone: progress and conditions tell people of it."""

    op_uid: NonEmpty
    """What its effects are marked with."""
    kind: NonEmpty
    """What is done."""
    step: str = ""
    """How far it is: what follows has not begun."""
    epoch: Int64 = 0
    """How often it was taken up: anew after a failure, a restart, by another daemon."""
    digest: str = ""
    """Of what in the spec decides what becomes of it."""
    remaining: Int64 | None = None
    """Seconds that were left until its deadline when its timer began."""
    timer: Timer | None = None
    """How much of them has passed."""


Conditions = Annotated[list[Condition], Field(json_schema_extra=list_map("type"))]


class LabelSelectorRequirement(Section):
    """One expression over labels; all of a selector must hold."""

    key: str
    """Key of the label."""
    operator: Annotated[str, one_of("In", "NotIn", "Exists", "DoesNotExist")]
    """How the label relates to the values: In, NotIn, Exists or DoesNotExist."""
    values: Annotated[list[str] | None, Field(json_schema_extra=LIST_ATOMIC)] = None
    """The values; empty for Exists and DoesNotExist."""


class LabelSelector(Section):
    """Selects by labels; an empty selector matches everything."""

    match_labels: dict[str, str] | None = None
    """Labels with exactly these values."""
    match_expressions: Annotated[list[LabelSelectorRequirement] | None, Field(json_schema_extra=LIST_ATOMIC)] = (
        None
    )
    """Further requirements, all of which must hold."""
