"""What Kubernetes itself fills in and refuses of StorageClasses and ResourceQuotas."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from hyperd.errors import Cause
from hyperd.resources.schema.kind import Kind, Object
from hyperd.resources.schema.metadata import qualified_name_faults
from hyperd.resources.values.quantity import parse
from hyperd.store.grammar import core_services
from hyperd.store.grammar.faults import forbidden, invalid, required, short, supported

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
    if rules is None or (old is not None and _is_untouched(kind, new, old)):
        return []
    return list(rules(new, old))


def _is_untouched(kind: Kind, new: Object, old: Object) -> bool:
    """Whether only metadata changes: what an older version let in can still be relabelled, and go."""
    former = copy.deepcopy(old)
    default(kind, former)
    return all(new.get(name) == former.get(name) for name in {*new, *former} - {"metadata"})


def _check_storage_class(new: Object, old: Object | None) -> Iterator[Cause]:
    provisioner = new.get("provisioner") or ""
    if not provisioner:
        yield required("provisioner")
    else:
        for fault in qualified_name_faults(provisioner.lower()):
            yield invalid("provisioner", provisioner, fault)
    yield from supported("reclaimPolicy", new["reclaimPolicy"], _RECLAIM)
    yield from supported("volumeBindingMode", new["volumeBindingMode"], _BINDING)
    for index, term in enumerate(new.get("allowedTopologies") or ()):
        for number, expression in enumerate((term or {}).get("matchLabelExpressions") or ()):
            expression = expression or {}
            path = f"allowedTopologies[{index}].matchLabelExpressions[{number}]"
            for fault in qualified_name_faults(expression.get("key") or ""):
                yield invalid(f"{path}.key", expression.get("key") or "", fault)
            if not expression.get("values"):
                yield required(f"{path}.values")
    for field in _FIXED if old is not None else ():
        if (new.get(field) or None) != ((old or {}).get(field) or None):
            yield forbidden(field, f"updates to {field} are forbidden.")


def _check_quota(new: Object, old: Object | None) -> Iterator[Cause]:
    spec = new.get("spec") or {}
    for field in ("scopes", "scopeSelector"):
        if spec.get(field):
            yield forbidden(f"spec.{field}", "quotas of a part of the Pods are not built yet: leave it out")
    for name, value in (spec.get("hard") or {}).items():
        path = f"spec.hard[{short(name)}]"
        for fault in _resource_faults(name):
            yield invalid(path, name, fault)
        try:
            amount = parse(value)
        except ValueError as err:
            yield invalid(path, value, str(err))
            continue
        if amount < 0:
            yield invalid(path, str(value), "must be greater than or equal to 0")
        elif amount != amount.to_integral_value() and (name in _COUNTED or name.startswith("count/")):
            yield invalid(path, str(value), "must be an integer")


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
