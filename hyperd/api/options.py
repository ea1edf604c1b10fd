"""Query parameters and DeleteOptions, read strictly: what is not understood is refused, never ignored."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from hyperd.api import selectors
from hyperd.errors import BadRequest, Cause, Invalid
from hyperd.resources.kind import Kind
from hyperd.store.interface import FieldValidation, Preconditions, Propagation, Selector

_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True", ""})
_FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})
_MAX_PARAMETERS = 64


class Query:
    """The parameters of one request; the first of a repeated one counts, except for ``dryRun``."""

    __slots__ = ("_pairs", "_values")

    def __init__(self, text: str) -> None:
        try:
            self._pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=_MAX_PARAMETERS)
        except ValueError:
            raise BadRequest(f"the query has more than {_MAX_PARAMETERS} parameters") from None
        self._values: dict[str, str] = {}
        for key, value in self._pairs:
            self._values.setdefault(key, value)

    def get(self, name: str) -> str:
        return self._values.get(name, "")

    def all(self, name: str) -> list[str]:
        return [value for key, value in self._pairs if key == name]

    def flag(self, name: str) -> bool:
        """A boolean as Go's ParseBool reads it (Python clients send ``True``); ``?watch`` alone is true."""
        return self.optional_flag(name) or False

    def optional_flag(self, name: str) -> bool | None:
        value = self._values.get(name)
        if value is None:
            return None
        if value in _TRUE:
            return True
        if value in _FALSE:
            return False
        raise BadRequest(f'{name}: "{value}" is not a boolean (true or false)')

    def number(self, name: str) -> int | None:
        """A whole number of at least 0."""
        value = self.get(name)
        if not value:
            return None
        if not re.fullmatch(r"[0-9]{1,18}", value):
            raise BadRequest(f'{name}: "{value}" is not a whole number of at least 0')
        return int(value)


EMPTY = Query("")


def dry_run(values: list[str]) -> bool:
    """``dryRun``: only All. Raises BadRequest, so that a rehearsal never becomes a write."""
    for value in values:
        if value != "All":
            message = f'dryRun: Unsupported value: "{value}": supported values: "All"'
            raise BadRequest(message, causes=[Cause("dryRun", message, "FieldValueNotSupported")])
    return bool(values)


def field_validation(query: Query) -> FieldValidation:
    """``fieldValidation``; Warn without one, as in Kubernetes."""
    value = query.get("fieldValidation")
    try:
        return FieldValidation(value) if value else FieldValidation.WARN
    except ValueError:
        message = f'fieldValidation: Unsupported value: "{value}": supported values: "Ignore", "Strict", "Warn"'
        raise BadRequest(message, causes=[Cause("fieldValidation", message)]) from None


@dataclass(frozen=True)
class ListOptions:
    """Parameters of list, watch and deletecollection."""

    selector: Selector
    watch: bool
    limit: int
    continue_token: str
    resource_version: str
    match: str
    bookmarks: bool
    send_initial: bool | None
    timeout: float | None


def list_options(kind: Kind, query: Query) -> ListOptions:
    """Read and check them together. Raises BadRequest, Invalid."""
    options = ListOptions(
        selector=selectors.parse(kind, query.get("labelSelector"), query.get("fieldSelector")),
        watch=query.flag("watch"),
        limit=query.number("limit") or 0,
        continue_token=query.get("continue"),
        resource_version=_resource_version(query),
        match=query.get("resourceVersionMatch"),
        bookmarks=query.flag("allowWatchBookmarks"),
        send_initial=query.optional_flag("sendInitialEvents"),
        timeout=query.number("timeoutSeconds"),
    )
    _check_match(options)
    return options


def _resource_version(query: Query) -> str:
    value = query.get("resourceVersion")
    if value and not re.fullmatch(r"[0-9]{1,19}", value):
        raise BadRequest(f'resourceVersion: Invalid value: "{value}": must be a number from an earlier answer')
    return value


def _check_match(options: ListOptions) -> None:
    def forbid(field: str, why: str) -> Invalid:
        message = f"{field}: Forbidden: {why}"
        return Invalid(message, causes=[Cause(field, message, "FieldValueForbidden")])

    match = options.match
    if options.watch:
        if options.send_initial is not None and match != "NotOlderThan":
            raise forbid(
                "resourceVersionMatch", "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
            )
        if match and options.send_initial is None:
            raise forbid("resourceVersionMatch", "resourceVersionMatch is forbidden for watch")
        return
    if options.send_initial is not None:
        raise forbid("sendInitialEvents", "sendInitialEvents is forbidden for list")
    if not match:
        return
    if match not in ("Exact", "NotOlderThan"):
        raise BadRequest(
            f'resourceVersionMatch: Unsupported value: "{match}": supported values: "Exact", "NotOlderThan"'
        )
    if options.continue_token:
        raise forbid("resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided")
    if not options.resource_version:
        raise forbid(
            "resourceVersionMatch", "resourceVersionMatch is forbidden unless resourceVersion is provided"
        )
    if match == "Exact" and options.resource_version == "0":
        raise forbid("resourceVersionMatch", 'resourceVersionMatch "Exact" is forbidden for resourceVersion "0"')


@dataclass(frozen=True)
class DeleteOptions:
    """How to delete: conditions, what becomes of dependents, and whether only to rehearse."""

    preconditions: Preconditions
    propagation: Propagation
    dry_run: bool


def delete_options(query: Query, body: Mapping[str, Any]) -> DeleteOptions:
    """From the body, which wins, or else the query. Raises BadRequest."""
    kind = body.get("kind", "DeleteOptions")
    if kind != "DeleteOptions":
        raise BadRequest(f"the body of a DELETE must be DeleteOptions, not {kind}")
    preconditions = body.get("preconditions")
    preconditions = {} if preconditions is None else preconditions
    runs = body.get("dryRun") or query.all("dryRun")
    if not isinstance(preconditions, dict) or not isinstance(runs, list):
        raise BadRequest("DeleteOptions: preconditions must be an object and dryRun a list")
    return DeleteOptions(
        preconditions=Preconditions(
            uid=str(preconditions.get("uid") or ""),
            resource_version=str(preconditions.get("resourceVersion") or ""),
        ),
        propagation=_propagation(query, body),
        dry_run=dry_run(runs),
    )


def _propagation(query: Query, body: Mapping[str, Any]) -> Propagation:
    policy = body.get("propagationPolicy") or query.get("propagationPolicy")
    orphan = body.get("orphanDependents")
    if orphan is None:
        orphan = query.optional_flag("orphanDependents")
    if orphan is not None and policy:
        raise BadRequest("propagationPolicy: orphanDependents and propagationPolicy cannot be both set")
    if orphan:
        return Propagation.ORPHAN
    try:
        return Propagation(policy) if policy else Propagation.BACKGROUND
    except ValueError:
        raise BadRequest(
            f'propagationPolicy: Unsupported value: "{policy}": supported values: '
            '"Background", "Foreground", "Orphan"'
        ) from None
