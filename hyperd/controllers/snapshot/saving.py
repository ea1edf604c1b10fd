"""What a machine's snapshot keeps beside its disks: the objects, in a Secret, as they are to be made again."""

from __future__ import annotations

import base64
import contextlib
import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import orjson

from hyperd.controllers.context import Context
from hyperd.errors import AlreadyExists, PermanentError
from hyperd.resources.all import (
    SECRET,
    VIRTUAL_MACHINE,
    VIRTUAL_MACHINE_BLOCK_DEVICE_ATTACHMENT,
    VIRTUAL_MACHINE_IP_ADDRESS,
    VIRTUAL_MACHINE_MAC_ADDRESS,
)
from hyperd.resources.kinds.virtual_machine_block_device_attachment import AttachmentPhase
from hyperd.resources.kinds.virtual_machine_ip_address import IPAddressType
from hyperd.resources.kinds.virtual_machine_snapshot import SNAPSHOT_SECRET_TYPE, KeepIPAddress
from hyperd.resources.schema.kind import AnyObject, Kind, Object
from hyperd.resources.schema.metadata import check_metadata
from hyperd.resources.schema.structural import validate
from hyperd.resources.values import meta, names
from hyperd.resources.values.meta import owner_reference
from hyperd.resources.values.names import CLOUD_INIT_SECRET_TYPE, SYSPREP_SECRET_TYPE

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine import VirtualMachine
    from hyperd.resources.views.virtual_machine_block_device_attachment import (
        VirtualMachineBlockDeviceAttachment,
    )
    from hyperd.resources.views.virtual_machine_snapshot import SavedResource, VirtualMachineSnapshot

_LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
GONE: Final = "The Secret with the snapshot's objects is gone."
_PROVISIONING: Final = (CLOUD_INIT_SECRET_TYPE, SYSPREP_SECRET_TYPE)


@dataclass
class Saved:
    """The objects of one machine, without what is only of their own lives: uid, status, owners."""

    vm: Object
    vmip: Object | None = None
    vmmacs: list[Object] = field(default_factory=list)
    vmbdas: list[Object] = field(default_factory=list)
    provisioner: Object | None = None

    def encode(self) -> dict[str, str]:
        """As the data of a Secret; what there is not has no key."""
        found: Mapping[str, Object | list[Object] | None] = {
            "vm": self.vm,
            "vmip": self.vmip,
            "vmmacs": self.vmmacs or None,
            "vmbdas": self.vmbdas or None,
            "provisioner": self.provisioner,
        }
        return {
            key: base64.b64encode(orjson.dumps(value)).decode("ascii")
            for key, value in found.items()
            if value is not None
        }

    @classmethod
    def decode(cls, secret: AnyObject) -> Saved:
        """Raises PermanentError for what is none."""
        data = secret.get("data") or {}
        try:
            found = {key: orjson.loads(base64.b64decode(data[key])) for key in data}
            saved = cls(
                found["vm"],
                found.get("vmip"),
                found.get("vmmacs") or [],
                found.get("vmbdas") or [],
                found.get("provisioner"),
            )
            _check(saved)
        except (KeyError, TypeError, ValueError) as err:
            name = secret["metadata"]["name"]
            raise PermanentError(f'Secret "{name}" does not hold what a snapshot saves.') from err
        return saved

    def objects(self) -> list[Object]:
        """All of them."""
        singles = [one for one in (self.vmip, self.provisioner) if one is not None]
        return [self.vm, *singles, *self.vmmacs, *self.vmbdas]


def _check(saved: Saved) -> None:
    """ValueError unless it is of the kinds that are saved, and sound: who may write Secrets may change it."""
    wanted: list[tuple[Object, Kind]] = [(saved.vm, VIRTUAL_MACHINE)]
    wanted += [(one, VIRTUAL_MACHINE_MAC_ADDRESS) for one in saved.vmmacs]
    wanted += [(one, VIRTUAL_MACHINE_BLOCK_DEVICE_ATTACHMENT) for one in saved.vmbdas]
    wanted += [] if saved.vmip is None else [(saved.vmip, VIRTUAL_MACHINE_IP_ADDRESS)]
    wanted += [] if saved.provisioner is None else [(saved.provisioner, SECRET)]
    for obj, kind in wanted:
        if not isinstance(obj, dict) or obj.get("kind") != kind.kind:
            raise ValueError
        if validate(kind.schema, obj) or check_metadata(kind, obj):
            raise ValueError
    if saved.provisioner is not None and saved.provisioner.get("type") not in _PROVISIONING:
        raise ValueError


def secret_name(snapshot: VirtualMachineSnapshot) -> str:
    """Of the Secret that a snapshot saves objects in."""
    return f"d8v-vms-{snapshot['metadata']['uid']}"


async def save(context: Context, snapshot: VirtualMachineSnapshot, machine: VirtualMachine) -> Saved:
    """What there is to save now. Raises PermanentError where something is missing that belongs to it."""
    attached = await attachments(context, machine)
    saved = Saved(bare(VIRTUAL_MACHINE, machine))
    saved.vmip = await _address(context, snapshot, machine)
    saved.vmbdas = [bare(VIRTUAL_MACHINE_BLOCK_DEVICE_ATTACHMENT, each) for each in attached]
    provisioning = machine["spec"].get("provisioning")
    ref = None if provisioning is None else provisioning.get("userDataRef") or provisioning.get("sysprepRef")
    if ref is not None:
        secret = await context.store.find(SECRET, machine["metadata"]["namespace"], ref["name"])
        if secret is None:
            raise PermanentError(f'The provisioning Secret "{ref["name"]}" does not exist.')
        if secret.get("type") not in _PROVISIONING:
            # Who may make machines may not have copies of whatever Secret there is.
            raise PermanentError(f'Secret "{ref["name"]}" is of no type for provisioning, and is not saved.')
        saved.provisioner = {**bare(SECRET, secret), "type": secret.get("type"), "data": secret.get("data") or {}}
    return saved


async def attachments(context: Context, machine: VirtualMachine) -> list[VirtualMachineBlockDeviceAttachment]:
    """What is hot-plugged into the machine now."""
    namespace, name = machine["metadata"]["namespace"], machine["metadata"]["name"]
    found = await context.store.find_all(VIRTUAL_MACHINE_BLOCK_DEVICE_ATTACHMENT, namespace)
    mine = (each for each in found if each["spec"]["virtualMachineName"] == name)
    return [each for each in mine if (each.get("status") or {}).get("phase") == AttachmentPhase.ATTACHED]


async def keep(context: Context, snapshot: VirtualMachineSnapshot, saved: Saved) -> None:
    """Put it into the snapshot's Secret, once."""
    await _create(context, snapshot, secret_name(snapshot), saved)


async def load(context: Context, snapshot: VirtualMachineSnapshot, reader: str = "") -> Saved | None:
    """What the snapshot has saved, or its ``reader`` has of it; None before it has.

    Only a Secret of theirs is believed.
    """
    for name, owner in ((_copy_name(reader), reader), (secret_name(snapshot), snapshot["metadata"]["uid"])):
        secret = await context.store.find(SECRET, snapshot["metadata"]["namespace"], name) if owner else None
        if secret is not None and meta.is_owned_by(secret, owner):
            return Saved.decode(secret)
    return None


async def hold(context: Context, snapshot: VirtualMachineSnapshot, operation: AnyObject) -> None:
    """Have the operation have a copy: a foreground deletion of the snapshot takes its Secret at once."""
    saved = await load(context, snapshot, operation["metadata"]["uid"])
    if saved is None:
        raise PermanentError(GONE)
    await _create(context, operation, _copy_name(operation["metadata"]["uid"]), saved)


async def _create(context: Context, owner: AnyObject, name: str, saved: Saved) -> None:
    namespace = owner["metadata"]["namespace"]
    body: Object = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"namespace": namespace, "name": name, "ownerReferences": [owner_reference(owner)]},
        "type": SNAPSHOT_SECRET_TYPE,
        "data": saved.encode(),
    }
    with contextlib.suppress(AlreadyExists):
        await context.store.create(SECRET, namespace, body)


def _copy_name(operation: str) -> str:
    return f"d8v-vmop-{operation}"


def references(saved: Saved, disks: list[str], api_version: str) -> list[SavedResource]:
    """For ``status.resources``."""
    found: list[SavedResource] = [
        {"apiVersion": each["apiVersion"], "kind": each["kind"], "name": each["metadata"]["name"]}
        for each in saved.objects()
    ]
    found += [{"apiVersion": api_version, "kind": "VirtualDisk", "name": name} for name in disks]
    return found


def bare(kind: Kind, obj: AnyObject) -> Object:
    """The object as somebody would write it down."""
    found: Object = {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {"namespace": obj["metadata"]["namespace"], "name": obj["metadata"]["name"]},
    }
    if labels := meta.labels(obj):
        found["metadata"]["labels"] = dict(labels)
    if notes := {key: value for key, value in meta.annotations(obj).items() if key != _LAST_APPLIED}:
        found["metadata"]["annotations"] = notes
    if "spec" in obj:
        found["spec"] = copy.deepcopy(obj["spec"])
    return found


async def _address(context: Context, snapshot: VirtualMachineSnapshot, machine: VirtualMachine) -> Object | None:
    """The address as it is to be had again; None where a new one will do, or there was none."""
    named, uid = machine["spec"].get("virtualMachineIPAddressName"), machine["metadata"]["uid"]
    found = await context.store.find_all(VIRTUAL_MACHINE_IP_ADDRESS, machine["metadata"]["namespace"])
    if named:
        mine = [each for each in found if each["metadata"]["name"] == named]
    else:
        # One that was made for it stays its own also where its owner was taken away.
        mine = [each for each in found if meta.is_owned_by(each, uid)]
        mine += [each for each in found if meta.labels(each).get(names.VM_UID_LABEL) == uid]
    if not mine:
        if named:
            raise PermanentError(f'VirtualMachineIPAddress "{named}" does not exist.')
        return None
    kept = bare(VIRTUAL_MACHINE_IP_ADDRESS, mine[0])
    kept["metadata"].pop("labels", None)
    address = (mine[0].get("status") or {}).get("address")
    if kept["spec"]["type"] == IPAddressType.STATIC:
        return kept
    if snapshot["spec"]["keepIPAddress"] == KeepIPAddress.NEVER:
        return kept if named else None
    if address:
        kept["spec"] = {"type": str(IPAddressType.STATIC), "staticIP": address}
    return kept
