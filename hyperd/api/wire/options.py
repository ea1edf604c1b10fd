"""What the parameters and DeleteOptions of a request mean, in kube-apiserver's rules and words.

They are read strictly where Kubernetes is strict: a dry run or a selector that is not understood is refused, never
ignored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from hyperd.api.wire import selectors
from hyperd.api.wire.query import Query
from hyperd.errors import BadRequest, Cause, Invalid
from hyperd.resources.schema.kind import Kind
from hyperd.resources.schema.metadata import quoted
from hyperd.store.interface import FieldValidation, Preconditions, Propagation, Selector
from hyperd.store.paging import parse_version

_MATCHES = ("Exact", "NotOlderThan")
_MAX_MANAGER = 128


def invalid_options(kind: str, causes: Sequence[Cause]) -> Invalid:
    """The 422 for options of ``kind`` (``ListOptions``, ``DeleteOptions``)."""
    listed = [f"{cause.field}: {cause.message}" for cause in causes]
    text = listed[0] if len(listed) == 1 else f"[{', '.join(listed)}]"
    return Invalid(f'{kind}.meta.k8s.io "" is invalid: {text}', causes=causes, kind=kind, group="meta.k8s.io")


def _forbidden(field: str, why: str) -> Cause:
    return Cause(field, f"Forbidden: {why}", "FieldValueForbidden")


def _unsupported(field: str, shown: str, supported: Sequence[str]) -> Cause:
    listed = ", ".join(f'"{value}"' for value in supported)
    return Cause(field, f"Unsupported value: {shown}: supported values: {listed}", "FieldValueNotSupported")


def _dry_run_cause(values: Sequence[Any]) -> Iterator[Cause]:
    if any(value != "All" for value in values):
        yield _unsupported("dryRun", orjson.dumps(values).decode()[:256], ("All",))


@dataclass(frozen=True)
class WriteOptions:
    """Parameters of create, update and patch; no manager means: by the client's name."""

    dry_run: bool
    field_validation: FieldValidation
    field_manager: str


def write_options(kind: str, query: Query) -> WriteOptions:
    """``kind`` is CreateOptions, UpdateOptions or PatchOptions. Raises Invalid."""
    runs = query.all("dryRun")
    validation = query.get("fieldValidation")
    manager = query.get("fieldManager")
    if runs or validation or manager:
        causes = list(_dry_run_cause(runs))
        if validation not in ("", *FieldValidation):
            shown = quoted(validation[:64])
            causes.append(_unsupported("fieldValidation", shown, ("", *sorted(FieldValidation))))
        if len(manager.encode()) > _MAX_MANAGER:
            causes.append(
                Cause("fieldManager", f"Too long: may not be more than {_MAX_MANAGER} bytes", "FieldValueTooLong")
            )
        elif not manager.isprintable():
            causes.append(Cause("fieldManager", f"Invalid value: {quoted(manager)}: has invalid characters"))
        if causes:
            raise invalid_options(kind, causes)
    return WriteOptions(bool(runs), FieldValidation(validation or FieldValidation.WARN), manager)


def forbidden_force() -> Invalid:
    """The 422 for ``force`` of anything but an apply."""
    return invalid_options("PatchOptions", [_forbidden("force", "may not be specified for non-apply patch")])


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
        limit=max(0, query.number("limit") or 0),
        continue_token=query.get("continue"),
        resource_version=query.get("resourceVersion"),
        match=query.get("resourceVersionMatch"),
        bookmarks=query.flag("allowWatchBookmarks"),
        send_initial=query.optional_flag("sendInitialEvents"),
        timeout=max(0, query.number("timeoutSeconds") or 0) or None,
    )
    causes = list(_watch_causes(options) if options.watch else _list_causes(options))
    if causes:
        raise invalid_options("ListOptions", causes)
    if options.resource_version:
        parse_version(options.resource_version)
        if options.continue_token and not options.watch and options.resource_version != "0":
            raise BadRequest("specifying resource version is not allowed when using continue")
    return options


def _list_causes(options: ListOptions) -> Iterator[Cause]:
    match = options.match
    if match and not options.resource_version:
        why = "resourceVersionMatch is forbidden unless resourceVersion is provided"
        yield _forbidden("resourceVersionMatch", why)
    if match and options.continue_token:
        yield _forbidden("resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided")
    if match and match not in _MATCHES:
        yield _unsupported("resourceVersionMatch", quoted(match[:64]), (*_MATCHES, ""))
    if match == "Exact" and options.resource_version == "0":
        why = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
        yield _forbidden("resourceVersionMatch", why)
    if options.send_initial is not None:
        yield _forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list")


def _watch_causes(options: ListOptions) -> Iterator[Cause]:
    match = options.match
    if options.send_initial is not None and match != "NotOlderThan":
        why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        yield _forbidden("resourceVersionMatch", why)
    if match and options.send_initial is None:
        why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        yield _forbidden("resourceVersionMatch", why)
    if match and match != "NotOlderThan":
        yield _unsupported("resourceVersionMatch", quoted(match[:64]), ("NotOlderThan",))
    if options.continue_token:
        yield _forbidden("resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided")


@dataclass(frozen=True)
class DeleteOptions:
    """How to delete: conditions, what becomes of dependents, and whether only to rehearse."""

    preconditions: Preconditions
    propagation: Propagation
    dry_run: bool


def delete_options(query: Query, body: Mapping[str, Any]) -> DeleteOptions:
    """From the body, which wins, or else the query. Raises BadRequest, Invalid.

    Kubernetes ignores the query where there is a body. Here a dry run that stands in either is one.
    """
    _check_delete_types(body)
    runs = body.get("dryRun") or query.all("dryRun")
    query.number("gracePeriodSeconds")
    policy = body.get("propagationPolicy")
    if policy is None:
        policy = query.find("propagationPolicy")
    orphan = body.get("orphanDependents")
    if orphan is None:
        orphan = query.optional_flag("orphanDependents")
    causes = list(_dry_run_cause(runs))
    if orphan is not None and policy is not None:
        why = "orphanDependents and deletionPropagation cannot be both set"
        causes.append(Cause("propagationPolicy", f"Invalid value: {quoted(policy[:64])}: {why}"))
    elif policy is not None and policy not in frozenset(Propagation):
        supported = ("Foreground", "Background", "Orphan", "nil")
        causes.append(_unsupported("propagationPolicy", quoted(policy[:64]), supported))
    if causes:
        raise invalid_options("DeleteOptions", causes)
    preconditions = body.get("preconditions") or {}
    return DeleteOptions(
        preconditions=Preconditions(
            uid=preconditions.get("uid") or "", resource_version=preconditions.get("resourceVersion") or ""
        ),
        propagation=Propagation.ORPHAN if orphan else Propagation(policy or Propagation.BACKGROUND),
        dry_run=bool(runs),
    )


def _check_delete_types(body: Mapping[str, Any]) -> None:
    kind = body.get("kind", "DeleteOptions")
    if kind != "DeleteOptions":
        raise BadRequest(f"the body of a DELETE must be DeleteOptions, not {str(kind)[:64]}")
    preconditions = body.get("preconditions")
    wanted: list[tuple[str, Any, type]] = [
        ("gracePeriodSeconds", body.get("gracePeriodSeconds"), int),
        ("orphanDependents", body.get("orphanDependents"), bool),
        ("propagationPolicy", body.get("propagationPolicy"), str),
        ("preconditions", preconditions, dict),
        ("dryRun", body.get("dryRun"), list),
    ]
    if isinstance(preconditions, dict):
        wanted += ((f"preconditions.{name}", preconditions.get(name), str) for name in ("uid", "resourceVersion"))
    for field, value, type_ in wanted:
        if value is not None and (not isinstance(value, type_) or (type_ is int and isinstance(value, bool))):
            raise BadRequest(f"DeleteOptions: {field} is not {_TYPES[type_]}")


_TYPES: Mapping[type, str] = {
    int: "a whole number",
    bool: "a boolean",
    str: "a string",
    dict: "an object",
    list: "a list",
}
