"""Objects written by server-side apply, as the field manager ``hv``: again and again, to the same end."""

from __future__ import annotations

import json
import re

from hyperd.cli.cluster.bundle import RESOURCES
from hyperd.client import paths
from hyperd.client.sync import Client
from hyperd.errors import Conflict, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hyperd.client.resource import Resource
    from hyperd.resources.schema.kind import Object

MANAGER = "hv"
_APPLY = "application/apply-patch+yaml"
_JSON_PATCH = "application/json-patch+json"
_KUBECTL = "kubectl-client-side-apply"
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_EVICTIONS = "/evict"
_OF_ANOTHER = re.compile(r'conflict with "([^"]*)"')
_TAKEN_OVER = frozenset({MANAGER, _KUBECTL})
"""Whose fields are hv's: its own, and those of whoever applied the manifests by kubectl before."""


def place(obj: Object) -> tuple[Resource, str | None, str]:
    """Where one of hyperd's own objects is."""
    resource = RESOURCES[obj["kind"]]
    return resource, obj["metadata"].get("namespace") if resource.namespaced else None, obj["metadata"]["name"]


def title(obj: Object) -> str:
    """``daemonset/hyperd``."""
    return f"{RESOURCES[obj['kind']].singular}/{obj['metadata']['name']}"


def apply(client: Client, obj: Object, *, dry_run: bool = False, force: bool = False) -> str:
    """Have an object be as it is to be: ``created``, ``changed`` or ``unchanged``. Raises what the server says.

    That is Conflict where somebody else has set a field to something else, unless ``force`` overrides that.
    """
    resource, namespace, name = place(obj)
    before = client.find(resource, namespace, name)
    if before is not None:
        obj = _as_completed(obj, before)
        if not dry_run:
            before = _taken_over(client, resource, namespace, name, before)
    try:
        try:
            after = _applied(client, obj, dry_run=dry_run, force=force)
        except Conflict as err:
            if force or not err.causes or others(err):
                raise
            after = _applied(client, obj, dry_run=dry_run, force=True)
    except NotFound:
        # Its namespace is one of those that a rehearsal does not make.
        if not dry_run or before is not None or not namespace:
            raise
        return "created"
    if before is None:
        return "created"
    return "unchanged" if _told(before) == _told(after) else "changed"


def _applied(client: Client, obj: Object, *, dry_run: bool, force: bool) -> Object:
    where = {"fieldManager": MANAGER, "force": str(force).lower(), "fieldValidation": "Strict"}
    path = paths.single(*place(obj)) + paths.query({**where, "dryRun": "All" if dry_run else ""})
    return client.call("PATCH", path, body=obj, content_type=_APPLY)


def others(err: Conflict) -> list[str]:
    """``FIELD: set by MANAGER`` of each field that would be overridden and is not hv's already."""
    found = []
    for cause in err.causes:
        told = _OF_ANOTHER.match(cause.message)
        if told is None:
            found.append(f"{cause.field}: {cause.message}")
        elif told.group(1) not in _TAKEN_OVER:
            found.append(f"{cause.field}: set by {told.group(1)}")
    return found


def made_by_hv(obj: Object) -> bool:
    """Whether hv once applied it: a label alone anybody's add-on may have."""
    return any(
        (entry.get("manager"), entry.get("operation")) == (MANAGER, "Apply")
        for entry in obj["metadata"].get("managedFields") or ()
    )


def json_patch(client: Client, obj: Object, operations: list[Object]) -> Object:
    resource, namespace, name = place(obj)
    return client.patch(resource, namespace, name, operations, kind=_JSON_PATCH)


def remove(client: Client, obj: Object) -> bool:
    """Delete an object; whether it was there. What depends on it goes after it."""
    try:
        client.delete(*place(obj))
    except NotFound:
        return False
    return True


def _told(obj: Object) -> str:
    """All that an object says, but for who wrote it, when."""
    metadata = {
        key: value
        for key, value in obj["metadata"].items()
        if key not in ("managedFields", "resourceVersion", "generation")
    }
    return json.dumps({**obj, "metadata": metadata, "status": None}, sort_keys=True)


def _as_completed(obj: Object, live: Object) -> Object:
    """The object with what hyperd itself has written where manifests leave it to it: where evictions are asked."""
    addresses = {
        hook.get("name"): path
        for hook in live.get("webhooks") or ()
        if str(path := _path(hook)).startswith(_EVICTIONS)
    }
    if not addresses:
        return obj
    completed: Object = json.loads(json.dumps(obj))
    for hook in completed.get("webhooks") or ():
        if str(_path(hook)).startswith(_EVICTIONS) and hook["name"] in addresses:
            hook["clientConfig"]["service"]["path"] = addresses[hook["name"]]
    return completed


def _path(hook: Object) -> object:
    return ((hook.get("clientConfig") or {}).get("service") or {}).get("path")


def _taken_over(client: Client, resource: Resource, namespace: str | None, name: str, live: Object) -> Object:
    """The object once what ``kubectl apply`` owns of it is hv's: what is left out later would stay for ever."""
    fields = live["metadata"].get("managedFields") or []
    theirs = [entry for entry in fields if entry.get("manager") == _KUBECTL and entry.get("operation") == "Update"]
    if not theirs:
        return live
    ours: Object = next(
        (dict(entry) for entry in fields if entry.get("manager") == MANAGER and entry.get("operation") == "Apply"),
        {**theirs[0], "manager": MANAGER, "operation": "Apply", "fieldsV1": {}},
    )
    for entry in theirs:
        ours["fieldsV1"] = _united(ours.get("fieldsV1") or {}, entry.get("fieldsV1") or {})
    kept = [
        entry
        for entry in fields
        if entry not in theirs and (entry.get("manager"), entry.get("operation")) != (MANAGER, "Apply")
    ]
    operations: list[Object] = [
        {"op": "test", "path": "/metadata/resourceVersion", "value": live["metadata"]["resourceVersion"]},
        {"op": "replace", "path": "/metadata/managedFields", "value": [*kept, ours]},
    ]
    if _LAST_APPLIED in (live["metadata"].get("annotations") or {}):
        operations.append({"op": "remove", "path": f"/metadata/annotations/{_LAST_APPLIED.replace('/', '~1')}"})
    try:
        return client.patch(resource, namespace, name, operations, kind=_JSON_PATCH)
    except Conflict:
        raise Conflict(
            f"{resource.kind} {name} was changed by somebody else at this moment; run this again."
        ) from None


def _united(one: Object, other: Object) -> Object:
    united = dict(one)
    for key, value in other.items():
        united[key] = _united(united[key], value) if isinstance(united.get(key), dict) else value
    return united
