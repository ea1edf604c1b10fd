"""VirtualMachineIPAddress and its Lease: which VM has which address.

The lease object is the lock: its name is the address, so two claims of one address end in AlreadyExists. After an
address is released the lease keeps it for its namespace for a while, then goes.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Collection, Iterable, Mapping
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, ClassVar

from hyperd.controllers import usage
from hyperd.controllers.address import share
from hyperd.controllers.address.release import held_by, names_address, release_lease
from hyperd.controllers.address.taken import taken_addresses
from hyperd.controllers.context import Context
from hyperd.crashpoints import CrashPoint, reached
from hyperd.errors import AlreadyExists
from hyperd.network import addresses
from hyperd.resources.all import (
    VIRTUAL_MACHINE,
    VIRTUAL_MACHINE_IP_ADDRESS,
    VIRTUAL_MACHINE_IP_ADDRESS_LEASE,
)
from hyperd.resources.kinds.virtual_machine_ip_address import (
    IPAddressAttachedReason,
    IPAddressBoundReason,
    IPAddressCondition,
    IPAddressPhase,
)
from hyperd.resources.kinds.virtual_machine_ip_address_lease import address_of_lease, lease_name
from hyperd.resources.kinds.virtual_machine_status import VirtualMachinePhase
from hyperd.resources.schema.kind import Kind
from hyperd.resources.values import names
from hyperd.resources.values.conditions import set_condition
from hyperd.runtime.controller import Controller, Key, Mapper, Result
from hyperd.runtime.status import make_sure, remove_finalizer, update_status
from hyperd.store.interface import Item, PatchType

if TYPE_CHECKING:
    from hyperd.resources.views.base import Resource
    from hyperd.resources.views.virtual_machine import VirtualMachine
    from hyperd.resources.views.virtual_machine_ip_address import VirtualMachineIPAddress
    from hyperd.resources.views.virtual_machine_ip_address_lease import VirtualMachineIPAddressLease

OWNER_INDEX = "owner"
MADE_FOR_INDEX = "made for"
HOLDER_INDEX = "holder"
NAMESPACE_INDEX = "namespace"
_RETRY_SECONDS = 5.0
_HELD = (IPAddressPhase.BOUND, IPAddressPhase.ATTACHED)


def index_addresses(context: Context) -> None:
    """Make addresses findable by the uid of the VM that owns them, and of the one that they were made for."""
    context.informer(VIRTUAL_MACHINE_IP_ADDRESS).add_index(OWNER_INDEX, _owner_uids)
    context.informer(VIRTUAL_MACHINE_IP_ADDRESS).add_index(MADE_FOR_INDEX, made_for)


def made_for(vmip: VirtualMachineIPAddress) -> list[str]:
    """uid of the VM that it was made for; it stays that one's when its owner is taken away, to outlive it."""
    uid = (vmip["metadata"].get("labels") or {}).get(names.VM_UID_LABEL)
    return [uid] if uid else []


class AddressController(Controller):
    """Binds addresses to leases and shows who uses them."""

    name = "virtualmachineipaddress"
    kind = VIRTUAL_MACHINE_IP_ADDRESS
    cluster_wide = True
    writes: ClassVar = {VIRTUAL_MACHINE_IP_ADDRESS_LEASE: ("create", "patch")}

    def __init__(self, context: Context) -> None:
        super().__init__()
        self._context = context
        self._addresses = context.informer(VIRTUAL_MACHINE_IP_ADDRESS)
        self._leases = context.informer(VIRTUAL_MACHINE_IP_ADDRESS_LEASE)
        self._leases.add_index(HOLDER_INDEX, _holder_uids)
        self._leases.add_index(NAMESPACE_INDEX, _namespaces)
        self._machines = context.informer(VIRTUAL_MACHINE)
        self._machines.add_index("address", _named_addresses)
        self._machines.add_index(usage.UID_INDEX, usage.uid_of)
        self._allocating = asyncio.Lock()
        self._granted: dict[IPv4Address, str] = {}
        """Leases written by this process that the informer may not show yet, with their namespaces."""
        index_addresses(context)

    def watches(self) -> Mapping[Kind, Mapper]:
        return {VIRTUAL_MACHINE_IP_ADDRESS_LEASE: _address_of_lease, VIRTUAL_MACHINE: self._address_of_machine}

    def _address_of_machine(self, item: Item[VirtualMachine]) -> Iterable[Key]:
        for index in (OWNER_INDEX, MADE_FOR_INDEX):
            for address in self._addresses.by_index(index, item.uid):
                yield Key(address.namespace, address.name)
        for name in _names_of_machine(item.object()):
            yield Key(item.namespace, name)

    async def reconcile(self, key: Key) -> Result | None:
        before = self._addresses.get(*key)
        if before is None:
            return None
        after = copy.deepcopy(before)
        after.setdefault("status", {})
        machine = self._user(before)
        if before["metadata"].get("deletionTimestamp"):
            return await self._delete(before, machine)
        result = await self._bind(after)
        if after["status"].get("phase") in _HELD:
            self._show_user(after, machine)
        await update_status(self._context.store, self.kind, before, after)
        return result

    async def _bind(self, vmip: VirtualMachineIPAddress) -> Result | None:
        status = vmip["status"]
        if status.get("address"):
            try:
                bound = IPv4Address(status["address"])
            except ValueError:
                # No address, so not one that was leased.
                del status["address"]
            else:
                return await self._check_lease(vmip, bound)
        wanted = vmip["spec"].get("staticIP")
        if wanted is None:
            address = await self._allocate(vmip)
        else:
            address = await self._claim(vmip, IPv4Address(wanted))
        if address is None:
            status["phase"] = IPAddressPhase.PENDING
            return Result(_RETRY_SECONDS)
        status["address"] = str(address)
        status["phase"] = IPAddressPhase.BOUND
        status["observedGeneration"] = vmip["metadata"]["generation"]
        set_condition(vmip, IPAddressCondition.BOUND, True, reason=IPAddressBoundReason.BOUND)
        return None

    async def _check_lease(self, vmip: VirtualMachineIPAddress, address: IPv4Address) -> Result | None:
        """The address is ours as long as the lease says so; a lost lease is made again."""
        status = vmip["status"]
        status["observedGeneration"] = vmip["metadata"]["generation"]
        lease = self._leases.get("", lease_name(address))
        if lease is None and address not in self._granted:
            if await self._claim(vmip, address, again=True) is None:
                status["phase"] = IPAddressPhase.PENDING
                return Result(_RETRY_SECONDS)
        elif lease is not None and not held_by(lease, vmip):
            message = f"The lease of {address} belongs to another object."
            status["phase"] = IPAddressPhase.PENDING
            reason = IPAddressBoundReason.LEASE_ALREADY_EXISTS
            set_condition(vmip, IPAddressCondition.BOUND, False, reason=reason, message=message)
            return Result(_RETRY_SECONDS)
        if status.get("phase") not in _HELD:
            status["phase"] = IPAddressPhase.BOUND
        set_condition(vmip, IPAddressCondition.BOUND, True, reason=IPAddressBoundReason.BOUND)
        return None

    async def _allocate(self, vmip: VirtualMachineIPAddress) -> IPv4Address | None:
        """The lowest free address, with its lease written."""
        cidrs = self._context.settings.network.virtual_machine_cidrs
        async with self._allocating:
            taken = self._granted.keys() | await self._strangers()
            for item in self._leases.by_index(HOLDER_INDEX, vmip["metadata"]["uid"]):
                # Written before a crash, and not yet in the status.
                mine = address_of_lease(item.name)
                if mine is not None:
                    return mine
            taken |= _leased(self._leases.items())
            if self._beyond_share(vmip, taken):
                return None
            while (address := addresses.lowest_free(cidrs, taken)) is not None:
                if await self._write_lease(vmip, address):
                    return address
                taken.add(address)
        message = f"All addresses of {', '.join(map(str, cidrs)) or 'the (empty) virtualMachineCIDRs'} are leased."
        reason = IPAddressBoundReason.LEASE_NOT_FOUND
        set_condition(vmip, IPAddressCondition.BOUND, False, reason=reason, message=message)
        return None

    def _beyond_share(self, vmip: VirtualMachineIPAddress, taken: Collection[IPv4Address]) -> bool:
        """Whether its namespace has its share of the addresses, which the object is then told."""
        network, namespace = self._context.settings.network, vmip["metadata"]["namespace"]
        mine = _leased(self._leases.by_index(NAMESPACE_INDEX, namespace))
        mine |= {address for address, holder in self._granted.items() if holder == namespace}
        cidrs, percent = network.virtual_machine_cidrs, network.kept_addresses_percent
        message = share.refusal(namespace, mine=mine, taken=taken, cidrs=cidrs, percent=percent)
        if message:
            reason = IPAddressBoundReason.LEASE_NOT_FOUND
            set_condition(vmip, IPAddressCondition.BOUND, False, reason=reason, message=message)
        return bool(message)

    async def _claim(
        self, vmip: VirtualMachineIPAddress, address: IPv4Address, *, again: bool = False
    ) -> IPv4Address | None:
        """That very address, if it is in range and nobody else's; ``again`` where it was had before."""
        if not addresses.contains(self._context.settings.network.virtual_machine_cidrs, address):
            message = f"{address} is outside of the configured virtualMachineCIDRs."
            reason = IPAddressBoundReason.OUT_OF_RANGE
            set_condition(vmip, IPAddressCondition.BOUND, False, reason=reason, message=message)
            return None
        async with self._allocating:
            lease = self._leases.get("", lease_name(address))
            strangers = await self._strangers()
            free = lease is None and address not in strangers
            if free and not again:
                taken = self._granted.keys() | strangers | _leased(self._leases.items())
                if self._beyond_share(vmip, taken):
                    return None
            if free and await self._write_lease(vmip, address):
                return address
            if lease is not None and await self._take_over(lease, vmip):
                return address
        message = f"{address} is leased to another object."
        reason = IPAddressBoundReason.LEASE_ALREADY_EXISTS
        set_condition(vmip, IPAddressCondition.BOUND, False, reason=reason, message=message)
        return None

    async def _strangers(self) -> set[IPv4Address]:
        """Addresses of guests that no machine knows, such as those made after a restored backup."""
        known = {item.uid for item in self._machines.items()}
        here = {address for uid, address in await self._context.network.routed() if uid not in known}
        elsewhere = await taken_addresses(self._context.store) if self._context.ownership.binds else set()
        return here | elsewhere

    async def _write_lease(self, vmip: VirtualMachineIPAddress, address: IPv4Address) -> bool:
        meta = vmip["metadata"]
        body = {
            "apiVersion": VIRTUAL_MACHINE_IP_ADDRESS_LEASE.api_version,
            "kind": VIRTUAL_MACHINE_IP_ADDRESS_LEASE.kind,
            "metadata": {
                "name": lease_name(address),
                "labels": {names.VMIP_UID_LABEL: meta["uid"]},
                "finalizers": [VIRTUAL_MACHINE_IP_ADDRESS_LEASE.finalizer],
            },
            "spec": {"virtualMachineIPAddressRef": {"namespace": meta["namespace"], "name": meta["name"]}},
        }
        # Before the write: the informer may hear of the lease sooner than its writer, and ends the grant then.
        self._granted[address] = meta["namespace"]
        try:
            await self._context.store.create(VIRTUAL_MACHINE_IP_ADDRESS_LEASE, "", body)
        except BaseException as err:
            self._granted.pop(address, None)
            if isinstance(err, AlreadyExists):
                return False
            raise
        reached(CrashPoint.LEASE_AFTER_CREATE)
        return True

    async def _take_over(self, lease: VirtualMachineIPAddressLease, vmip: VirtualMachineIPAddress) -> bool:
        """A released lease may go back to its namespace."""
        if names_address(lease, vmip):
            return True
        ref = lease["spec"].get("virtualMachineIPAddressRef")
        meta = vmip["metadata"]
        if ref is None or ref.get("name") or ref["namespace"] != meta["namespace"]:
            return False
        patch = {
            "metadata": {
                "resourceVersion": lease["metadata"]["resourceVersion"],
                "labels": {names.VMIP_UID_LABEL: meta["uid"]},
            },
            "spec": {"virtualMachineIPAddressRef": {"namespace": meta["namespace"], "name": meta["name"]}},
        }
        await self._context.store.patch(
            VIRTUAL_MACHINE_IP_ADDRESS_LEASE, "", lease["metadata"]["name"], PatchType.MERGE, patch
        )
        return True

    def forget_granted(self, address: IPv4Address) -> None:
        """The informer knows the lease, or its end, by now."""
        self._granted.pop(address, None)

    async def stand_down(self) -> None:
        """Who leads next allocates by the leases alone, and so does this daemon when it leads again."""
        self._granted.clear()

    def _user(self, vmip: VirtualMachineIPAddress) -> VirtualMachine | None:
        """The machine that has this address: one that names it, its owner, or the one that it was made for.

        Of several that name it one alone, which stays it.
        """
        meta = vmip["metadata"]
        naming: list[VirtualMachine] = [
            item.object() for item in self._machines.by_index("address", f"{meta['namespace']}/{meta['name']}")
        ]
        if naming:
            now = (vmip.get("status") or {}).get("virtualMachineName")
            return min(naming, key=lambda one: (one["metadata"]["name"] != now, one["metadata"]["name"]))
        for owner in meta.get("ownerReferences") or ():
            if owner.get("kind") == VIRTUAL_MACHINE.kind:
                machine: VirtualMachine | None = self._machines.get(meta["namespace"], owner["name"])
                if machine is not None and machine["metadata"]["uid"] == owner["uid"]:
                    return machine
        for uid in made_for(vmip):
            for item in self._machines.by_index(usage.UID_INDEX, uid):
                if item.namespace == meta["namespace"] and _is_made_for(vmip, item.object()):
                    return item.object()
        return None

    async def _user_in_store(self, vmip: VirtualMachineIPAddress) -> VirtualMachine | None:
        """The same asked of the store: what is not shown here may run all the same."""
        meta = vmip["metadata"]
        names_ = {
            owner["name"] for owner in meta.get("ownerReferences") or () if owner["kind"] == VIRTUAL_MACHINE.kind
        }
        names_.add(str((vmip.get("status") or {}).get("virtualMachineName") or ""))
        for name in sorted(filter(None, names_)):
            machine: VirtualMachine | None = await self._context.store.find(
                VIRTUAL_MACHINE, meta["namespace"], name
            )
            if machine is not None and (
                machine["metadata"]["uid"] in _owner_uids(vmip)
                or meta["name"] in _names_of_machine(machine)
                or _is_made_for(vmip, machine)
            ):
                return machine
        return None

    def _show_user(self, vmip: VirtualMachineIPAddress, machine: VirtualMachine | None) -> None:
        status = vmip["status"]
        if machine is None:
            status["phase"] = IPAddressPhase.BOUND
            status.pop("virtualMachineName", None)
            message = "No virtual machine uses the address."
            reason = IPAddressAttachedReason.VIRTUAL_MACHINE_NOT_FOUND
            set_condition(vmip, IPAddressCondition.ATTACHED, False, reason=reason, message=message)
            return
        status["phase"] = IPAddressPhase.ATTACHED
        status["virtualMachineName"] = machine["metadata"]["name"]
        set_condition(vmip, IPAddressCondition.ATTACHED, True, reason=IPAddressAttachedReason.ATTACHED)

    async def _delete(self, vmip: VirtualMachineIPAddress, machine: VirtualMachine | None) -> Result | None:
        """Held while a machine uses it; then the lease is released.

        An owner that goes may wait for what it owns, so that one does not wait for its owner.
        """
        if machine is None:
            machine = await self._user_in_store(vmip)
        if machine is not None:
            going = machine["metadata"].get("deletionTimestamp")
            if not going or machine["metadata"]["uid"] not in _owner_uids(vmip):
                return Result(_RETRY_SECONDS)
        await make_sure(self._context.store, self.kind, vmip)
        await release_lease(self._context.store, vmip)
        await remove_finalizer(self._context.store, self.kind, vmip)
        return None


def _leased(leases: Iterable[Item[VirtualMachineIPAddressLease]]) -> set[IPv4Address]:
    named = (address_of_lease(item.name) for item in leases)
    return {address for address in named if address is not None}


def _owner_uids(obj: Resource) -> list[str]:
    return [ref["uid"] for ref in obj["metadata"].get("ownerReferences") or ()]


def _is_made_for(vmip: VirtualMachineIPAddress, machine: VirtualMachine) -> bool:
    """Whether it was, and the machine names no other."""
    named = machine["spec"].get("virtualMachineIPAddressName")
    return not named and machine["metadata"]["uid"] in made_for(vmip)


def _holder_uids(lease: VirtualMachineIPAddressLease) -> list[str]:
    uid = (lease["metadata"].get("labels") or {}).get(names.VMIP_UID_LABEL)
    return [uid] if uid else []


def _namespaces(lease: VirtualMachineIPAddressLease) -> list[str]:
    ref = lease["spec"].get("virtualMachineIPAddressRef")
    namespace = ref.get("namespace") if ref else None
    return [namespace] if namespace else []


def _named_addresses(machine: VirtualMachine) -> list[str]:
    return [f"{machine['metadata']['namespace']}/{name}" for name in _names_of_machine(machine)]


def _names_of_machine(machine: VirtualMachine) -> list[str]:
    """The address that the spec names, and the one that the running guest has."""
    status = machine.get("status") or {}
    names_ = [machine["spec"].get("virtualMachineIPAddressName")]
    if status.get("phase") not in (None, "", VirtualMachinePhase.PENDING, VirtualMachinePhase.STOPPED):
        names_.append(status.get("virtualMachineIPAddressName"))
    return sorted({name for name in names_ if name})


def _address_of_lease(item: Item[VirtualMachineIPAddressLease]) -> Iterable[Key]:
    ref = item.object()["spec"].get("virtualMachineIPAddressRef")
    if ref is not None and ref.get("name"):
        yield Key(ref["namespace"], ref["name"])
