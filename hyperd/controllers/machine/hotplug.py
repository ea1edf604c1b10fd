"""Brings the devices of a guest that runs to those of its spec and its attachments.

What the guest has is what libvirt says, told apart by serials; whose each device is stands in the domain's record,
which is written before a device is plugged in and after it is out again. So each step may be repeated, and a crash
between two leaves no device of which nobody knows. Nothing is unplugged because its owner is absent: only where
the spec, or the deletion of an attachment, is seen to ask for that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hyperd.controllers import usage
from hyperd.controllers.attachment.attachments import Attachments
from hyperd.controllers.context import Context
from hyperd.controllers.machine import applied
from hyperd.controllers.machine.dependencies import Dependencies
from hyperd.controllers.machine.devices import Device
from hyperd.controllers.machine.held import Held, seed_serial, serial_of
from hyperd.controllers.machine.holders import require_free
from hyperd.controllers.machine.instance import Instances
from hyperd.controllers.machine.known_slots import shown
from hyperd.controllers.machine.plan import disk_of, held_of
from hyperd.crashpoints import CrashPoint, reached
from hyperd.errors import HyperdError, ServiceUnavailable
from hyperd.hypervisor.slots import Slot, decode, disk_key, encode
from hyperd.hypervisor.state import DomainInfo, DomainState
from hyperd.resources.all import VIRTUAL_DISK, VIRTUAL_MACHINE_BLOCK_DEVICE_ATTACHMENT
from hyperd.resources.schema.kind import AnyObject
from hyperd.resources.values.names import MAX_BLOCK_DEVICES

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine import VirtualMachine

RETRY_SECONDS = 5.0
_SEED = "disk of cloud-init"
"""In place of an attachment's name, which none can be."""
_LEAVES = "The device is attached once the migration of the virtual machine has ended."
_UNRELEASED = "The guest has not released the device yet."


@dataclass(frozen=True)
class Change:
    """What is to be done to a guest's devices; the order within is that of doing it."""

    unplug: list[Held]
    plug: list[Device]


class HotPlug:
    """Plugs and unplugs. ``troubles`` says what went wrong, or is waited for, by machine uid and device uid."""

    def __init__(self, context: Context, instances: Instances) -> None:
        self._context = context
        self._instances = instances
        self._attachments = Attachments(context)
        self._troubles: dict[str, dict[str, str]] = {}
        self._waiting: dict[str, Mapping[str, str]] = {}

    def trouble(self, machine: str, attachment: str) -> str:
        """What the device of an attachment waits for, as far as this daemon tried; empty for nothing."""
        return self._troubles.get(machine, {}).get(attachment) or self._waiting.get(machine, {}).get(
            attachment, ""
        )

    def troubled(self, machine: str) -> bool:
        """Whether something has to be tried again."""
        return bool(self._troubles.get(machine))

    def forget(self, uid: str) -> None:
        """The machine is gone, or off."""
        self._troubles.pop(uid, None)
        self._waiting.pop(uid, None)

    async def settle(
        self, machine: VirtualMachine, domain: DomainInfo, found: Dependencies, *, leaves: bool = False
    ) -> DomainInfo:
        """Take all steps that can be taken now; the domain as it is then.

        To a guest that ``leaves`` for another node nothing comes any more: what is there for it is there by now.
        """
        uid = domain.uid
        self._waiting[uid] = found.waiting
        if domain.state not in (DomainState.RUNNING, DomainState.PAUSED) or domain.reason == "starting-up":
            return domain
        if not (await self._instances.facts()).hot_plug or self._outdated(machine, domain):
            return domain
        told = self._troubles.get(uid, {}).get(_SEED, "")
        self._troubles[uid] = {}
        domain = await self._unseed(machine, domain, told)
        known = self._known(machine, domain)
        if not known:
            return domain
        domain = await self._note(machine, domain, known)
        change = self._change(machine, domain, found)
        for held in change.unplug:
            domain = await self._unplug(machine, domain, held)
        for device in change.plug:
            if leaves:
                self._tell(domain, device.attachment or device.name, _LEAVES)
            else:
                domain = await self._plug(machine, domain, device)
        return await self._tidy(machine, domain, found)

    def _outdated(self, machine: VirtualMachine, domain: DomainInfo) -> bool:
        """Whether the object is from before the domain: what it does not name may be asked for all the same."""
        return self._context.witness.waits or machine["metadata"].get("generation", 0) < domain.generation

    def _known(self, machine: VirtualMachine, domain: DomainInfo) -> tuple[Held, ...]:
        """The record's devices; of a record without them those of its configuration, none unless all are known."""
        running = applied.decode(domain.applied)
        if running.devices:
            return running.devices
        serials = {disk.serial for disk in domain.disks}
        found: list[Held] = []
        for ref in running.configuration.get("blockDeviceRefs", ()):
            source = self._source(machine, ref["kind"], ref["name"])
            if source is None or serial_of(source["metadata"]["uid"]) not in serials:
                return ()
            found.append({"kind": ref["kind"], "name": ref["name"], "uid": source["metadata"]["uid"]})
        return tuple(found)

    def _change(self, machine: VirtualMachine, domain: DomainInfo, found: Dependencies) -> Change:
        running = applied.decode(domain.applied)
        live = applied.devices_are_live(running.configuration)
        pluggable = applied.attachments_are_live(running.configuration)
        serials = {disk.serial for disk in domain.disks}
        unplug = [
            held
            for held in running.devices
            if serial_of(held["uid"]) in serials
            and not self._is_moved(machine, held)
            and (pluggable if held.get("attachment") else live)
            and self._unwanted(machine, held, found)
        ]
        plug = [
            device
            for device in found.devices
            if serial_of(device.uid) not in serials and (pluggable if device.attachment else live)
        ]
        return Change(unplug, plug)

    def _is_moved(self, machine: VirtualMachine, held: Held) -> bool:
        """Whether it is a disk that goes to another StorageClass: it is unplugged after that, which wakes us."""
        if held["kind"] != VIRTUAL_DISK.kind:
            return False
        disk = self._context.informer(VIRTUAL_DISK).get(machine["metadata"]["namespace"], held["name"])
        return disk is not None and disk["metadata"]["uid"] == held["uid"] and usage.is_moved(disk)

    def _unwanted(self, machine: VirtualMachine, held: Held, found: Dependencies) -> bool:
        """Whether nobody asks for the device any more, as far as that is sure."""
        if any(device.uid == held["uid"] for device in found.devices):
            return False
        source = self._source(machine, held["kind"], held["name"])
        if source is None:
            return False  # it may be what is asked for
        here = source["metadata"]["uid"] == held["uid"]
        device = (held["kind"], held["name"])
        if here and device in {(ref["kind"], ref["name"]) for ref in machine["spec"]["blockDeviceRefs"]}:
            return False
        name = held.get("attachment")
        if not name:
            return True
        attachment = self._attachments.find(machine["metadata"]["namespace"], name)
        if attachment is None:
            return False
        ref = attachment["spec"]["blockDeviceRef"]
        asked = here and device == (ref.get("kind"), ref.get("name"))
        return not asked or bool(attachment["metadata"].get("deletionTimestamp"))

    async def _plug(self, machine: VirtualMachine, domain: DomainInfo, device: Device) -> DomainInfo:
        running = applied.decode(domain.applied)
        who, others = (
            device.attachment or device.name,
            [one for one in running.devices if one["uid"] != device.uid],
        )
        if len(others) >= MAX_BLOCK_DEVICES:
            return self._tell(domain, who, f"{len(others)} devices are attached already.")
        if clash := self._instances.claim_device(machine, device):
            return self._tell(domain, who, clash)
        try:
            if device.attachment and not await self._still_asked(machine, device):
                return domain
            source = device.image or await self._context.volumes.attach(device.uid)
            had = {**shown(machine, [device]), **decode(running.slots)}.get(_key(device.uid), Slot())
            domain = await self._note(machine, domain, (*others, held_of(device, hotplugged=True)))
            if device.kind == VIRTUAL_DISK.kind:
                await require_free(self._context, machine["metadata"]["namespace"], device.name)
            reached(CrashPoint.VM_BEFORE_PLUG)
            await self._context.hypervisor.attach_disk(domain.uid, disk_of(device, source, scsi=True), had)
            reached(CrashPoint.VM_AFTER_PLUG)
        except ServiceUnavailable:
            raise
        except HyperdError as err:
            self._event(machine, f'{device.kind} "{device.name}" cannot be attached: {err.message}')
            domain = await self._looked(domain)
            if device.image is None and not _has(domain, device.uid):
                await self._instances.let_go(domain.uid, device.uid)
            return self._tell(domain, who, err.message)
        finally:
            self._instances.release(machine)
        return await self._looked(domain)

    async def _still_asked(self, machine: VirtualMachine, device: Device) -> bool:
        """Asked of the store: an attachment whose deletion began is not plugged in any more."""
        where = (machine["metadata"]["namespace"], device.attachment)
        fresh = await self._context.store.find(VIRTUAL_MACHINE_BLOCK_DEVICE_ATTACHMENT, *where)
        return fresh is not None and not fresh["metadata"].get("deletionTimestamp")

    async def _unplug(self, machine: VirtualMachine, domain: DomainInfo, held: Held) -> DomainInfo:
        who, what = held.get("attachment") or held["name"], f'{held["kind"]} "{held["name"]}"'
        return await self._detach(machine, domain, serial_of(held["uid"]), who, what)

    async def _unseed(self, machine: VirtualMachine, domain: DomainInfo, told: str) -> DomainInfo:
        """Take away what cloud-init configured the guest by, once its spec has nothing of that any more.

        What may be secret of it stays within the guest's reach no longer than it is asked for. ``told`` is the
        trouble with that when it was tried last: no attachment shows it, so an event does, once.
        """
        running, serial = applied.decode(domain.applied), seed_serial(domain.uid)
        if machine["spec"].get("provisioning") or not applied.has_live_seed(running.configuration):
            return domain
        if any(disk.serial == serial for disk in domain.disks):
            domain = await self._detach(machine, domain, serial, _SEED, f"The {_SEED}")
            if any(disk.serial == serial for disk in domain.disks):
                if self.trouble(domain.uid, _SEED) == _UNRELEASED != told:
                    self._event(machine, f"The {_SEED} cannot be detached: {_UNRELEASED}")
                return domain
        await self._context.seeds.remove(domain.uid)
        return await self._mark(machine, domain, applied.without_seed(applied.decode(domain.applied)))

    async def _detach(
        self, machine: VirtualMachine, domain: DomainInfo, serial: str, who: str, what: str
    ) -> DomainInfo:
        try:
            reached(CrashPoint.VM_BEFORE_UNPLUG)
            gone = await self._context.hypervisor.detach_disk(domain.uid, serial)
        except ServiceUnavailable:
            raise
        except HyperdError as err:
            self._event(machine, f"{what} cannot be detached: {err.message}")
            return self._tell(domain, who, err.message)
        if not gone:
            return self._tell(domain, who, _UNRELEASED)
        reached(CrashPoint.VM_AFTER_UNPLUG)
        return await self._looked(domain)

    async def _tidy(self, machine: VirtualMachine, domain: DomainInfo, found: Dependencies) -> DomainInfo:
        """Let go of the volumes of what is out, and note what is in: where it sits, and who asks for it now."""
        running, serials = applied.decode(domain.applied), {disk.serial for disk in domain.disks}
        wanted = {device.uid: device for device in found.devices}
        kept: list[Held] = []
        for held in running.devices:
            if serial_of(held["uid"]) in serials:
                device = wanted.get(held["uid"])
                kept.append(held if device is None else held_of(device, hotplugged=held.get("hotplugged", False)))
            elif held["uid"] not in wanted:
                await self._instances.let_go(domain.uid, held["uid"])
        return await self._note(machine, domain, kept)

    async def _note(self, machine: VirtualMachine, domain: DomainInfo, devices: Iterable[Held]) -> DomainInfo:
        """Write the record where it says something else."""
        running, keys = applied.decode(domain.applied), {disk_key(disk.serial) for disk in domain.disks}
        noted = replace(running, devices=tuple(devices))
        if applied.devices_are_live(running.configuration):
            own = [held for held in noted.devices if not held.get("attachment") and _key(held["uid"]) in keys]
            noted = applied.with_devices(noted, machine["spec"], own)
        if keys != {key for key in running.slots if key.startswith(disk_key(""))}:
            slots = await self._context.hypervisor.slots(domain.uid)
            others = {key: slot for key, slot in running.slots.items() if not key.startswith(disk_key(""))}
            noted = replace(noted, slots={**others, **encode(slots)})
        return domain if noted == running else await self._mark(machine, domain, noted)

    async def _mark(self, machine: VirtualMachine, domain: DomainInfo, record: applied.Applied) -> DomainInfo:
        generation = max(domain.generation, machine["metadata"].get("generation", 0))
        marked = replace(domain, applied=record.encode(), generation=generation)
        await self._context.hypervisor.mark(marked)
        return marked

    async def _looked(self, domain: DomainInfo) -> DomainInfo:
        """As it is now; one that ended meanwhile is looked at anew by its own event."""
        return await self._context.hypervisor.info(domain.uid) or domain

    def _source(self, machine: VirtualMachine, kind: str, name: str) -> AnyObject | None:
        known = usage.DEVICE_KINDS.get(kind)
        if known is None:
            return None
        return self._context.informer(known).get(
            machine["metadata"]["namespace"] if known.namespaced else "", name
        )

    def _tell(self, domain: DomainInfo, who: str, message: str) -> DomainInfo:
        self._troubles.setdefault(domain.uid, {})[who] = message
        return domain

    def _event(self, machine: VirtualMachine, message: str) -> None:
        self._context.events.event(machine, "Warning", "BlockDeviceHotPlugFailed", message)


def _has(domain: DomainInfo, uid: str) -> bool:
    """Whether the guest has the device of the source ``uid``."""
    serial = serial_of(uid)
    return any(disk.serial == serial for disk in domain.disks)


def _key(uid: str) -> str:
    return disk_key(serial_of(uid))
