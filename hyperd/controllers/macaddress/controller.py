"""VirtualMachineMACAddress: which machine has which hardware address.

The lease is the lock: its name is the address, so two claims of one address end in AlreadyExists. It is written
before the address is shown, and found again by its holder's uid, so that a crash in between takes no second one.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar

from hyperd.controllers.context import Context
from hyperd.controllers.macaddress import hardware
from hyperd.controllers.macaddress.leases import end_lease, held_by, leases_of
from hyperd.errors import AlreadyExists
from hyperd.resources.all import (
    VIRTUAL_MACHINE,
    VIRTUAL_MACHINE_MAC_ADDRESS,
    VIRTUAL_MACHINE_MAC_ADDRESS_LEASE,
)
from hyperd.resources.kinds.virtual_machine_mac_address import (
    MACAddressAttachedReason,
    MACAddressBoundReason,
    MACAddressCondition,
    MACAddressPhase,
)
from hyperd.resources.kinds.virtual_machine_mac_address_lease import mac_lease_name
from hyperd.resources.schema.kind import Kind
from hyperd.resources.values import names
from hyperd.resources.values.conditions import set_condition
from hyperd.runtime.controller import Controller, Key, Mapper, Result
from hyperd.runtime.status import make_sure, remove_finalizer, update_status
from hyperd.store.interface import Item, Preconditions

if TYPE_CHECKING:
    from hyperd.resources.views.base import Resource
    from hyperd.resources.views.virtual_machine import VirtualMachine
    from hyperd.resources.views.virtual_machine_mac_address import VirtualMachineMACAddress
    from hyperd.resources.views.virtual_machine_mac_address_lease import VirtualMachineMACAddressLease

OWNER_INDEX = "owner"
_USER_INDEX = "mac"
_RETRY_SECONDS = 5.0
_TRIES = 100
_HELD = (MACAddressPhase.BOUND, MACAddressPhase.ATTACHED)


class MACAddressController(Controller):
    """Binds addresses to leases and shows who uses them."""

    name = "virtualmachinemacaddress"
    kind = VIRTUAL_MACHINE_MAC_ADDRESS
    cluster_wide = True
    writes: ClassVar = {
        VIRTUAL_MACHINE_MAC_ADDRESS_LEASE: ("create", "delete", "patch"),
        VIRTUAL_MACHINE_MAC_ADDRESS: ("delete",),
    }

    def __init__(self, context: Context) -> None:
        super().__init__()
        self._context = context
        self._addresses = context.informer(VIRTUAL_MACHINE_MAC_ADDRESS)
        self._addresses.add_index(OWNER_INDEX, _owner_uids)
        self._leases = context.informer(VIRTUAL_MACHINE_MAC_ADDRESS_LEASE)
        self._machines = context.informer(VIRTUAL_MACHINE)
        self._machines.add_index(_USER_INDEX, _used)

    def watches(self) -> Mapping[Kind, Mapper]:
        return {VIRTUAL_MACHINE_MAC_ADDRESS_LEASE: _address_of_lease, VIRTUAL_MACHINE: self._of_machine}

    def _of_machine(self, item: Item[VirtualMachine]) -> Iterable[Key]:
        for address in self._addresses.by_index(OWNER_INDEX, item.uid):
            yield Key(address.namespace, address.name)
        for name in hardware.names_of(item.object()):
            yield Key(item.namespace, name)

    async def reconcile(self, key: Key) -> Result | None:
        before = self._addresses.get(*key)
        if before is None:
            return None
        machine = self._user(before)
        if before["metadata"].get("deletionTimestamp"):
            return await self._delete(before, machine)
        if machine is None and self._is_left(before):
            this = Preconditions(uid=before["metadata"]["uid"])
            await self._context.store.delete(self.kind, *key, preconditions=this)
            return None
        after = copy.deepcopy(before)
        after.setdefault("status", {})["observedGeneration"] = before["metadata"]["generation"]
        bound = await self._bind(after)
        if after["status"].get("phase") in _HELD:
            _show_user(after, machine)
        await update_status(self._context.store, self.kind, before, after)
        return None if bound else Result(_RETRY_SECONDS)

    async def _bind(self, mac: VirtualMachineMACAddress) -> bool:
        """Have a lease for the address, and show it; False, with the reason, where there is none."""
        status = mac["status"]
        had, wanted = hardware.parsed(status.get("address")), hardware.parsed(mac["spec"].get("address"))
        known = self._leases.get("", mac_lease_name(had)) if had else None
        if known is not None and held_by(known, mac):
            mine = [had]  # its end would come here, so not all leases are asked for at each look
        else:
            mine = [hardware.parsed(_address_of(lease)) for lease in await leases_of(self._context.store, mac)]
        if had or wanted:
            address = had or wanted
            if address not in mine and not await self._lease(mac, address):
                status["phase"] = MACAddressPhase.PENDING
                message = f"{address} is leased to another object."
                reason = MACAddressBoundReason.LEASE_ALREADY_EXISTS
                set_condition(mac, MACAddressCondition.BOUND, False, reason=reason, message=message)
                return False
        else:
            address = mine[0] if mine else await self._generate(mac)
        status["address"] = address
        if status.get("phase") not in _HELD:
            status["phase"] = MACAddressPhase.BOUND
        set_condition(mac, MACAddressCondition.BOUND, True, reason=MACAddressBoundReason.BOUND)
        return True

    async def _generate(self, mac: VirtualMachineMACAddress) -> str:
        for _ in range(_TRIES):
            address = hardware.generate(self._context.store_id())
            if await self._lease(mac, address):
                return address
        raise RuntimeError(f"{_TRIES} random addresses of 16 million are all leased")

    async def _lease(self, mac: VirtualMachineMACAddress, address: str) -> bool:
        """Write the lease; False where the address is another's."""
        meta = mac["metadata"]
        body = {
            "apiVersion": VIRTUAL_MACHINE_MAC_ADDRESS_LEASE.api_version,
            "kind": VIRTUAL_MACHINE_MAC_ADDRESS_LEASE.kind,
            "metadata": {"name": mac_lease_name(address), "labels": {names.VMMAC_UID_LABEL: meta["uid"]}},
            "spec": {"virtualMachineMACAddressRef": {"namespace": meta["namespace"], "name": meta["name"]}},
        }
        try:
            await self._context.store.create(VIRTUAL_MACHINE_MAC_ADDRESS_LEASE, "", body)
        except AlreadyExists:
            return False
        return True

    def _user(self, mac: VirtualMachineMACAddress) -> VirtualMachine | None:
        """The machine that uses it: one alone does, and who does so now stays it."""
        meta = mac["metadata"]
        found: list[VirtualMachine] = [
            item.object() for item in self._machines.by_index(_USER_INDEX, f"{meta['namespace']}/{meta['name']}")
        ]
        now = (mac.get("status") or {}).get("virtualMachineName")
        found.sort(key=lambda machine: (machine["metadata"]["name"] != now, machine["metadata"]["name"]))
        return found[0] if found else None

    def _is_left(self, mac: VirtualMachineMACAddress) -> bool:
        """Whether it was made for a machine that is there, and whose spec is seen to ask for it no more."""
        for owner in mac["metadata"].get("ownerReferences") or ():
            if owner.get("kind") == VIRTUAL_MACHINE.kind:
                machine = self._machines.get(mac["metadata"]["namespace"], owner["name"])
                if machine is not None and machine["metadata"]["uid"] == owner["uid"]:
                    seen = (machine.get("status") or {}).get("observedGeneration")
                    return bool(seen == machine["metadata"]["generation"])
        return False

    async def _delete(self, mac: VirtualMachineMACAddress, machine: VirtualMachine | None) -> Result | None:
        """Held while a machine uses it, asked of the store as well; then its lease goes at once."""
        if machine is None:
            machine = await self._user_in_store(mac)
        if machine is not None:
            going = machine["metadata"].get("deletionTimestamp")
            if not going or machine["metadata"]["uid"] not in _owner_uids(mac):
                return Result(_RETRY_SECONDS)
        await make_sure(self._context.store, self.kind, mac)
        for lease in await leases_of(self._context.store, mac):
            await end_lease(self._context.store, lease)
        await remove_finalizer(self._context.store, self.kind, mac)
        return None

    async def _user_in_store(self, mac: VirtualMachineMACAddress) -> VirtualMachine | None:
        meta = mac["metadata"]
        known = {owner["name"] for owner in meta.get("ownerReferences") or ()}
        known.add(str((mac.get("status") or {}).get("virtualMachineName") or ""))
        for name in sorted(filter(None, known)):
            machine: VirtualMachine | None = await self._context.store.find(
                VIRTUAL_MACHINE, meta["namespace"], name
            )
            if machine is not None and meta["name"] in hardware.names_of(machine):
                return machine
        return None


def _show_user(mac: VirtualMachineMACAddress, machine: VirtualMachine | None) -> None:
    status = mac["status"]
    if machine is None:
        status["phase"] = MACAddressPhase.BOUND
        status.pop("virtualMachineName", None)
        message, reason = (
            "No virtual machine uses the address.",
            MACAddressAttachedReason.VIRTUAL_MACHINE_NOT_FOUND,
        )
        set_condition(mac, MACAddressCondition.ATTACHED, False, reason=reason, message=message)
        return
    status["phase"] = MACAddressPhase.ATTACHED
    status["virtualMachineName"] = machine["metadata"]["name"]
    set_condition(mac, MACAddressCondition.ATTACHED, True, reason=MACAddressAttachedReason.ATTACHED)


def _owner_uids(obj: Resource) -> list[str]:
    return [ref["uid"] for ref in obj["metadata"].get("ownerReferences") or ()]


def _used(machine: VirtualMachine) -> list[str]:
    return [f"{machine['metadata']['namespace']}/{name}" for name in hardware.names_of(machine)]


def _address_of(lease: VirtualMachineMACAddressLease) -> str:
    return lease["metadata"]["name"].removeprefix(mac_lease_name("")).replace("-", ":")


def _address_of_lease(item: Item[VirtualMachineMACAddressLease]) -> Iterable[Key]:
    ref = item.object()["spec"].get("virtualMachineMACAddressRef")
    if ref is not None:
        yield Key(ref["namespace"], ref["name"])
