"""What the store works out of large objects, in the form in which another process does it (``hyperd.offload``)."""

from __future__ import annotations

import orjson

from hyperd.offload import Answer, Options
from hyperd.resources.all import KINDS
from hyperd.resources.schema.kind import Kind, Object
from hyperd.resources.values.limits import check_values
from hyperd.resources.values.meta import now_rfc3339, parse_time
from hyperd.store.grammar import preparing
from hyperd.store.grammar.fields import apply as applying
from hyperd.store.grammar.fields.types import type_of
from hyperd.store.grammar.patching import apply_patch, copies
from hyperd.store.interface import FieldValidation, PatchType, Write


def known(kind: Kind) -> bool:
    """Whether another process finds ``kind`` too."""
    return KINDS.in_version(kind.group, kind.plural, kind.version) is kind


def _kind(options: Options) -> Kind:
    named = options["kind"]
    if isinstance(named, Kind):
        return named
    found = KINDS.in_version(*named)
    assert found is not None  # noqa: S101  who asks has looked
    return found


def _maybe(content: bytes) -> Object | None:
    """An object, or None for none."""
    found: Object | None = orjson.loads(content) if content else None
    return found


def _write(options: Options) -> Write:
    return Write(field_manager=options["manager"])


def _warned(options: Options) -> tuple[Write, list[str]]:
    warnings: list[str] = []
    return Write(field_validation=FieldValidation(options["validation"]), warn=warnings.append), warnings


def decode(options: Options, content: bytes) -> Answer:
    """The object pruned and defaulted, and what to warn of."""
    obj = orjson.loads(content)
    check_values(obj, "the object")
    write, warnings = _warned(options)
    new = preparing.decoded(_kind(options), options["namespace"], obj, write, applied=options["applied"])
    return {"warnings": warnings}, (orjson.dumps(new),)


def in_version(options: Options, content: bytes) -> Answer:
    """The object judged by a version that it is not stored in, and what to warn of."""
    obj = orjson.loads(content)
    check_values(obj, "the object")
    write, warnings = _warned(options)
    new = preparing.in_version(_kind(options), obj, write, whole=options["whole"])
    return {"warnings": warnings}, (orjson.dumps(new),)


def created(options: Options, content: bytes) -> Answer:
    """The decoded object as it may be stored for the first time."""
    new = preparing.created(_kind(options), orjson.loads(content), _write(options), applied=options["applied"])
    return {}, (orjson.dumps(new),)


def updated(options: Options, content: bytes, live: bytes) -> Answer:
    """The decoded object as it may replace ``live``."""
    new, differs = preparing.updated(
        _kind(options), orjson.loads(content), orjson.loads(live), _write(options), applied=options["applied"]
    )
    return {"differs": differs}, (orjson.dumps(new),)


def status_updated(options: Options, content: bytes, live: bytes) -> Answer:
    """``live`` with the status of the decoded object."""
    new = preparing.status_updated(
        _kind(options), orjson.loads(content), orjson.loads(live), _write(options), applied=options["applied"]
    )
    return {}, (orjson.dumps(new),)


def patch(options: Options, live: bytes, content: bytes) -> Answer:
    """The object after a patch."""
    kind, type_ = _kind(options), PatchType(options["type"])
    wanted = orjson.loads(content)
    made = apply_patch(kind, orjson.loads(live), type_, wanted)
    if type_ is PatchType.JSON and copies(wanted):
        check_values(made, "the object")
    return {}, (orjson.dumps(made),)


def apply(options: Options, live: bytes, config: bytes) -> Answer:
    """The object after an apply."""
    made = applying.apply(
        _kind(options),
        _maybe(live),
        orjson.loads(config),
        manager=options["manager"],
        subresource=options["subresource"],
        force=options["force"],
    )
    return {}, (orjson.dumps(made),)


def warm() -> None:
    """Load what the functions load when they first run: later the process cannot read files."""
    one = next(kind for kind in KINDS if not kind.core)
    type_of(one)
    parse_time(now_rfc3339())


OFFLOADED = (decode, in_version, created, updated, status_updated, patch, apply)
