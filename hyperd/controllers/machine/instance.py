"""The host's side of one machine: tap, lease, seed, domain. Joined here, found again by uid.

Order matters after a crash: link and seed come before the definition, the definition before the start; what has no
machine any more is removed by its uid.
"""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING

from hyperd.controllers import usage
from hyperd.controllers.address.taken import parsed
from hyperd.controllers.attachment.attachments import Attachments
from hyperd.controllers.context import Context
from hyperd.controllers.machine import applied, firmware, networking
from hyperd.controllers.machine.attached import device_entries
from hyperd.controllers.machine.dependencies import Dependencies
from hyperd.controllers.machine.devices import Device
from hyperd.controllers.machine.fence import Warrant
from hyperd.controllers.machine.held import serial_of
from hyperd.controllers.machine.holders import openers
from hyperd.controllers.machine.known_slots import known_slots
from hyperd.controllers.machine.plan import Plan, Start, links_of, make_plan
from hyperd.controllers.machine.status import Observed
from hyperd.controllers.machine.unreadable import damaged, unreadable
from hyperd.controllers.placement.interface import NOWHERE_ELSE, Quarters
from hyperd.crashpoints import CrashPoint, reached
from hyperd.errors import NotFound, PermanentError
from hyperd.hypervisor.facts.host import HostFacts, domain_type
from hyperd.hypervisor.spec import DomainType
from hyperd.hypervisor.state import DomainInfo, DomainState
from hyperd.imagefile import files
from hyperd.imagefile.handle import Handle
from hyperd.network.interface import Link
from hyperd.resources.all import VIRTUAL_DISK, VIRTUAL_IMAGE
from hyperd.resources.schema.kind import AnyObject, Kind

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine import VirtualMachine

_ENOUGH_SPACE_BYTES = 16 << 20
_TPM_DIR = Path("/var/lib/libvirt/swtpm")
_HAVING_VOLUMES: Mapping[str, Kind] = {kind.kind: kind for kind in (VIRTUAL_DISK, VIRTUAL_IMAGE)}
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Instances:
    """Makes, finds and removes what a machine is on this host."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._attachments = Attachments(context)
        self._facts: HostFacts | None = None
        self._claims: dict[str, str] = {}
        """Disk uid → machine uid for the moment of a start; afterwards the domain itself is the claim."""
        self._shared: dict[str, set[str]] = {}
        """Likewise, machine uid → images that it may have beside others."""

    def claim(self, machine: VirtualMachine, found: Dependencies) -> str:
        """Take the machine's disks for the moment of its start; a sentence when another start has one.

        What an attachment brings is left out then: it is plugged in once it is free.
        """
        for device in found.devices:
            if (clash := self.claim_device(machine, device)) and not device.attachment:
                self.release(machine)
                return clash
        uid = machine["metadata"]["uid"]
        found.devices = [one for one in found.devices if self._claims.get(one.uid, uid) == uid]
        return ""

    def claim_device(self, machine: VirtualMachine, device: Device) -> str:
        """Take one device, until ``release``; a sentence when another machine is taking it."""
        uid = machine["metadata"]["uid"]
        if device.kind != VIRTUAL_DISK.kind:
            self._shared.setdefault(uid, set()).add(device.uid)
            return ""
        if self._claims.setdefault(device.uid, uid) != uid:
            return f'VirtualDisk "{device.name}" is being taken by another virtual machine.'
        return ""

    def release(self, machine: VirtualMachine) -> None:
        """End the moment of ``claim``."""
        uid = machine["metadata"]["uid"]
        self._shared.pop(uid, None)
        for disk in [disk for disk, holder in self._claims.items() if holder == uid]:
            del self._claims[disk]

    async def facts(self) -> HostFacts:
        """The host's facts, as of the last connection."""
        self._facts = await self._context.hypervisor.facts()
        return self._facts

    async def plan(
        self,
        machine: VirtualMachine,
        found: Dependencies,
        *,
        operation: str,
        starting: bool,
        restarting: bool = False,
        quarters: Quarters = NOWHERE_ELSE,
    ) -> Plan:
        """The plan of a start as it would be now.

        One that is ``starting`` gets its disks attached and its seed anew; else it has no devices.
        """
        facts = await self.facts()
        meta = machine["metadata"]
        sources: dict[str, Handle] = {}
        if starting:
            for device in found.devices:
                sources[device.uid] = device.image or await self._context.volumes.attach(device.uid)
        else:
            found = replace(found, devices=[])
        seed, qemu = None, await self._context.hypervisor.qemu_version() if starting else ""
        if found.user_data is not None:
            seed = self._context.seeds.handle(meta["uid"])
            if starting:
                await self._context.seeds.write(meta["uid"], hostname=meta["name"], user_data=found.user_data)
        elif found.answers is not None:
            seed = self._context.seeds.handle(meta["uid"])
            if starting:
                await self._context.seeds.write_answers(meta["uid"], found.answers)
        elif starting:
            await self._context.seeds.remove(meta["uid"])  # of an earlier start
        known = await known_slots(machine, found.devices, self._context.hypervisor) if starting else None
        start = Start(
            sources=sources,
            seed=seed,
            cards=tuple(card for link in _wanted(machine, found) if (card := self._context.network.card(link))),
            operation=operation,
            store=self._context.store_id(),
            qemu=qemu,
            restarting=restarting,
            slots=known,
            assign=self._context.hypervisor.assign,
            quarters=quarters,
        )
        settings = self._context.settings
        type_ = domain_type(facts, settings.hypervisor)
        return make_plan(machine, found, start, settings=settings, facts=facts, type_=type_)

    async def start(
        self,
        machine: VirtualMachine,
        found: Dependencies,
        *,
        operation: str,
        quarters: Quarters,
        restarting: bool = False,
    ) -> tuple[DomainInfo, Observed]:
        """Link, define, start. What a failure leaves is taken up or removed by the next reconcile."""
        plan = await self.plan(
            machine, found, operation=operation, starting=True, restarting=restarting, quarters=quarters
        )
        for link in _wanted(machine, found):
            await self._context.network.connect(link, starting=True)
        reached(CrashPoint.VM_BEFORE_DEFINE)
        await self._context.hypervisor.define(plan.domain)
        reached(CrashPoint.VM_AFTER_DEFINE)
        await self._context.hypervisor.start_domain(plan.domain.uid)
        reached(CrashPoint.VM_AFTER_START)
        domain = await self._context.hypervisor.info(plan.domain.uid)
        if domain is None:
            raise NotFound(f"The domain {plan.domain.name} went away while it was started.")
        return await self.settle(domain), self.observe(machine, domain, found, plan=plan)

    async def settle(self, domain: DomainInfo) -> DomainInfo:
        """The domain lives: what it was ended for is done, or its moment has passed."""
        running = applied.decode(domain.applied)
        if not running.restarting:
            return domain
        settled = replace(domain, applied=replace(running, restarting=False).encode())
        await self._context.hypervisor.mark(settled)
        return settled

    async def keep(self, machine: VirtualMachine, domain: DomainInfo, found: Dependencies) -> Observed:
        """Make sure that a living domain has its link, which a restart of the daemon or of a device may cost."""
        running = applied.decode(domain.applied)
        if running.address:
            # The guest keeps the address that it got, whatever the spec names by now.
            address = IPv4Address(running.address)
            found = replace(found, address=address, address_name=running.address_name)
        # Of the guest that runs, whether or not this host could run what its spec asks for by now.
        cards = networking.decode(running.cards)
        for link in links_of(machine, found.address, running.configuration.get("networks"), cards):
            await self._context.network.connect(link)
        try:
            plan = await self.plan(machine, found, operation=running.operation, starting=False)
        except PermanentError:
            return self.observe(machine, domain, found)
        nothing = plan.domain.firmware_log is not None and await asyncio.to_thread(
            firmware.found_nothing, plan.domain.firmware_log
        )
        paused = domain.state is DomainState.PAUSED and domain.reason == "ioerror"
        why = unreadable(self._context, machine) if paused else ""
        return self.observe(machine, domain, found, plan=plan, unbootable=nothing, vain=why)

    async def link(self, uid: str, hostname: str, address: IPv4Address) -> None:
        """Make sure of the link of a guest that runs, by its address alone."""
        await self._context.network.connect(Link(uid, hostname, address))

    async def keep_link(self, domain: DomainInfo) -> None:
        """Make sure of the link of a guest that runs, by what its domain says, whatever its machine is by now."""
        address = parsed(applied.decode(domain.applied).address)
        if domain.active and address is not None:
            await self.link(domain.uid, domain.vm_name, address)

    def observe(
        self,
        machine: VirtualMachine,
        domain: DomainInfo | None,
        found: Dependencies,
        *,
        plan: Plan | None = None,
        unfit: str = "",
        quota: str = "",
        failure: str = "",
        unbootable: bool = False,
        vain: str = "",
    ) -> Observed:
        """What the status is made from, as far as it is known now."""

        def source(kind: str, name: str) -> AnyObject | None:
            known = usage.DEVICE_KINDS.get(kind)
            if known is None:
                return None
            return self._context.informer(known).get(
                machine["metadata"]["namespace"] if known.namespaced else "", name
            )

        facts = self._facts
        return Observed(
            domain=domain,
            found=found,
            node_name=self._context.node_name,
            bound=self._context.ownership.binds,
            devices=device_entries(machine, domain, source, self._attachments.accepted(machine)),
            pool_unfit=unfit,
            quota=quota,
            failure=failure,
            unbootable=unbootable,
            unreadable=vain,
            emulated=plan is not None and plan.domain.domain_type is DomainType.QEMU,
            note=plan.note if plan is not None else "",
            libvirt_version=facts.libvirt_version if facts is not None else "",
        )

    async def resume_if_space(self, machine: VirtualMachine, domain: DomainInfo) -> None:
        """Let a guest go on that an I/O error paused, once its volumes have space, and none comes damaged."""
        if damaged(self._context, machine):
            return
        serials = {disk.serial for disk in domain.disks}
        for volume in await self._context.volumes.inventory():
            if serial_of(volume.uid) in serials:
                space = await self._context.volumes.usage(volume.uid)
                if space.available < _ENOUGH_SPACE_BYTES:
                    return
        await self._context.hypervisor.resume(domain.uid)

    async def detach(self, machine: VirtualMachine) -> None:
        """Let go of the volumes that the machine, whose domain is off, had attached, unless another has them."""
        meta = machine["metadata"]
        for kind, name in sorted(set(usage.references(machine))):
            of = _HAVING_VOLUMES.get(kind)
            source = None if of is None else self._context.informer(of).get(meta["namespace"], name)
            if source is not None:
                await self.let_go(meta["uid"], source["metadata"]["uid"])

    async def let_go(self, machine: str, uid: str) -> None:
        """Detach the volume ``uid``, which the guest of ``machine`` has no more, unless another has it."""
        claimed = {self._claims.get(uid, ""), *(one for one, images in self._shared.items() if uid in images)}
        # What is known of its own domain may be older than its end.
        if not {*claimed, *openers(self._context, uid)} - {"", machine}:
            await self._context.volumes.detach(uid)

    async def unlink(self, uid: str) -> None:
        """Remove the links of a machine that is off."""
        await self._context.network.disconnect(uid)

    async def end(self, warrant: Warrant) -> None:
        """End the guest at once."""
        await self._context.hypervisor.destroy(warrant.uid)

    async def undefine(self, warrant: Warrant) -> None:
        """Remove the definition of a domain that is off, and keep what its firmware wrote."""
        await self._context.hypervisor.undefine(warrant.uid, nvram=False)

    async def remove(self, warrant: Warrant, *, defined: bool) -> None:
        """Remove all that the host has of a machine whose domain is off."""
        if defined:
            reached(CrashPoint.VM_BEFORE_UNDEFINE)
            await self._context.hypervisor.undefine(warrant.uid)
            reached(CrashPoint.VM_AFTER_UNDEFINE)
        await self.clear(warrant.uid)

    async def clear(self, uid: str) -> None:
        """Remove links and files of a machine that has no domain."""
        await self.unlink(uid)
        await self._context.seeds.remove(uid)
        await asyncio.to_thread(self._remove_files, uid)

    def _remove_files(self, uid: str) -> None:
        settings = self._context.settings
        for path in (*firmware.variables_paths(settings, uid), settings.console_dir / uid):
            files.unlink(path)
        for path in settings.console_log_dir.glob(f"{uid}.*"):
            files.unlink(path)
        if _UUID.fullmatch(uid):
            # libvirt removes it with the definition, which may have gone before.
            shutil.rmtree(_TPM_DIR / uid, ignore_errors=True)


def _wanted(machine: VirtualMachine, found: Dependencies) -> list[Link]:
    """The links of a start as it would be now."""
    return links_of(machine, found.address, machine["spec"].get("networks"), found.cards)
