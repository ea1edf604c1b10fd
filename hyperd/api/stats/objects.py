"""What objects say of themselves, as metrics: under the names and labels that the reference's dashboards ask for.

A quiet condition that is absent counts as its boring value. What is in the system's namespace is left out, as
whoever scrapes may not be one of those who may look there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Final

from hyperd.api.wire.metrics import Labels, Sample, render
from hyperd.resources import all as kinds
from hyperd.resources.kinds.virtual_disk import VirtualDiskCondition
from hyperd.resources.kinds.virtual_machine import RunPolicy
from hyperd.resources.kinds.virtual_machine_conditions import VirtualMachineCondition
from hyperd.resources.kinds.virtual_machine_operation import FINISHED_PHASES, OperationCondition
from hyperd.resources.schema.kind import AnyObject, Kind
from hyperd.resources.schema.structural import subschema
from hyperd.resources.values import meta
from hyperd.resources.values.conditions import find_condition, is_true
from hyperd.resources.values.names import SYSTEM_NAMESPACE
from hyperd.resources.values.quantity import to_bytes, to_milli
from hyperd.runtime.informer import Informer
from hyperd.store.interface import Item

_PREFIX: Final = "d8_virtualization_"
_PENDING: Final = "Pending"
_CLIENTS_OWN: Final = "kubectl.kubernetes.io"
"""Prefix of annotations that hold whole manifests."""
_LONGEST_VALUE: Final = 256
"""Of a label or annotation; the rest is cut off."""
_NOT_IN_A_NAME: Final = re.compile(r"[^a-zA-Z0-9_]")
_HUMP: Final = re.compile(r"([a-z0-9])([A-Z])")


class ObjectMetrics:
    """What ``Metrics.add_beside`` takes. Of a cluster's daemons the one that leads tells of all objects."""

    def __init__(self, informer: Callable[[Kind], Informer], leads: Callable[[], bool]) -> None:
        self._informers = {kind: informer(kind) for kind in _MORE}
        self._leads = leads

    def take(self) -> Callable[[], str]:
        """Of the objects that are known now."""
        taken = {kind: informer.items() for kind, informer in self._informers.items()} if self._leads() else {}
        return lambda: "".join(_text(kind, found) for kind, found in taken.items() if found)


def _text(kind: Kind, items: Sequence[Item]) -> str:
    return render(sample for item in items for sample in samples_of(kind, item.object()))


def samples_of(kind: Kind, obj: AnyObject) -> Iterator[Sample]:
    """All that is told of one object."""
    if obj["metadata"].get("namespace") == SYSTEM_NAMESPACE:
        return
    told = _Told(kind, obj)
    yield from told.phases()
    yield from _MORE[kind](told)


class _Told:
    """One object, the labels that all its samples carry, and how its values are read."""

    def __init__(self, kind: Kind, obj: AnyObject) -> None:
        self.kind = kind
        self.obj = obj
        self.spec: AnyObject = obj.get("spec") or {}
        self.status: AnyObject = obj.get("status") or {}
        own = obj["metadata"]
        base = [("name", own["name"]), ("namespace", own.get("namespace", "")), ("uid", own["uid"])]
        if kind is kinds.VIRTUAL_MACHINE:
            base.append(("node", self.status.get("nodeName", "")))
        elif kind is kinds.VIRTUAL_MACHINE_OPERATION:
            base += [("type", self.spec["type"]), ("virtualmachine", self.spec["virtualMachineName"])]
        elif not kind.namespaced:
            del base[1]
        self.base: Labels = tuple(base)

    def sample(self, name: str, value: float, help_: str, *more: tuple[str, str]) -> Sample:
        """``name`` without the prefixes."""
        full = f"{_PREFIX}{self.kind.singular}_{name}"
        return Sample(full, value, (*self.base, *more), help=help_)

    def phases(self) -> Iterator[Sample]:
        """One for each phase there is, 1 at the present one."""
        now = self.status.get("phase") or _PENDING
        for phase in _phases(self.kind):
            yield self.sample(
                "status_phase", phase == now, f"The {self.kind.singular} current phase.", ("phase", phase)
            )

    def own_words(self) -> Iterator[Sample]:
        """Its labels and annotations, as labels of a sample each."""
        yield self.sample("labels", 1, "Labels of the object.", *_as_labels("label", meta.labels(self.obj)))
        kept = {
            key: value for key, value in meta.annotations(self.obj).items() if not key.startswith(_CLIENTS_OWN)
        }
        yield self.sample("annotations", 1, "Annotations of the object.", *_as_labels("annotation", kept))

    def when(self, condition: str) -> float | None:
        """When the condition last changed, in seconds since 1970."""
        return _seconds((find_condition(self.obj, condition) or {}).get("lastTransitionTime"))


def _machine(told: _Told) -> Iterator[Sample]:
    obj, spec = told.obj, told.spec
    resources = told.status.get("resources") or {}
    cpu, memory = resources.get("cpu") or {}, resources.get("memory") or {}
    for name, value, help_ in (
        ("cpu_cores", cpu.get("cores", 0), "Cores that it has."),
        ("configuration_cpu_cores", spec["cpu"]["cores"], "Cores that the spec asks for."),
        ("cpu_core_fraction", _percent(cpu.get("coreFraction")), "Share of each core that it has, in percent."),
        ("configuration_cpu_core_fraction", _percent(spec["cpu"].get("coreFraction")),
         "Share of each core that the spec asks for, in percent."),
        ("configuration_cpu_runtime_overhead", _read(to_milli, cpu.get("runtimeOverhead")),
         "What running it costs on top, in thousandths of a core."),
        ("configuration_memory_size_bytes", _read(to_bytes, spec["memory"]["size"]),
         "Memory that the spec asks for."),
        ("configuration_memory_runtime_overhead_bytes", _read(to_bytes, memory.get("runtimeOverhead")),
         "What running it costs of memory on top."),
        ("awaiting_restart_to_apply_configuration", is_true(obj, VirtualMachineCondition.AWAITING_RESTART),
         "1 while changes wait for a restart."),
        ("configuration_applied", not _is_false(obj, VirtualMachineCondition.CONFIGURATION_APPLIED),
         "0 while changes are not applied."),
        ("agent_ready", is_true(obj, VirtualMachineCondition.AGENT_READY), "1 while the guest's agent answers."),
        ("firmware_up_to_date", not _is_false(obj, VirtualMachineCondition.FIRMWARE_UP_TO_DATE),
         "0 while it runs on an older version of what runs it."),
    ):  # fmt: skip
        yield told.sample(name, value, help_)
    if find_condition(obj, VirtualMachineCondition.MIGRATABLE) is not None:
        yield told.sample(
            "migratable", is_true(obj, VirtualMachineCondition.MIGRATABLE), "Whether it can be live migrated."
        )
    for policy in RunPolicy:
        more = ("runPolicy", str(policy))
        yield told.sample("configuration_run_policy", policy == spec.get("runPolicy"), "1 at its runPolicy.", more)
    for pod in told.status.get("virtualMachinePods") or ():
        yield told.sample("pod", bool(pod["active"]), "1 at the Pod that its guest runs in.", ("pod", pod["name"]))
    class_ = ("virtualmachineclass", spec.get("virtualMachineClassName", ""))
    yield told.sample("info", 1, "What it is.", class_)
    yield from told.own_words()


def _disk(told: _Told) -> Iterator[Sample]:
    status = told.status
    users = [one["name"] for one in status.get("attachedToVirtualMachines") or () if one.get("mounted")]
    claim = (status.get("target") or {}).get("persistentVolumeClaimName", "")
    yield told.sample("capacity_bytes", _read(to_bytes, status.get("capacity")), "Its size.")
    yield told.sample(
        "info", 1, "What it is.",
        ("storageclass", status.get("storageClassName", "")), ("persistentvolumeclaim", claim),
    )  # fmt: skip
    in_use, help_ = is_true(told.obj, VirtualDiskCondition.IN_USE), "1 while it is used."
    yield told.sample("status_in_use", in_use, help_, ("virtualmachine", users[0] if users else ""))
    yield from told.own_words()


def _class(told: _Told) -> Iterator[Sample]:
    yield told.sample("info", 1, "What it is.", ("type", told.spec["cpu"]["type"]))
    for node in told.status.get("availableNodes") or ():
        yield told.sample("available_node", 1, "A node that its machines can run on.", ("node", node))


def _operation(told: _Told) -> Iterator[Sample]:
    ended = told.status.get("phase") in FINISHED_PHASES
    for name, value in (
        ("created", _seconds(told.obj["metadata"].get("creationTimestamp"))),
        ("started", told.when(OperationCondition.SIGNAL_SENT)),
        ("finished", told.when(OperationCondition.COMPLETED) if ended else None),
    ):
        if value is not None:
            yield told.sample(f"{name}_timestamp", value, f"When it was {name}, in seconds since 1970.")


def _nothing(_: _Told) -> Iterable[Sample]:
    return ()


_MORE: Final[Mapping[Kind, Callable[[_Told], Iterable[Sample]]]] = {
    kinds.VIRTUAL_MACHINE: _machine,
    kinds.VIRTUAL_DISK: _disk,
    kinds.VIRTUAL_IMAGE: _Told.own_words,
    kinds.CLUSTER_VIRTUAL_IMAGE: _Told.own_words,
    kinds.VIRTUAL_MACHINE_CLASS: _class,
    kinds.VIRTUAL_MACHINE_OPERATION: _operation,
    kinds.VIRTUAL_MACHINE_SNAPSHOT: _Told.own_words,
    kinds.VIRTUAL_MACHINE_SNAPSHOT_OPERATION: _nothing,
    kinds.VIRTUAL_DISK_SNAPSHOT: _Told.own_words,
    kinds.VIRTUAL_MACHINE_BLOCK_DEVICE_ATTACHMENT: _nothing,
}


def _as_labels(prefix: str, values: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Keys as names of labels; those that become the same name are numbered."""
    named: dict[str, list[str]] = {}
    for key in sorted(values):
        name = _HUMP.sub(r"\1_\2", _NOT_IN_A_NAME.sub("_", key)).lower()
        named.setdefault(f"{prefix}_{name}", []).append(values[key][:_LONGEST_VALUE])
    for name, found in named.items():
        for number, value in enumerate(found, 1):
            yield (f"{name}_conflict{number}" if len(found) > 1 else name), value


@lru_cache
def _phases(kind: Kind) -> Sequence[str]:
    return tuple((subschema(kind.schema, "status.phase") or {}).get("enum", ()))


def _is_false(obj: AnyObject, condition: str) -> bool:
    return (find_condition(obj, condition) or {}).get("status") == "False"


def _percent(fraction: object) -> int:
    digits = str(fraction or "").removesuffix("%")
    return int(digits) if digits.isdecimal() else 0


def _read(parse: Callable[[str | int], int], value: object) -> int:
    """0 for what is absent, or no quantity."""
    try:
        return parse(value) if isinstance(value, str | int) else 0
    except ValueError:
        return 0


def _seconds(stamp: object) -> float | None:
    try:
        return meta.parse_time(str(stamp)).timestamp() if stamp else None
    except ValueError:
        return None
