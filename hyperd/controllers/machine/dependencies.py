"""What a machine needs before it may start, each as a condition: class, address, devices, provisioning, room.

Everything is looked up afresh from informers and the world; nothing is reserved by remembering it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from hyperd.controllers.address.controller import MADE_FOR_INDEX, OWNER_INDEX, index_addresses, made_for
from hyperd.controllers.address.release import held_by
from hyperd.controllers.context import Context
from hyperd.controllers.machine.devices import Device, Devices, Wake
from hyperd.controllers.machine.networking import CardAddress, Networking
from hyperd.controllers.machine.provisioning import check_provisioning
from hyperd.controllers.node.processors import with_features
from hyperd.errors import AlreadyExists, Forbidden
from hyperd.resources.all import (
    VIRTUAL_MACHINE,
    VIRTUAL_MACHINE_CLASS,
    VIRTUAL_MACHINE_IP_ADDRESS,
    VIRTUAL_MACHINE_IP_ADDRESS_LEASE,
)
from hyperd.resources.kinds.virtual_machine_class import VirtualMachineClassCondition, VirtualMachineClassPhase
from hyperd.resources.kinds.virtual_machine_conditions import (
    ClassReason,
    IPAddressReason,
    SizingPolicyReason,
    VirtualMachineCondition,
)
from hyperd.resources.kinds.virtual_machine_ip_address import IPAddressPhase, IPAddressType
from hyperd.resources.kinds.virtual_machine_ip_address_lease import lease_name
from hyperd.resources.values import names
from hyperd.resources.values.conditions import find_condition, remove_condition, set_condition
from hyperd.resources.values.meta import is_deleting, is_owned_by, owner_reference
from hyperd.resources.values.sizing import sizing_fault
from hyperd.runtime.controller import Key

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine import VirtualMachine
    from hyperd.resources.views.virtual_machine_class import VirtualMachineClass, VirtualMachineClassSpec
    from hyperd.resources.views.virtual_machine_ip_address import VirtualMachineIPAddress


@dataclass
class Dependencies:
    """What was found. ``blocked`` is the first reason why the machine cannot start, empty when it can."""

    blocked: str = ""
    settling: bool = False
    """What blocks is an address that is being leased: milliseconds away."""
    class_: VirtualMachineClass | None = None
    """The machine's class."""
    class_spec: VirtualMachineClassSpec | None = None
    """Its spec, with the features that its guests get."""
    address: IPv4Address | None = None
    address_name: str = ""
    devices: list[Device] = field(default_factory=list)
    """Those that are there: the spec's, then the attachments'."""
    waiting: dict[str, str] = field(default_factory=dict)
    """What the devices of attachments wait for, by the attachments' names; empty for those that are there."""
    user_data: bytes | None = None
    """For cloud-init, if that configures the guest."""
    cards: dict[str, CardAddress] = field(default_factory=dict)
    """The hardware addresses of the cards on additional networks, by ``networking.key_of``."""
    answers: Mapping[str, bytes] | None = None
    """Sysprep's files by their names, if that does."""

    def block(self, message: str) -> None:
        """Note why the machine must wait; the first reason is the one that users see."""
        self.blocked = self.blocked or message


def check_sizing(machine: VirtualMachine, class_name: str, found: Dependencies) -> None:
    """Policies may have changed since the machine was accepted. It is not started then; a running one runs on."""
    message = sizing_fault(class_name, found.class_spec or {}, machine["spec"])
    if not message:
        remove_condition(machine, VirtualMachineCondition.SIZING_POLICY_MATCHED)
        return
    _no_policy(machine, SizingPolicyReason.NOT_MATCHED, message)
    found.block(message)


def check_class(machine: VirtualMachine, class_: VirtualMachineClass | None, found: Dependencies) -> None:
    """Whether the machine's class is there and fits it; ``class_`` is what has its name."""
    name = machine["spec"].get("virtualMachineClassName", "")
    if class_ is None:
        message = f'VirtualMachineClass "{name}" does not exist.'
        _no_policy(machine, SizingPolicyReason.CLASS_NOT_FOUND, message)
    elif class_["metadata"].get("deletionTimestamp"):
        message = f'VirtualMachineClass "{name}" is being deleted.'
        _no_policy(machine, SizingPolicyReason.CLASS_TERMINATING, message)
    else:
        found.class_, found.class_spec = class_, with_features(class_)
        check_sizing(machine, name, found)
        if (class_.get("status") or {}).get("phase") == VirtualMachineClassPhase.READY:
            set_condition(machine, VirtualMachineCondition.CLASS_READY, True, reason=ClassReason.READY)
            return
        why = (find_condition(class_, VirtualMachineClassCondition.READY) or {}).get("message") or ""
        message = f'VirtualMachineClass "{name}" is not Ready{": " if why else "."}{why}'
    reason = ClassReason.NOT_READY
    set_condition(machine, VirtualMachineCondition.CLASS_READY, False, reason=reason, message=message)
    found.block(message)


def _no_policy(machine: VirtualMachine, reason: SizingPolicyReason, message: str) -> None:
    set_condition(machine, VirtualMachineCondition.SIZING_POLICY_MATCHED, False, reason=reason, message=message)


class Resolver:
    """Finds a machine's dependencies and writes what it found as conditions."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._machines = context.informer(VIRTUAL_MACHINE)
        self._classes = context.informer(VIRTUAL_MACHINE_CLASS)
        self._addresses = context.informer(VIRTUAL_MACHINE_IP_ADDRESS)
        self._leases = context.informer(VIRTUAL_MACHINE_IP_ADDRESS_LEASE)
        index_addresses(context)
        self._devices = Devices(context)
        self._networking = Networking(context)

    async def close(self) -> None:
        """Stop downloads into the cache."""
        await self._devices.close()

    async def resolve(self, machine: VirtualMachine, wake: Wake) -> Dependencies:
        """All dependencies of ``machine``; its conditions are set in place. ``wake`` queues it again."""
        found = Dependencies()
        self._class(machine, found)
        await self._address(machine, found)
        await self._networking.resolve(machine, found)
        await check_provisioning(self._context.store, machine, found)
        found.devices, missing = await self._devices.resolve(machine, wake)
        if missing:
            found.block(missing)
        attached, found.waiting = await self._devices.attached(machine, wake)
        found.devices.extend(attached)
        return found

    def _class(self, machine: VirtualMachine, found: Dependencies) -> None:
        name = machine["spec"].get("virtualMachineClassName", "")
        check_class(machine, self._classes.get("", name), found)

    async def _address(self, machine: VirtualMachine, found: Dependencies) -> None:
        if not self._context.settings.network.virtual_machine_cidrs:
            return
        meta = machine["metadata"]
        named = machine["spec"].get("virtualMachineIPAddressName")
        vmip = self._addresses.get(meta["namespace"], named) if named else self._own_address(machine)
        if vmip is None and named:
            message = f'VirtualMachineIPAddress "{named}" does not exist.'
            self._no_address(machine, found, IPAddressReason.NOT_READY, message)
            return
        if vmip is None:
            if problem := await self._make_address(machine):
                self._no_address(machine, found, IPAddressReason.NOT_READY, problem)
                return
            found.settling = not found.blocked
            self._no_address(machine, found, IPAddressReason.NOT_READY, "The address is being leased.")
            return
        status = vmip.get("status") or {}
        user = status.get("virtualMachineName")
        if status.get("phase") not in (IPAddressPhase.BOUND, IPAddressPhase.ATTACHED) or not status.get("address"):
            found.settling = not found.blocked and not named and not status
            message = f'VirtualMachineIPAddress "{vmip["metadata"]["name"]}" has no address yet.'
            self._no_address(machine, found, IPAddressReason.NOT_READY, message)
        elif user not in (None, "", meta["name"]):
            message = f'VirtualMachineIPAddress "{vmip["metadata"]["name"]}" is used by virtual machine {user}.'
            self._no_address(machine, found, IPAddressReason.NOT_AVAILABLE, message)
        elif not user:
            # Several may name it: it says whose it is before anybody begins with it.
            found.settling = not found.blocked
            message = f'VirtualMachineIPAddress "{vmip["metadata"]["name"]}" does not say yet whose it is.'
            self._no_address(machine, found, IPAddressReason.NOT_READY, message)
        else:
            address = await self._leased(vmip, str(status["address"]))
            if address is None:
                message = f'VirtualMachineIPAddress "{vmip["metadata"]["name"]}" has no lease of its address.'
                self._no_address(machine, found, IPAddressReason.NOT_READY, message)
                return
            found.address = address
            found.address_name = vmip["metadata"]["name"]
            reason = IPAddressReason.READY
            set_condition(machine, VirtualMachineCondition.IP_ADDRESS_READY, True, reason=reason)

    async def _leased(self, vmip: VirtualMachineIPAddress, text: str) -> IPv4Address | None:
        """The address that a status tells, if there is the lease: its name is the address, nobody else's it is."""
        try:
            address = IPv4Address(text)
        except ValueError:
            return None
        lease = self._leases.get("", lease_name(address))
        if lease is None:
            # Newer than the informer, perhaps.
            lease = await self._context.store.find(VIRTUAL_MACHINE_IP_ADDRESS_LEASE, "", lease_name(address))
        return address if lease is not None and held_by(lease, vmip) else None

    def _no_address(
        self, machine: VirtualMachine, found: Dependencies, reason: IPAddressReason, message: str
    ) -> None:
        set_condition(machine, VirtualMachineCondition.IP_ADDRESS_READY, False, reason=reason, message=message)
        found.block(message)

    def _own_address(self, machine: VirtualMachine) -> VirtualMachineIPAddress | None:
        """The one that it owns, or that was made for it and is to outlive it: that has no owner, and the label."""
        meta = machine["metadata"]
        for index in (OWNER_INDEX, MADE_FOR_INDEX):
            for item in self._addresses.by_index(index, meta["uid"]):
                if item.namespace == meta["namespace"]:
                    return item.object()
        return None

    async def _make_address(self, machine: VirtualMachine) -> str:
        """An address of the machine's own; its name follows from the uid, so that a crash makes no second.

        Returns why there is none, empty when there is or will be one.
        """
        meta = machine["metadata"]
        name = f"{meta['name']}-{hashlib.sha256(meta['uid'].encode()).hexdigest()[:5]}"
        body = {
            "apiVersion": VIRTUAL_MACHINE_IP_ADDRESS.api_version,
            "kind": VIRTUAL_MACHINE_IP_ADDRESS.kind,
            "metadata": {
                "namespace": meta["namespace"],
                "name": name,
                "labels": {names.VM_UID_LABEL: meta["uid"]},
                "ownerReferences": [owner_reference(machine)],
            },
            "spec": {"type": IPAddressType.AUTO},
        }
        try:
            await self._context.store.create(VIRTUAL_MACHINE_IP_ADDRESS, meta["namespace"], body)
        except AlreadyExists:
            # The informer is behind, or it goes with the old machine of this name.
            there = await self._context.store.find(VIRTUAL_MACHINE_IP_ADDRESS, meta["namespace"], name)
            if (
                there is None
                or is_deleting(there)
                or is_owned_by(there, meta["uid"])
                or meta["uid"] in made_for(there)
            ):
                return ""
            return (
                f'VirtualMachineIPAddress "{name}" is this virtual machine\'s no more: name it in '
                "spec.virtualMachineIPAddressName to use it, or delete it."
            )
        except Forbidden as err:
            return err.message
        return ""


def machine_key(machine: VirtualMachine) -> Key:
    """The queue key of a machine."""
    return Key(machine["metadata"]["namespace"], machine["metadata"]["name"])
