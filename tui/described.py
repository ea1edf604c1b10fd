"""What a home's OpenAPI says of a kind's fields: enough to ask for each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hyperd.client.openapi import resolved
from tui.draft import Field, Path, dotted, plain
from tui.shelf import Object

_DEEPEST = 4
_MOST = 60
_SCALARS = ("string", "integer", "number", "boolean")


@dataclass(frozen=True)
class Described:
    """One field. ``needed`` where it must be there as soon as what it is in is there."""

    path: Path
    type: str
    help: str
    words: tuple[str, ...]
    default: str
    needed: bool


def describe(schema: Object, schemas: Object, path: Path = (), *, needed: bool = True) -> Iterator[Described]:
    """Every single value below ``schema`` that is in no list, the ones that must be there first."""
    properties = schema.get("properties")
    required = schema.get("required")
    required = required if isinstance(required, list) else []
    if not isinstance(properties, dict) or len(path) > _DEEPEST:
        return
    names = sorted(properties, key=lambda name: name not in required)
    for name in names:
        found = properties[name]
        if not isinstance(found, dict) or (not path and name not in ("spec", "data", "stringData", "type")):
            continue
        inner = resolved(found, schemas)
        here = (*path, str(name))
        must = needed and name in required
        kind = "string" if inner.get("x-kubernetes-int-or-string") else str(inner.get("type") or "")
        if kind in _SCALARS:
            values = inner.get("enum")
            words = tuple(map(str, values)) if isinstance(values, list) else ()
            words = words or (("true", "false") if kind == "boolean" else ())
            text = str(found.get("description") or inner.get("description") or "")
            default = inner.get("default")
            shown = (
                str(default).lower() if isinstance(default, bool) else str(default) if default is not None else ""
            )
            yield Described(here, kind, text, words, shown, must)
        else:
            yield from describe(inner, schemas, here, needed=must)


def by_path(schema: Object, schemas: Object) -> dict[str, Described]:
    """All of them, by ``spec.cpu.cores``."""
    return {dotted(each.path): each for each in describe(schema, schemas)}


def fields(found: dict[str, Described]) -> list[Field]:
    """A box for each, for a kind that nobody wrote a recipe for."""
    ordered = sorted(found.values(), key=lambda each: not each.needed)
    return [plain(_label(each.path), dotted(each.path), type_=each.type) for each in ordered[:_MOST]]


def _label(path: Path) -> str:
    return ".".join(str(step) for step in path[-2:] if step != "spec")
