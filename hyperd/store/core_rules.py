"""What Kubernetes itself fills in and refuses of StorageClasses and ResourceQuotas."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from hyperd.errors import Cause
from hyperd.resources.kind import Kind, Object
from hyperd.resources.metadata import qualified_name_faults, quoted
from hyperd.resources.quantity import parse
from hyperd.store import core_services
from hyperd.store.faults import required, supported

Rules = Callable[[Object, Object | None], Iterator[Cause]]

_RECLAIM: Final = ("Delete", "Retain")
_BINDING: Final = ("Immediate", "WaitForFirstConsumer")
_FIXED: Final = ("parameters", "provisioner", "reclaimPolicy", "volumeBindingMode")
_COUNTED: Final = frozenset({
    "configmaps", "persistentvolumeclaims", "pods", "replicationcontrollers", "resourcequotas", "secrets",
    "services", "services.loadbalancers", "services.nodeports",
})  # fmt: skip
_AMOUNTS: Final = frozenset({
    "cpu", "memory", "ephemeral-storage", "requests.cpu", "requests.memory", "requests.ephemeral-storage",
    "requests.storage", "limits.cpu", "limits.memory", "limits.ephemeral-storage",
})  # fmt: skip


def is_quota(kind: Kind) -> bool:
    return not kind.group and kind.plural == "resourcequotas"


def default(kind: Kind, new: Object) -> None:
    """Fill in what Kubernetes' own defaults say, in place."""
    if kind.group == "storage.k8s.io" and kind.plural == "storageclasses":
        new["reclaimPolicy"] = new.get("reclaimPolicy") or "Delete"
        new["volumeBindingMode"] = new.get("volumeBindingMode") or "Immediate"
    elif not kind.group and kind.plural == "services":
        core_services.default(new)


def check(kind: Kind, new: Object, old: Object | None) -> list[Cause]:
    """What Kubernetes would refuse."""
    rules = _RULES.get((kind.group, kind.plural))
    return [] if rules is None else list(rules(new, old))


def _check_storage_class(new: Object, old: Object | None) -> Iterator[Cause]:
    provisioner = new.get("provisioner") or ""
    if not provisioner:
        yield required("provisioner")
    else:
        for fault in qualified_name_faults(provisioner.lower()):
            yield Cause("provisioner", f"Invalid value: {quoted(provisioner)}: {fault}")
    yield from supported("reclaimPolicy", new["reclaimPolicy"], _RECLAIM)
    yield from supported("volumeBindingMode", new["volumeBindingMode"], _BINDING)
    for index, term in enumerate(new.get("allowedTopologies") or ()):
        for number, expression in enumerate(term.get("matchLabelExpressions") or ()):
            path = f"allowedTopologies[{index}].matchLabelExpressions[{number}]"
            for fault in qualified_name_faults(expression.get("key") or ""):
                yield Cause(f"{path}.key", f"Invalid value: {quoted(expression.get('key') or '')}: {fault}")
            if not expression.get("values"):
                yield required(f"{path}.values")
    for field in _FIXED if old is not None else ():
        if (new.get(field) or None) != ((old or {}).get(field) or None):
            yield Cause(field, f"Forbidden: updates to {field} are forbidden.", "FieldValueForbidden")


def _check_quota(new: Object, old: Object | None) -> Iterator[Cause]:
    spec = new.get("spec") or {}
    for field in ("scopes", "scopeSelector"):
        if spec.get(field):
            text = "Forbidden: quotas of a part of the Pods are not built yet: leave it out"
            yield Cause(f"spec.{field}", text, "FieldValueForbidden")
    for name, value in (spec.get("hard") or {}).items():
        path = f"spec.hard[{name}]"
        for fault in _resource_faults(name):
            yield Cause(path, f"Invalid value: {quoted(name)}: {fault}")
        try:
            amount = parse(value)
        except ValueError as err:
            yield Cause(path, f"Invalid value: {quoted(value)}: {err}")
            continue
        if amount < 0:
            yield Cause(path, f"Invalid value: {quoted(str(value))}: must be greater than or equal to 0")
        elif amount != amount.to_integral_value() and (name in _COUNTED or name.startswith("count/")):
            yield Cause(path, f"Invalid value: {quoted(str(value))}: must be an integer")


def _resource_faults(name: str) -> Sequence[str]:
    faults = list(qualified_name_faults(name))
    if "/" not in name and name not in _COUNTED | _AMOUNTS:
        if not faults:
            faults.append("must be a standard resource type or fully qualified")
        faults.append("must be a standard resource for quota")
    return faults


_RULES: Final[Mapping[tuple[str, str], Rules]] = {
    ("storage.k8s.io", "storageclasses"): _check_storage_class,
    ("", "resourcequotas"): _check_quota,
    ("", "services"): core_services.check,
}
