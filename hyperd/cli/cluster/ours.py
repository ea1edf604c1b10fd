"""Everything of hyperd's kinds in a cluster, as the cluster itself has them: counted, deleted, let go of.

Kinds are read from the CRDs that are there, each in the version that is stored, so that nobody has to convert.
"""

from __future__ import annotations

import time

from hyperd.cli.cluster import bundle
from hyperd.cli.waiting import Progress
from hyperd.client.resource import Resource
from hyperd.client.sync import Client
from hyperd.errors import Conflict, NotFound, Timeout
from hyperd.resources.values.names import GROUP, POOL_UID_LABEL, VD_UID_LABEL, VM_UID_LABEL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from hyperd.resources.schema.kind import Object

_STAGES = (
    ("virtualmachinepools",),
    ("virtualmachines", "virtualmachineoperations", "virtualmachinesnapshotoperations",
     "virtualmachineblockdeviceattachments"),
    ("virtualmachinesnapshots", "virtualdisksnapshots"),
    ("virtualdisks",),
    ("virtualimages", "clustervirtualimages"),
)  # fmt: skip
"""What goes before what; all others go last."""
PRECIOUS = frozenset(plural for stage in _STAGES for plural in stage) - {
    "virtualmachineoperations", "virtualmachinesnapshotoperations", "virtualmachineblockdeviceattachments",
}  # fmt: skip
"""Kinds of which each object is something of a user's."""
_DEPENDENT = (
    (bundle.PODS, VM_UID_LABEL),
    (bundle.RESOURCES["PodDisruptionBudget"], VM_UID_LABEL),
    (
        Resource(group="", version="v1", kind="PersistentVolumeClaim", plural="persistentvolumeclaims",
            singular="persistentvolumeclaim", namespaced=True),
        VD_UID_LABEL,
    ),
)  # fmt: skip
"""Of others' kinds what belongs to machines and disks, by its label."""
_PAUSE_SECONDS = 0.5
_NAMED = 3


def kinds(client: Client) -> list[Resource]:
    """hyperd's kinds that the cluster has, in the order in which their objects go; without those of others."""
    found = {}
    for one in client.list(bundle.RESOURCES["CustomResourceDefinition"])["items"]:
        spec, labels = one.get("spec") or {}, one["metadata"].get("labels") or {}
        if spec.get("group") != GROUP or labels.get("heritage") or labels.get("module"):
            continue
        stored = next((str(each["name"]) for each in spec["versions"] if each.get("storage")), "")
        names = spec["names"]
        found[names["plural"]] = Resource(
            group=GROUP, version=stored, kind=names["kind"], plural=names["plural"],
            singular=names.get("singular") or names["kind"].lower(), namespaced=spec.get("scope") == "Namespaced",
        )  # fmt: skip
    order = {plural: rank for rank, stage in enumerate(_STAGES) for plural in stage}
    return sorted(found.values(), key=lambda one: (order.get(one.plural, len(_STAGES)), one.plural))


def objects(client: Client, some: Iterable[Resource]) -> list[tuple[Resource, Object]]:
    """All objects of these kinds; a kind that is gone by now has none."""
    found: list[tuple[Resource, Object]] = []
    for resource in some:
        try:
            found += [(resource, obj) for obj in client.list(resource)["items"]]
        except NotFound:
            continue
    return found


def counted(found: list[tuple[Resource, Object]]) -> list[str]:
    """``namespace shop: 2 virtualmachines, 3 virtualdisks`` of each namespace, of what is precious."""
    counts: dict[str, dict[str, int]] = {}
    words = {resource.plural: resource.singular for resource, _ in found}
    for resource, obj in found:
        if resource.plural in PRECIOUS:
            here = counts.setdefault(obj["metadata"].get("namespace") or "", {})
            here[resource.plural] = here.get(resource.plural, 0) + 1
    return [
        f"{f'namespace {namespace}' if namespace else 'cluster'}: "
        + ", ".join(f"{count} {plural if count > 1 else words[plural]}" for plural, count in sorted(here.items()))
        for namespace, here in sorted(counts.items())
    ]


def uid(obj: Object) -> str:
    return str(obj["metadata"].get("uid") or "")


def precious(found: list[tuple[Resource, Object]]) -> list[tuple[Resource, Object]]:
    """Those of a user's."""
    return [(resource, obj) for resource, obj in found if resource.plural in PRECIOUS]


def delete_all(client: Client, timeout: float, seen: set[str], *, force: bool) -> list[str]:
    """Delete every object and wait until each is gone; ``force`` takes hyperd's finalizers off meanwhile.

    ``seen`` are the uids of what is to go, and gets those of what hyperd itself adds. Returns what is left alone,
    a sentence each. Raises Timeout with what is left and what it says of itself, and Conflict where something of a
    user's is met that nobody was asked about.
    """
    deadline = time.monotonic() + timeout
    some = kinds(client)
    for rank in range(len(_STAGES) + 1):
        stage = [one for one in some if _rank(one) == rank]
        _empty(client, stage, deadline, seen, force=force)
    return _await_dependent(client, deadline, seen, force=force)


def _is_news(obj: Object, seen: set[str]) -> bool:
    """Whether it came after those, and not by a pool's hand."""
    return uid(obj) not in seen and POOL_UID_LABEL not in (obj["metadata"].get("labels") or {})


def _rank(resource: Resource) -> int:
    return next((rank for rank, stage in enumerate(_STAGES) if resource.plural in stage), len(_STAGES))


def _empty(client: Client, stage: list[Resource], deadline: float, seen: set[str], *, force: bool) -> None:
    if not stage:
        return
    shown = Progress("removing")
    try:
        while found := objects(client, stage):
            if lost := [one for one in precious(found) if _is_news(one[1], seen)]:
                raise Conflict(
                    f"Somebody has made {_listed(lost)} meanwhile, which would be lost. Run this again."
                )
            seen |= {uid(obj) for _, obj in found}
            shown.show(f"{len(found)} left: {_listed(found)}")
            for resource, obj in found:
                _delete(client, resource, obj, force=force)
            if time.monotonic() > deadline:
                raise Timeout(_stuck(objects(client, stage)))
            time.sleep(_PAUSE_SECONDS)
    finally:
        shown.done()


def _delete(client: Client, resource: Resource, obj: Object, *, force: bool) -> None:
    metadata = obj["metadata"]
    where = (resource, metadata.get("namespace"), metadata["name"])
    try:
        if not metadata.get("deletionTimestamp"):
            client.delete(*where)
        if force:
            _let_go(client, *where)
    except (NotFound, Conflict):
        return


def _let_go(client: Client, resource: Resource, namespace: str | None, name: str) -> None:
    """Take hyperd's finalizers off an object that is being deleted; those of others stay."""
    live = client.get(resource, namespace, name)
    finalizers = live["metadata"].get("finalizers") or []
    kept = [one for one in finalizers if not str(one).partition("/")[0].endswith(GROUP)]
    if kept != finalizers:
        patch = {"metadata": {"finalizers": kept, "resourceVersion": live["metadata"]["resourceVersion"]}}
        client.patch(resource, namespace, name, patch)


def _await_dependent(client: Client, deadline: float, seen: set[str], *, force: bool) -> list[str]:
    """What belonged to machines and disks goes by itself, by Kubernetes' own hand; ``seen`` are those that went.

    A label alone a copy has too, as one that a backup has brought back: that is somebody else's, and is named.
    """
    shown = Progress("removing")
    try:
        while True:
            labelled = [
                (resource, obj)
                for resource, label in _DEPENDENT
                for obj in client.list(resource, labels=label)["items"]
            ]
            found = [(resource, obj) for resource, obj in labelled if _owned(obj, seen)]
            if not found:
                return [
                    f"{resource.kind} {obj['metadata']['namespace']}/{obj['metadata']['name']} has hyperd's "
                    "label, and belongs to nothing that was removed: it is left alone."
                    for resource, obj in labelled
                ]
            shown.show(f"{len(found)} left: {_listed(found)}")
            if force:
                for resource, obj in found:
                    if obj["metadata"].get("deletionTimestamp"):
                        _delete(client, resource, obj, force=True)
            if time.monotonic() > deadline:
                raise Timeout(_stuck(found))
            time.sleep(_PAUSE_SECONDS)
    finally:
        shown.done()


def _owned(obj: Object, seen: set[str]) -> bool:
    owners = obj["metadata"].get("ownerReferences") or ()
    return any(
        str(one.get("apiVersion") or "").startswith(f"{GROUP}/") and str(one.get("uid")) in seen for one in owners
    )


def _listed(found: list[tuple[Resource, Object]]) -> str:
    names = [f"{resource.singular}/{obj['metadata']['name']}" for resource, obj in found[:_NAMED]]
    return ", ".join(names) + (", …" if len(found) > _NAMED else "")


def _stuck(found: list[tuple[Resource, Object]]) -> str:
    lines = []
    for resource, obj in found[:_NAMED]:
        metadata = obj["metadata"]
        held = ", ".join(map(str, metadata.get("finalizers") or ())) or "nothing that it names"
        namespace = f"{metadata['namespace']}/" if metadata.get("namespace") else ""
        lines.append(f"\n  {resource.kind} {namespace}{metadata['name']}, held by {held}{_why(obj)}")
    more = len(found) - len(lines)
    return f"{len(found)} objects do not go:{''.join(lines)}{f'{chr(10)}  and {more} more' if more else ''}"


def _why(obj: Object) -> str:
    conditions = (obj.get("status") or {}).get("conditions") or ()
    told = next(
        (str(one.get("message")) for one in conditions if one.get("status") == "False" and one.get("message")), ""
    )
    return f": {told.rstrip('.')}" if told else ""
