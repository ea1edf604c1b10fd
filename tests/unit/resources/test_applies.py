"""Every field of every spec says what a change of it does, and what follows from that does follow."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import pytest

from hyperd.resources.all import KINDS
from hyperd.resources.kinds.base import Resource, Section
from hyperd.resources.schema.applies import LIVE, RESTART, NeverAfter, fields
from hyperd.resources.schema.kind import Kind
from hyperd.resources.schema.structural import subschema

GOLDEN = Path(__file__).parents[2] / "golden" / "applies.txt"
OURS = sorted(
    (kind for kind in KINDS.served() if kind.model is not None), key=lambda kind: (kind.kind, kind.version)
)
"""In no order that follows from who imported what first."""
by_kind = pytest.mark.parametrize("kind", OURS, ids=lambda kind: f"{kind.kind}-{kind.version}")


def table() -> str:
    lines = []
    for kind in OURS:
        lines.append(f"{kind.kind} {kind.version}")
        lines += (f"  {path:<80} {applies}{'' if own else ' *'}" for path, applies, own in kind.fields)
    return "\n".join(lines) + "\n"


def test_what_a_change_does_is_as_it_was() -> None:
    """The whole table; * is what a field has from the one around it. ``UPDATE_GOLDEN=1`` writes it."""
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(table())
    assert table() == GOLDEN.read_text()


@by_kind
def test_every_field_of_the_spec_is_in_one_class(kind: Kind) -> None:
    def below(schema: object, path: str) -> set[str]:
        if not isinstance(schema, dict):
            return set()
        found = {path}
        for name, child in schema.get("properties", {}).items():
            found |= below(child, f"{path}.{name}")
        if "items" in schema:
            found |= below(schema["items"], f"{path}[]") - {f"{path}[]"}
        return found

    known = [path for path, _, _ in kind.fields]
    assert len(known) == len(set(known))
    wanted = below(kind.schema["properties"].get("spec"), "spec") - {"spec"}
    templates = [path for path, applies, _ in kind.fields if getattr(applies, "template", False)]
    elsewhere = {path for path in wanted if any(path.startswith((f"{one}.", f"{one}[")) for one in templates)}
    assert set(known) - {"spec"} == wanted - elsewhere


@by_kind
def test_the_description_says_it_and_cel_refuses_it(kind: Kind) -> None:
    for path, applies, own in kind.fields:
        node = subschema(kind.schema, path)
        assert node is not None
        fixed = isinstance(applies, NeverAfter) and applies.from_creation
        rules = [rule["rule"] for rule in node.get("x-kubernetes-validations", ())]
        assert ("self == oldSelf" in rules) == (own and fixed)
        if own:
            assert node["description"].endswith(applies.sentence)


@by_kind
def test_phases_and_fields_of_the_status_that_are_named_exist(kind: Kind) -> None:
    status = kind.schema["properties"].get("status", {}).get("properties", {})
    for _, applies, _ in kind.fields:
        if isinstance(applies, NeverAfter):
            assert {*applies.phases} <= {*status["phase"].get("enum", applies.phases)}
            assert {name for name in (applies.once, applies.unset) if name} <= status.keys()


class Inner(Section):
    plain: str = ""
    live: Annotated[str, LIVE] | None = None


class Spec(Section):
    of_a_kind: Annotated[list[Inner], RESTART] | None = None


class Silent(Section):
    unsaid: str = ""


class Torn(Section):
    twice: Annotated[Annotated[str, RESTART] | None, LIVE] = None


def test_a_field_inherits_unless_it_says_otherwise() -> None:
    class Example(Resource):
        spec: Spec

    assert [(path, str(applies), own) for path, applies, own in fields(Example)] == [
        ("spec.ofAKind", "restart", True),
        ("spec.ofAKind[].plain", "restart", False),
        ("spec.ofAKind[].live", "live", True),
    ]


@pytest.mark.parametrize(("spec", "complaint"), [(Silent, "does not say"), (Torn, "more than once")])
def test_a_field_that_says_nothing_or_two_things_is_a_defect(spec: type[Section], complaint: str) -> None:
    example = type("Example", (Resource,), {"__annotations__": {"spec": spec}})
    with pytest.raises(TypeError, match=complaint):
        list(fields(example))
