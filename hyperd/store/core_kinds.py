"""What Kubernetes itself does to Namespaces and Secrets on their way in.

Clients and manifests rely on it: the label with the namespace's name, ``stringData``, the type of a secret.
"""

from __future__ import annotations

import base64

from hyperd.errors import Cause, Forbidden
from hyperd.resources.kind import Kind, Object
from hyperd.resources.structural import invalid

NAMESPACE_LABEL = "kubernetes.io/metadata.name"
NAMESPACE_FINALIZER = "kubernetes"
PROTECTED_NAMESPACES = ("default", "kube-system")
FIRST_NAMESPACES = PROTECTED_NAMESPACES


def is_namespace(kind: Kind) -> bool:
    return not kind.group and kind.plural == "namespaces"


def _is_secret(kind: Kind) -> bool:
    return not kind.group and kind.plural == "secrets"


def default(kind: Kind, new: Object) -> None:
    """Fill in what Kubernetes' own defaults say, in place: whoever writes the object owns it."""
    if is_namespace(kind):
        _label(new)
    elif _is_secret(kind):
        _fold_string_data(kind, new)
        new.setdefault("type", "Opaque")


def before_create(kind: Kind, new: Object) -> None:
    """Complete a new object with what nobody may choose, in place."""
    if is_namespace(kind):
        new["spec"] = {"finalizers": [NAMESPACE_FINALIZER]}
        new["status"] = {"phase": "Active"}


def before_update(kind: Kind, new: Object, old: Object) -> None:
    """Complete an object that replaces ``old``, in place. Raises Invalid for what may not change."""
    if is_namespace(kind):
        for part in ("spec", "status"):
            if part in old:
                new[part] = old[part]
    elif _is_secret(kind):
        former = old.get("type", "Opaque")
        if new["type"] != former:
            cause = Cause("type", f'Invalid value: "{new["type"]}": field is immutable')
            raise invalid(kind, old["metadata"]["name"], [cause])


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
    if not isinstance(meta.get("labels") or {}, dict):
        return
    meta["labels"] = {**(meta.get("labels") or {}), NAMESPACE_LABEL: meta["name"]}


def _fold_string_data(kind: Kind, new: Object) -> None:
    name = str(new["metadata"].get("name", ""))
    causes = [
        Cause(field, "Invalid value: must be a map of strings", "FieldValueTypeInvalid")
        for field in ("data", "stringData")
        if not _is_string_map(new.get(field) or {})
    ]
    if causes:
        raise invalid(kind, name, causes)
    for key, text in (new.get("data") or {}).items():
        try:
            base64.b64decode(text, validate=True)
        except ValueError:
            causes.append(Cause(f"data[{key}]", "Invalid value: illegal base64 data"))
    if causes:
        raise invalid(kind, name, causes)
    texts = new.pop("stringData", None)
    if texts:
        folded = {key: base64.b64encode(text.encode()).decode() for key, text in texts.items()}
        new["data"] = {**(new.get("data") or {}), **folded}


def _is_string_map(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(item, str) for item in value.values())
