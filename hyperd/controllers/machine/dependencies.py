"""What a machine needs before it may start, each as a condition: class, address, devices, provisioning, room.

Everything is looked up afresh from informers and the world; nothing is reserved by remembering it.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path

from hyperd.admission import cloud_init
from hyperd.controllers import usage
from hyperd.controllers.address import OWNER_INDEX, index_addresses
from hyperd.controllers.context import Context
from hyperd.controllers.duty import disk_node
from hyperd.controllers.image import reference_of
from hyperd.controllers.jobs import Jobs
from hyperd.controllers.processors import with_features
from hyperd.controllers.release import held_by
from hyperd.errors import AlreadyExists, Forbidden, HyperdError
from hyperd.hypervisor.spec import DiskFormat
from hyperd.imagefile.detect import ImageFormat
from hyperd.resources import names
from hyperd.resources.all import (
    CLUSTER_VIRTUAL_IMAGE,
    SECRET,
    VIRTUAL_DISK,
    VIRTUAL_IMAGE,
    VIRTUAL_MACHINE,
    VIRTUAL_MACHINE_CLASS,
    VIRTUAL_MACHINE_IP_ADDRESS,
    VIRTUAL_MACHINE_IP_ADDRESS_LEASE,
)
from hyperd.resources.conditions import find_condition, remove_condition, set_condition
from hyperd.resources.kind import Kind, Object
from hyperd.resources.meta import owner_reference
from hyperd.resources.sizing import sizing_fault
from hyperd.resources.storage_class import WAIT_FOR_FIRST_CONSUMER
from hyperd.resources.virtual_machine_ip_address_lease import lease_name
from hyperd.runtime.controller import Key
from registry.models import CachedImage

Wake = Callable[[], None]

_TAKEN = "is in use by another VM"
_AWAITS_CONSUMER = f"is {WAIT_FOR_FIRST_CONSUMER}, not Ready."
_USABLE_DISK_PHASES = ("Ready", "Resizing")


@dataclass(frozen=True)
class Device:
    """One block device that is there: where its bytes are and how QEMU is to read them."""

    kind: str
    name: str
    uid: str
    path: Path
    format: DiskFormat
    size: str
    readonly: bool
    cdrom: bool
    boot_order: int | None


@dataclass
class Dependencies:
    """What was found. ``blocked`` is the first reason why the machine cannot start, empty when it can."""

    blocked: str = ""
    settling: bool = False
    """What blocks is an address that is being leased: milliseconds away."""
    class_: Object = field(default_factory=dict)
    """The machine's class; empty when there is none."""
    class_spec: Object = field(default_factory=dict)
    """Its spec, with the features that its guests get."""
    address: IPv4Address | None = None
    address_name: str = ""
    devices: list[Device] = field(default_factory=list)
    user_data: bytes | None = None

    def block(self, message: str) -> None:
        """Note why the machine must wait; the first reason is the one that users see."""
        self.blocked = self.blocked or message


def check_sizing(machine: Object, class_name: str, found: Dependencies) -> None:
    """Policies may have changed since the machine was accepted. It is not started then; a running one runs on."""
    message = sizing_fault(class_name, found.class_spec, machine["spec"])
    if not message:
        remove_condition(machine, "SizingPolicyMatched")
        return
    set_condition(machine, "SizingPolicyMatched", False, reason="SizingPolicyNotMatched", message=message)
    found.block(message)


def check_class(machine: Object, class_: Object | None, found: Dependencies) -> None:
    """Whether the machine's class is there and fits it; ``class_`` is what has its name."""
    name = machine["spec"].get("virtualMachineClassName", "")
    if class_ is None:
        message = f'VirtualMachineClass "{name}" does not exist.'
        _no_policy(machine, "VirtualMachineClassNotFound", message)
    elif class_["metadata"].get("deletionTimestamp"):
        message = f'VirtualMachineClass "{name}" is being deleted.'
        _no_policy(machine, "VirtualMachineClassTerminating", message)
    else:
        found.class_, found.class_spec = class_, with_features(class_)
        check_sizing(machine, name, found)
        if (class_.get("status") or {}).get("phase") == "Ready":
            set_condition(machine, "VirtualMachineClassReady", True, reason="VirtualMachineClassReady")
            return
        why = (find_condition(class_, "Ready") or {}).get("message") or ""
        message = f'VirtualMachineClass "{name}" is not Ready{": " if why else "."}{why}'
    reason = "VirtualMachineClassNotReady"
    set_condition(machine, "VirtualMachineClassReady", False, reason=reason, message=message)
    found.block(message)


def _no_policy(machine: Object, reason: str, message: str) -> None:
    set_condition(machine, "SizingPolicyMatched", False, reason=reason, message=message)


class Resolver:
    """Finds a machine's dependencies and writes what it found as conditions."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._machines = context.informer(VIRTUAL_MACHINE)
        self._classes = context.informer(VIRTUAL_MACHINE_CLASS)
        self._addresses = context.informer(VIRTUAL_MACHINE_IP_ADDRESS)
        self._leases = context.informer(VIRTUAL_MACHINE_IP_ADDRESS_LEASE)
        index_addresses(context)
        self._images: Jobs[CachedImage] = Jobs()
        for kind in usage.DEVICE_KINDS.values():
            context.informer(kind)

    async def close(self) -> None:
        """Stop downloads into the cache."""
        await self._images.close()

    async def resolve(self, machine: Object, wake: Wake) -> Dependencies:
        """All dependencies of ``machine``; its conditions are set in place. ``wake`` queues it again."""
        found = Dependencies()
        self._class(machine, found)
        await self._address(machine, found)
        await self._provisioning(machine, found)
        await self._devices(machine, found, wake)
        return found

    def _class(self, machine: Object, found: Dependencies) -> None:
        name = machine["spec"].get("virtualMachineClassName", "")
        check_class(machine, self._classes.get("", name), found)

    async def _address(self, machine: Object, found: Dependencies) -> None:
        if not self._context.settings.network.virtual_machine_cidrs:
            return
        meta = machine["metadata"]
        named = machine["spec"].get("virtualMachineIPAddressName")
        vmip = self._addresses.get(meta["namespace"], named) if named else self._owned_address(machine)
        if vmip is None and named:
            message = f'VirtualMachineIPAddress "{named}" does not exist.'
            self._no_address(machine, found, "VirtualMachineIPAddressNotReady", message)
            return
        if vmip is None:
            if problem := await self._make_address(machine):
                self._no_address(machine, found, "VirtualMachineIPAddressNotReady", problem)
                return
            found.settling = not found.blocked
            self._no_address(machine, found, "VirtualMachineIPAddressNotReady", "The address is being leased.")
            return
        status = vmip.get("status") or {}
        user = status.get("virtualMachineName")
        if status.get("phase") not in ("Bound", "Attached") or not status.get("address"):
            found.settling = not found.blocked and not named and not status
            message = f'VirtualMachineIPAddress "{vmip["metadata"]["name"]}" has no address yet.'
            self._no_address(machine, found, "VirtualMachineIPAddressNotReady", message)
        elif user not in (None, "", meta["name"]):
            message = f'VirtualMachineIPAddress "{vmip["metadata"]["name"]}" is used by virtual machine {user}.'
            self._no_address(machine, found, "VirtualMachineIPAddressNotAvailable", message)
        else:
            address = await self._leased(vmip, str(status["address"]))
            if address is None:
                message = f'VirtualMachineIPAddress "{vmip["metadata"]["name"]}" has no lease of its address.'
                self._no_address(machine, found, "VirtualMachineIPAddressNotReady", message)
                return
            found.address = address
            found.address_name = vmip["metadata"]["name"]
            reason = "VirtualMachineIPAddressReady"
            set_condition(machine, "VirtualMachineIPAddressReady", True, reason=reason)

    async def _leased(self, vmip: Object, told: str) -> IPv4Address | None:
        """The address that a status tells, if there is the lease: its name is the address, nobody else's it is."""
        try:
            address = IPv4Address(told)
        except ValueError:
            return None
        lease = self._leases.get("", lease_name(address))
        if lease is None:
            # Newer than the informer, perhaps.
            lease = await self._context.store.find(VIRTUAL_MACHINE_IP_ADDRESS_LEASE, "", lease_name(address))
        return address if lease is not None and held_by(lease, vmip) else None

    def _no_address(self, machine: Object, found: Dependencies, reason: str, message: str) -> None:
        set_condition(machine, "VirtualMachineIPAddressReady", False, reason=reason, message=message)
        found.block(message)

    def _owned_address(self, machine: Object) -> Object | None:
        for item in self._addresses.by_index(OWNER_INDEX, machine["metadata"]["uid"]):
            if item.namespace == machine["metadata"]["namespace"]:
                return item.object()
        return None

    async def _make_address(self, machine: Object) -> str:
        """An address of the machine's own; its name follows from the uid, so that a crash makes no second.

        Returns why there is none, empty when there is or will be one.
        """
        meta = machine["metadata"]
        suffix = hashlib.sha256(meta["uid"].encode()).hexdigest()[:5]
        body: Object = {
            "apiVersion": VIRTUAL_MACHINE_IP_ADDRESS.api_version,
            "kind": VIRTUAL_MACHINE_IP_ADDRESS.kind,
            "metadata": {
                "namespace": meta["namespace"],
                "name": f"{meta['name']}-{suffix}",
                "labels": {names.VM_UID_LABEL: meta["uid"]},
                "ownerReferences": [owner_reference(machine)],
            },
            "spec": {"type": "Auto"},
        }
        try:
            await self._context.store.create(VIRTUAL_MACHINE_IP_ADDRESS, meta["namespace"], body)
        except AlreadyExists:
            # The informer is behind, or the old machine of this name is still going.
            return ""
        except Forbidden as err:
            return err.message
        return ""

    async def _provisioning(self, machine: Object, found: Dependencies) -> None:
        provisioning = machine["spec"].get("provisioning")
        if not provisioning:
            remove_condition(machine, "ProvisioningReady")
            return
        try:
            data, problem = await self._user_data(machine, provisioning)
        except HyperdError as err:
            # Nothing is known of it now: what runs keeps its seed, what is off waits.
            found.user_data = b""
            found.block(f"The user data cannot be read: {err.message}")
            return
        if problem:
            set_condition(machine, "ProvisioningReady", False, reason="ProvisioningNotReady", message=problem)
            found.block(problem)
            return
        found.user_data = data
        warnings = cloud_init.oddities(data)
        reason = "ProvisioningReadyWithWarnings" if warnings else "ProvisioningReady"
        message = " ".join(f"User data: {warning}." for warning in warnings)
        set_condition(machine, "ProvisioningReady", True, reason=reason, message=message)

    async def _user_data(self, machine: Object, provisioning: Object) -> tuple[bytes, str]:
        """User data, and what is wrong with it. Raises the store's errors.

        A Secret is read by its name each time, and not kept.
        """
        if provisioning["type"] == "UserData":
            return provisioning.get("userData", "").encode(), ""
        if provisioning["type"] != "UserDataRef":
            return b"", f"Provisioning by {provisioning['type']} is not built yet in this version."
        name = provisioning["userDataRef"]["name"]
        secret = await self._context.store.find(SECRET, machine["metadata"]["namespace"], name)
        if secret is None:
            return b"", f'Secret "{name}" does not exist.'
        if secret.get("type") != names.CLOUD_INIT_SECRET_TYPE:
            return b"", f'Secret "{name}" is not of type {names.CLOUD_INIT_SECRET_TYPE}.'
        for key in names.CLOUD_INIT_SECRET_KEYS:
            if key in (secret.get("data") or {}):
                try:
                    return base64.b64decode(secret["data"][key], validate=True), ""
                except binascii.Error:
                    return b"", f'Key {key} of Secret "{name}" is not base64.'
        return b"", f'Secret "{name}" has no key userData.'

    async def _devices(self, machine: Object, found: Dependencies, wake: Wake) -> None:
        problems = []
        for ref in machine["spec"].get("blockDeviceRefs") or ():
            device, problem = await self._device(machine, ref, wake)
            if device is not None:
                found.devices.append(device)
            else:
                problems.append(problem)
        if problems:
            message = " ".join(problems)
            self._tell_taken(machine, message)
            reason = "BlockDevicesNotReady"
            if all(problem.endswith(_AWAITS_CONSUMER) for problem in problems):
                reason = "WaitingForWaitForFirstConsumerBlockDevicesToBeReady"
            set_condition(machine, "BlockDevicesReady", False, reason=reason, message=message)
            found.block(message)
        else:
            set_condition(machine, "BlockDevicesReady", True, reason="BlockDevicesReady")

    def _tell_taken(self, machine: Object, message: str) -> None:
        """An event for a disk that another machine holds, once for each time that this comes up."""
        before = find_condition(machine, "BlockDevicesReady") or {}
        if _TAKEN in message and before.get("message") != message:
            self._context.events.event(machine, "Warning", "VirtualDiskAlreadyInUse", message)

    async def _device(self, machine: Object, ref: Object, wake: Wake) -> tuple[Device | None, str]:
        kind = usage.DEVICE_KINDS.get(ref.get("kind", ""))
        if kind is None:
            return None, f"Device kind {ref.get('kind')!r} is not known."
        namespace = machine["metadata"]["namespace"] if kind.namespaced else ""
        source = self._context.informer(kind).get(namespace, ref["name"])
        if source is None:
            return None, f'{kind.kind} "{ref["name"]}" does not exist.'
        if source["metadata"].get("deletionTimestamp"):
            return None, f'{kind.kind} "{ref["name"]}" is being deleted.'
        if kind is VIRTUAL_DISK:
            return self._disk(machine, source, ref)
        return await self._image(machine["metadata"]["uid"], kind, source, ref, wake)

    def _disk(self, machine: Object, disk: Object, ref: Object) -> tuple[Device | None, str]:
        meta, status = disk["metadata"], disk.get("status") or {}
        if status.get("phase") not in _USABLE_DISK_PHASES:
            phase = status.get("phase") or "Pending"
            progress = f" ({status['progress']})" if status.get("progress") and phase == "Provisioning" else ""
            return None, f'VirtualDisk "{meta["name"]}" is {phase}{progress}, not Ready.'
        if not self._context.duty.keeps(disk):
            return (
                None,
                f'VirtualDisk "{meta["name"]}" is on node {disk_node(disk)}, not on {self._context.node_name}.',
            )
        holder = self._other_holder(machine, meta["name"])
        if holder:
            return None, f'VirtualDisk "{meta["name"]}" {_TAKEN}, "{holder}".'
        return (
            Device(
                kind=VIRTUAL_DISK.kind,
                name=meta["name"],
                uid=meta["uid"],
                path=self._context.pool.path(meta["uid"]),
                format=DiskFormat.QCOW2,
                size=status.get("capacity", ""),
                readonly=False,
                cdrom=False,
                boot_order=ref.get("bootOrder"),
            ),
            "",
        )

    def _other_holder(self, machine: Object, disk: str) -> str:
        """The name of another machine whose domain is alive and has the disk."""
        namespace, uid = machine["metadata"]["namespace"], machine["metadata"]["uid"]
        domains = self._context.hypervisor.last_known
        for item in usage.machines_using(self._machines, VIRTUAL_DISK, namespace, disk):
            if item.uid == uid:
                continue
            domain = domains.get(item.uid)
            other = item.object()
            starting = (other.get("status") or {}).get("phase") in ("Starting", "Running", "Stopping", "Pause")
            if (domain is not None and domain.active) or (starting and usage.mounts(other, VIRTUAL_DISK, disk)):
                return item.name
        return ""

    def _image_uids(self) -> frozenset[str]:
        """Of all images that there are: their copies are still asked for."""
        informers = map(self._context.informer, (VIRTUAL_IMAGE, CLUSTER_VIRTUAL_IMAGE))
        return frozenset(item.uid for informer in informers for item in informer.items())

    async def _image(
        self, machine_uid: str, kind: Kind, image: Object, ref: Object, wake: Wake
    ) -> tuple[Device | None, str]:
        meta, status = image["metadata"], image.get("status") or {}
        if status.get("phase") != "Ready":
            return None, f'{kind.kind} "{meta["name"]}" is {status.get("phase") or "Pending"}, not Ready.'
        reference = reference_of(self._context, kind, image)
        job = self._images.get(meta["uid"])
        if job is None:
            self._images.forget_others(self._image_uids())
            job = self._images.start(
                meta["uid"], 0, lambda report: self._context.cache.ensure(reference, report), notify=wake
            )
        elif not job.done:
            job.tell(machine_uid, wake)
        if not job.done:
            percent = 100 * ((job.progress.fraction if job.progress else 0) or 0)
            return None, f'{kind.kind} "{meta["name"]}" is being copied to the node ({percent:.0f}%).'
        try:
            cached = job.outcome()
        except HyperdError as err:
            self._images.forget(meta["uid"])
            return None, f'{kind.kind} "{meta["name"]}" cannot be copied to the node: {err.message}'
        if not await asyncio.to_thread(cached.path.exists):
            self._images.forget(meta["uid"])
            wake()
            return None, f'{kind.kind} "{meta["name"]}" left the node\'s cache; copying it again.'
        return (
            Device(
                kind=kind.kind,
                name=meta["name"],
                uid=meta["uid"],
                path=cached.path,
                format=DiskFormat.QCOW2 if cached.format is ImageFormat.QCOW2 else DiskFormat.RAW,
                size=(status.get("size") or {}).get("unpacked", ""),
                readonly=True,
                cdrom=cached.cdrom,
                boot_order=ref.get("bootOrder"),
            ),
            "",
        )


def machine_key(machine: Object) -> Key:
    """The queue key of a machine."""
    return Key(machine["metadata"]["namespace"], machine["metadata"]["name"])
