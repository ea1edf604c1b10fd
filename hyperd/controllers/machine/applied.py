"""What a running instance was started with, and which spec changes wait for its restart.

The applied configuration is written into the domain's own metadata when it is defined, so that it survives the
daemon and needs no list of ours. Which fields a running machine takes only at a restart is said by the fields.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Final, Literal

import orjson

from hyperd.controllers.machine import held
from hyperd.hypervisor.state import DomainInfo
from hyperd.resources.kinds.virtual_machine import VIRTUAL_MACHINE, NetworkType, OsType, ProvisioningType
from hyperd.resources.schema.applies import SPEC, Restart
from hyperd.resources.schema.kind import AnyObject, Object
from hyperd.resources.values.jsonpath import value_at
from hyperd.resources.values.quantity import to_bytes

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine_status import RestartAwaitingChange

VERSION = 2
"""Of the record. A record of the first does not name it, and is read as one that lacks what came since; of a
newer one, what this version knows is read."""


def _compared_paths() -> Iterator[str]:
    """Where a field says that it waits, and none within it says so more exactly. A list is compared whole."""
    marked = [path for path, mark in _MARKS.items() if mark.listed and "[]" not in path]
    yield from (path for path in marked if not any(other.startswith(f"{path}.") for other in marked))


_MARKS: Final[Mapping[str, Restart]] = {
    field.path.removeprefix(f"{SPEC}."): field.applies
    for field in VIRTUAL_MACHINE.fields
    if field.own and isinstance(field.applies, Restart)
}
RESTART_PATHS: Final = tuple(_compared_paths())
_CLASS_PATHS: Final = {f"VirtualMachineClass:spec.{name}": name for name in ("nodeSelector", "tolerations")}
"""What an instance was placed by of its class: path as the reference spells it → the class's field."""
PLACEMENT_PATHS: Final = frozenset(("nodeSelector", "affinity", "tolerations", *_CLASS_PATHS))
"""What a running guest is moved for, where it can be."""
_CLASS_NAME: Final = "virtualMachineClassName"
_PROVISIONING: Final = "provisioning"
_UNNAMED: Final = (
    "virtualMachineClassName", "cpu.cores", "cpu.coreFraction", "memory.size", "blockDeviceRefs", "networks",
    "provisioning", "virtualMachineIPAddressName", "terminationGracePeriodSeconds", "nodeSelector", "tolerations",
    "enableParavirtualization", "osType", "bootloader", "topologySpreadConstraints", "priorityClassName", "gpus",
)  # fmt: skip
"""What was compared of machines whose record does not say so, which was all of the time before it did."""


def configuration(spec: AnyObject, class_spec: AnyObject | None = None) -> Object:
    """The part of a VM's spec, and of its class's, that an instance keeps until its restart, by path."""
    out: Object = {}
    for path in RESTART_PATHS:
        value = _present(path, value_at(spec, path))
        if value is not None:
            out[path] = _compared(path, value)
    for path, name in _CLASS_PATHS.items():
        if class_spec is not None and (value := _present(path, class_spec.get(name))) is not None:
            out[path] = value
    return out


@dataclass(frozen=True)
class Applied:
    """What a domain carries in its metadata: its configuration, and the operation that it was started for.

    ``store`` is the id of the store that the machine stands in: another store's domain is never taken for a stray.
    ``address`` and ``address_name`` (of its VirtualMachineIPAddress) are what the guest got by DHCP. ``qemu`` is
    the version that it was started with: the host may have another by now.
    """

    configuration: Object = field(default_factory=dict)
    operation: str = ""
    store: str = ""
    address: str = ""
    address_name: str = ""
    qemu: str = ""
    restarting: bool = False
    """It was ended to be started anew, or is being started for that: the reason outlives the daemon here."""
    slots: Object = field(default_factory=dict)
    """Where its devices sit, as ``hypervisor.xml.slots`` encodes it."""
    compared: tuple[str, ...] = RESTART_PATHS
    """The paths that the configuration was taken of: what a later version compares says nothing about it."""
    devices: tuple[held.Held, ...] = ()
    """What it has plugged in; none of one that was started before this was kept."""
    pod: str = ""
    """The uid of the Pod that it runs in; empty for none."""
    displaced: bool = False
    """It was ended because its place was, or is another node's by now: its end was nobody's wish."""
    departed: str = ""
    """The uid of the operation by which its guest went to another node: what is here of it is left behind."""
    cards: Object = field(default_factory=dict)
    """The hardware addresses of its cards on additional networks, as ``networking`` encodes them."""

    def encode(self) -> str:
        """Canonical text for the domain's metadata."""
        body = {"version": VERSION, **{one.name: getattr(self, one.name) for one in fields(self)}}
        body["devices"] = held.encode(self.devices)
        return orjson.dumps(body, option=orjson.OPT_SORT_KEYS).decode()


def record_of(spec: AnyObject, class_spec: AnyObject | None) -> Applied:
    """The record of an instance that is started with these; without a class nothing is said of one."""
    paths = RESTART_PATHS if class_spec is None else (*RESTART_PATHS, *_CLASS_PATHS)
    return Applied(configuration(spec, class_spec), compared=paths)


def decode(text: str) -> Applied:
    """What ``encode`` wrote; empty for a domain that carries nothing of the kind."""
    try:
        body = orjson.loads(text)
        return Applied(
            body["configuration"],
            body["operation"],
            body["store"],
            body.get("address", ""),
            body.get("address_name", ""),
            body.get("qemu", ""),
            body.get("restarting", False) is True,
            body.get("slots") or {},
            tuple(body.get("compared", _UNNAMED)),
            held.decode(body.get("devices")),
            str(body.get("pod") or ""),
            body.get("displaced", False) is True,
            str(body.get("departed") or ""),
            cards=body.get("cards") or {},
        )
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return Applied()


def holds(domain: DomainInfo, uid: str) -> bool:
    """Whether the domain has the device of the source ``uid``, or notes that it gets it."""
    serial = held.serial_of(uid)
    return any(disk.serial == serial for disk in domain.disks) or any(
        one["uid"] == uid for one in decode(domain.applied).devices
    )


def changes(
    applied: Object,
    spec: AnyObject,
    compared: Container[str] = RESTART_PATHS,
    class_spec: AnyObject | None = None,
) -> list[RestartAwaitingChange]:
    """``status.restartAwaitingChanges``: what differs between the running instance and the spec.

    ``class_spec`` is the class's that the spec names; of another one than the instance's nothing is compared, as
    that change is named itself.
    """
    if applied.get(_CLASS_NAME) != spec.get(_CLASS_NAME):
        class_spec = None
    desired = configuration(spec, class_spec)
    found: list[RestartAwaitingChange] = []
    for path in (*RESTART_PATHS, *(_CLASS_PATHS if class_spec is not None else ())):
        if path not in compared:
            continue
        before, after = _present(path, applied.get(path)), desired.get(path)
        if path == _PROVISIONING and after is None and has_live_seed(applied):
            continue
        if before == after or (path == "memory.size" and _same_size(before, after)):
            continue
        if path == "blockDeviceRefs":
            found.extend(_device_changes(_items(before), _items(after), live=devices_are_live(applied)))
        else:
            found.append(_change(path, before, after))
    return _joined(found)


def _same_size(before: object, after: object) -> bool:
    """Whether both are quantities of the same bytes, however they are written."""
    if not isinstance(before, str | int) or not isinstance(after, str | int):
        return False
    return to_bytes(before) == to_bytes(after)


def _items(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else ()


def _joined(found: list[RestartAwaitingChange]) -> list[RestartAwaitingChange]:
    """Cores and fraction that change together are one change, of ``cpu``."""
    cpu = [change for change in found if change["path"].startswith("cpu.")]
    if len(cpu) < 2:
        return found

    def both(value: Literal["currentValue", "desiredValue"]) -> Object:
        return {change["path"].removeprefix("cpu."): change[value] for change in cpu if value in change}

    place = found.index(cpu[0])
    rest = [change for change in found if change not in cpu]
    return [*rest[:place], _change("cpu", both("currentValue"), both("desiredValue")), *rest[place:]]


def devices_are_live(applied: Object) -> bool:
    """Whether an instance of this configuration takes the devices of another spec while it runs.

    Others have their disks where nothing can be plugged in, or no drivers for it.
    """
    return applied.get("enableParavirtualization", True) is not False and applied.get("osType") != OsType.LEGACY


def attachments_are_live(applied: Object) -> bool:
    """Whether such an instance takes what attachments bring: an old system without drivers does not."""
    return applied.get("enableParavirtualization", True) is not False or applied.get("osType") != OsType.LEGACY


def has_live_seed(applied: Object) -> bool:
    """Whether an instance of this configuration has a disk for cloud-init that can go while it runs."""
    return devices_are_live(applied) and _of_cloud_init(applied.get(_PROVISIONING))


def without_seed(record: Applied) -> Applied:
    """The record of an instance whose disk for cloud-init is out."""
    kept = {path: value for path, value in record.configuration.items() if path != _PROVISIONING}
    return replace(record, configuration=kept)


def _of_cloud_init(provisioning: object) -> bool:
    """Sysprep's answers are on a CD-ROM, which stays in until a restart."""
    return isinstance(provisioning, dict) and provisioning.get("type") != ProvisioningType.SYSPREP_REF


def with_devices(record: Applied, spec: AnyObject, plugged: Collection[held.Held]) -> Applied:
    """The record of an instance that has ``plugged`` of its spec's devices by now.

    Their order is the spec's where that only adds and removes; else it stays, and the spec's waits for a restart.
    """
    names = {(one["kind"], one["name"]) for one in plugged}
    refs = [{"kind": ref.get("kind"), "name": ref.get("name")} for ref in spec.get("blockDeviceRefs") or ()]
    wanted = [ref for ref in refs if (ref["kind"], ref["name"]) in names]
    before = [
        ref
        for ref in _items(record.configuration.get("blockDeviceRefs"))
        if isinstance(ref, dict) and (ref.get("kind"), ref.get("name")) in names
    ]
    if [ref for ref in before if ref in wanted] == [ref for ref in wanted if ref in before]:
        now = [*wanted, *(ref for ref in before if ref not in wanted)]
    else:
        now = [*before, *(ref for ref in wanted if ref not in before)]
    return replace(record, configuration={**record.configuration, "blockDeviceRefs": now})


def _device_changes(
    before: Sequence[object], after: Sequence[object], *, live: bool
) -> list[RestartAwaitingChange]:
    """Where devices come and go ``live``, the order of those that stay is all that waits."""
    if live:
        before, after = [one for one in before if one in after], [one for one in after if one in before]
    found = []
    for index in range(max(len(before), len(after))):
        old = before[index] if index < len(before) else None
        new = after[index] if index < len(after) else None
        if old != new:
            found.append(_change(f"blockDeviceRefs.{index}", old, new))
    return found


def _change(path: str, before: object, after: object) -> RestartAwaitingChange:
    operation = "add" if before is None else "remove" if after is None else "replace"
    change: RestartAwaitingChange = {"operation": operation, "path": path}
    if before is not None:
        change["currentValue"] = before
    if after is not None:
        change["desiredValue"] = after
    return change


def _present(path: str, value: object) -> object:
    """None for what means the same as leaving the field out."""
    if value in ({}, [], ""):
        return None
    if path == "networks" and isinstance(value, list):
        return None if [network.get("type") for network in value] == [NetworkType.MAIN] else value
    return value


def _compared(path: str, value: object) -> object:
    """What is compared of a field: without what nobody is told of, such as a device's bootOrder."""
    if isinstance(value, list):
        return [{name: v for name, v in item.items() if f"{path}[].{name}" not in _MARKS} for item in value]
    if path == _PROVISIONING and isinstance(value, dict):
        # The domain's metadata is readable by who may talk to libvirt; user data may hold secrets.
        return {
            "type": value.get("type", ""),
            "digest": hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest(),
        }
    return value
