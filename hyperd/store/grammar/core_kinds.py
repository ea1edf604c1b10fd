"""What Kubernetes itself does to Namespaces, Secrets and ConfigMaps on their way in.

Clients and manifests rely on it: the label with the namespace's name, ``stringData``, the type of a secret.
"""

from __future__ import annotations

from hyperd.errors import Cause, Forbidden
from hyperd.resources.schema.kind import Kind, Object
from hyperd.store.grammar import core_rules, payload

NAMESPACE_LABEL = "kubernetes.io/metadata.name"
NAMESPACE_FINALIZER = "kubernetes"
PROTECTED_NAMESPACES = ("default", "kube-system")
FIRST_NAMESPACES = PROTECTED_NAMESPACES


def is_namespace(kind: Kind) -> bool:
    return not kind.group and kind.plural == "namespaces"


def _has_payload(kind: Kind) -> bool:
    return payload.is_secret(kind) or payload.is_config_map(kind)


def default(kind: Kind, new: Object) -> None:
    """Fill in what Kubernetes' own defaults say, in place: whoever writes the object owns it.

    Raises BadRequest for what it could not decode.
    """
    if is_namespace(kind):
        _label(new)
    elif _has_payload(kind):
        payload.decode(kind, new)
        if payload.is_secret(kind):
            new["type"] = new.get("type") or "Opaque"
    else:
        core_rules.default(kind, new)


def before_create(kind: Kind, new: Object) -> None:
    """Complete a new object with what nobody may choose, in place."""
    if is_namespace(kind):
        new["spec"] = {"finalizers": [NAMESPACE_FINALIZER]}
        new["status"] = {"phase": "Active"}
    elif core_rules.is_quota(kind):
        new.pop("status", None)


def before_update(kind: Kind, new: Object, old: Object) -> None:
    """Complete an object that replaces ``old``, in place."""
    if is_namespace(kind):
        for part in ("spec", "status"):
            if part in old:
                new[part] = old[part]


def check(kind: Kind, new: Object, old: Object | None) -> list[Cause]:
    """What Kubernetes would refuse of an object that is complete, and may be there as ``old``."""
    return payload.check(kind, new, old) if _has_payload(kind) else core_rules.check(kind, new, old)


def before_delete(kind: Kind, name: str) -> None:
    """Raise Forbidden for what must stay."""
    if is_namespace(kind) and name in PROTECTED_NAMESPACES:
        raise Forbidden(
            f'namespaces "{name}" is forbidden: this namespace may not be deleted', kind="namespaces", name=name
        )


def terminate(kind: Kind, obj: Object) -> None:
    """Show that a namespace is being deleted, in place."""
    if is_namespace(kind):
        obj["status"] = {**(obj.get("status") or {}), "phase": "Terminating"}


def holds(kind: Kind, obj: Object) -> bool:
    """Whether something beside ``metadata.finalizers`` keeps ``obj`` from going: a namespace's content."""
    return is_namespace(kind) and bool((obj.get("spec") or {}).get("finalizers"))


def _label(new: Object) -> None:
    meta = new["metadata"]
    meta["labels"] = {**(meta.get("labels") or {}), NAMESPACE_LABEL: meta["name"]}
