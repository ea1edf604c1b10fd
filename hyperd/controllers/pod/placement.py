"""Placement by the cluster's scheduler: a machine starts where its Pod is, and in it.

The leader makes Pods and binds machines to where they are (``controller``). What is here is the node's part: a
start begins once the Pod's launcher answers, its QEMU waits until it is beneath the Pod's limits and its links are
in the Pod's network, and a guest whose Pod ends is ended in time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from hyperd.controllers.context import Context
from hyperd.controllers.machine.emulators import digest_of
from hyperd.controllers.migration.interface import Moves
from hyperd.controllers.node.processors import can_give
from hyperd.controllers.placement.binding import DiskBinder
from hyperd.controllers.placement.interface import TOLD, Quarters
from hyperd.controllers.placement.placing import Nodes
from hyperd.controllers.pod import attaching, filling, manifest, reading
from hyperd.controllers.pod.claiming import ClaimController
from hyperd.controllers.pod.claims import Claims
from hyperd.controllers.pod.consoles import PodConsoles, Said
from hyperd.controllers.pod.controller import PodController
from hyperd.controllers.pod.guarding import Guards
from hyperd.controllers.pod.losses import Losses
from hyperd.controllers.pod.straying import PlacementUpdates
from hyperd.controllers.pod.targets import takes
from hyperd.controllers.pod.tenants import Tenants, address_of
from hyperd.controllers.pod.updating import FirmwareUpdates
from hyperd.controllers.pod.volumes import NodeClaims
from hyperd.errors import HyperdError, PermanentError, TemporaryError
from hyperd.launcher import sandbox
from hyperd.launcher.build import EMULATOR
from hyperd.launcher.connection import Launcher
from hyperd.launcher.waiting import Waiting
from hyperd.network.place import Place
from hyperd.resources.all import (
    NODE,
    PERSISTENT_VOLUME_CLAIM,
    POD,
    VIRTUAL_DISK,
    VIRTUAL_MACHINE,
    VIRTUAL_MACHINE_CLASS,
)
from hyperd.resources.schema.kind import Object
from hyperd.resources.values import meta, names
from hyperd.runtime.controller import Controller, Key, owner_keys
from hyperd.store.interface import EventType, Item

if TYPE_CHECKING:
    from ipaddress import IPv4Address

    from hyperd.resources.views.core import Node
    from hyperd.resources.views.virtual_disk import VirtualDisk
    from hyperd.resources.views.virtual_machine import VirtualMachine
    from hyperd.resources.views.virtual_machine_class import VirtualMachineClass

_log = logging.getLogger(__name__)
_AGAIN_SECONDS = 10.0
_LIBVIRT_SECONDS = 1.0


class Pods:
    """Of one node. ``run`` is to go on as long as the daemon does."""

    moves: Moves | None = None
    cut_off: Callable[[str], str]
    """Why the NetworkPolicies of the machine with that uid do not hold; empty where they do."""

    def __init__(self, context: Context, said: Said) -> None:
        self._context = context
        self._conf = context.settings.kubernetes
        self._pods = context.informer(POD)
        self._nodes = context.informer(NODE)
        self.losses = Losses(context)
        self.guards = Guards(context, lambda key: self.look(key))
        self.look: Callable[[Key], None] = lambda _: None
        self.cut_off = lambda _: ""
        self._look_at_disk: Callable[[Key], None] = lambda _: None
        self._taken: dict[str, Launcher] = {}
        self._received: dict[str, IPv4Address] = {}
        """Addresses of the Pods that guests come to."""
        """Where starts take place that go on now, by the machine's uid."""
        self._settled: set[str] = set()
        """Guests whose threads are known to be beneath their Pods' limits, by uid."""
        self._tenants = Tenants(
            self._pods, context.node_name, self._conf.kubelet_dir, changed=self._changed, runs=self._runs
        )
        self._claims = Claims(context)
        self._volumes = NodeClaims(context, self._launcher_with, self._launcher_filling, self._why_not_attached)
        context.volumes.lead(self._volumes)
        self._waiting = Waiting(context.settings.emulator_dir, self._prepare)
        self._consoles = PodConsoles(said)
        self._classes = context.informer(VIRTUAL_MACHINE_CLASS)
        self._serves = False
        self._qemu_digest = ""
        self._nodes.add_handler(self._node_changed)
        self._pods.add_handler(self._attaching_changed)

    def controllers(self) -> Sequence[Controller]:
        nodes = Nodes(self._context)
        claiming = ClaimController(self._context, self, nodes)
        return [
            PodController(self._context, nodes, self.losses, claimed=claiming.takes),
            DiskBinder(self._context, nodes, others=claiming.takes),
            claiming,
            FirmwareUpdates(self._context),
            PlacementUpdates(self._context),
        ]

    def wake(self, look: Callable[[Key], None]) -> None:
        """Have ``look`` called with each machine of which a Pod says something new."""
        self.look = look

    def wake_disks(self, look: Callable[[Key], None]) -> None:
        """Have ``look`` called with each disk that is a claim of which claim or Pod say something new."""
        self._look_at_disk = look

        def changed(_: EventType, old: Item[Object] | None, new: Item[Object] | None) -> None:
            if (item := new or old) is not None:
                for key in owner_keys(VIRTUAL_DISK)(item):
                    look(key)

        self._context.informer(PERSISTENT_VOLUME_CLAIM).add_handler(changed)

    def awaited_for(self, disk: VirtualDisk) -> str:
        claim = self._claims.of(disk)
        if claim is None:
            return "The disk's PersistentVolumeClaim is being made."
        if self._volumes.launcher(disk) is None:
            name, node = claim["metadata"]["name"], self._context.node_name
            return f"PersistentVolumeClaim {name} is filled once a Pod has it on node {node}."
        return ""

    async def run(self) -> None:
        """Answer emulators, and stay in touch with this node's Pods."""
        await self._serve_emulators()
        self._tenants.start()
        try:
            while True:
                await self._tenants.moved.wait()
                self._tenants.moved.clear()
                await self._renew_emulator()
                try:
                    await self._context.network.tidy(self._tenants.addresses())
                except TemporaryError:
                    await asyncio.sleep(_AGAIN_SECONDS)
                    self._tenants.moved.set()
        finally:
            self._serves = False
            await self._consoles.close()
            await self._tenants.close()
            await self._waiting.close()

    async def _serve_emulators(self) -> None:
        """Begin to; what is missing is told, and waited for: no machine starts on this node meanwhile."""
        qemu, told = Path(await self._qemu()), ""
        while not self._serves:
            try:
                await self._waiting.start(self._conf.programs_dir / EMULATOR, qemu)
                self._serves = True
            except PermanentError as error:
                if told != error.message:
                    told = error.message
                    _log.error("%s", told)
                await asyncio.sleep(_AGAIN_SECONDS)

    def _node_changed(self, _: EventType, old: Item[Node] | None, new: Item[Node] | None) -> None:
        if takes(old) != takes(new):
            for item in self._context.informer(VIRTUAL_MACHINE).items():
                if item.uid in self._context.hypervisor.last_known:
                    self.look(Key(item.namespace, item.name))
        mine = new is not None and new.name == self._context.node_name
        if new is not None and mine and digest_of(new.object()) != self._qemu_digest:
            self._tenants.moved.set()

    async def _renew_emulator(self) -> None:
        """libvirt knows what a QEMU can do by the program that stands in its place here."""
        node = self._nodes.get("", self._context.node_name)
        digest = "" if node is None else digest_of(node)
        if digest == self._qemu_digest:
            return
        try:
            await self._waiting.renew(self._conf.programs_dir / EMULATOR, Path(await self._qemu()))
            self._qemu_digest = digest
        except OSError as error:
            _log.warning("What stands in QEMU's place is left as it was: %s", error)

    async def _qemu(self) -> str:
        """The QEMU that libvirt would start, once it says so."""
        while True:
            with suppress(HyperdError):
                if emulator := (await self._context.hypervisor.facts()).emulator:
                    return emulator
            await asyncio.sleep(_LIBVIRT_SECONDS)

    async def take(self, machine: VirtualMachine, class_: VirtualMachineClass) -> str:
        pod = self._pod(machine)
        if pod is None or not reading.is_of(pod, machine) or reading.node_of(pod) != self._context.node_name:
            return TOLD
        _, why = reading.why_waiting(pod)
        if why:
            return why
        if self._is_outdated(machine, class_, pod):
            return TOLD
        node = self._nodes.get("", self._context.node_name)
        if node is not None and not can_give(node, class_):
            return f"Node {self._context.node_name} cannot give the processor of the machine's class."
        launcher = self._tenants.launcher(pod["metadata"]["uid"])
        if launcher is None or not self._serves or (address := address_of(pod)) is None:
            return f"Pod {pod['metadata']['name']} is being started on node {self._context.node_name}."
        if launcher.ending:
            return f"Pod {pod['metadata']['name']} is ending; another one is made once it is gone."
        uid = machine["metadata"]["uid"]
        self._context.network.house(uid, Place(launcher.sandbox.network, address))
        self._taken[uid] = launcher
        self._consoles.keep(machine, class_, launcher)
        return ""

    def receive(self, machine: VirtualMachine, pod: Object) -> None:
        """Promise the place of a guest that comes from another node, until ``release``: in ``pod``.

        Raises TemporaryError while that cannot take it.
        """
        launcher, address = self._tenants.launcher(pod["metadata"]["uid"]), address_of(pod)
        if launcher is None or not self._serves or address is None:
            raise TemporaryError(
                f"Pod {pod['metadata']['name']} is being started on node {self._context.node_name}."
            )
        if launcher.ending:
            raise TemporaryError(f"Pod {pod['metadata']['name']} is ending.")
        uid = machine["metadata"]["uid"]
        self._context.network.house(uid, Place(launcher.sandbox.network, address, leads=False))
        self._taken[uid], self._received[uid] = launcher, address
        self._consoles.keep(machine, self._class_of(machine), launcher)
        self._settled.discard(uid)

    def lead(self, uid: str) -> None:
        """The guest that came is to run now: what is sent to it comes here.

        A daemon that was begun anew meanwhile knows of no place before it keeps the machine's Pod: until then its
        link is left alone, which would be made a second time on this host.
        """
        launcher, address = self._taken.get(uid), self._received.get(uid)
        place = None if launcher is None or address is None else Place(launcher.sandbox.network, address)
        self._context.network.house(uid, place)

    def retake(self, machine: VirtualMachine, class_: VirtualMachineClass | None) -> bool:
        pod = self._pod(machine)
        if pod is None or class_ is None or self._is_outdated(machine, class_, pod):
            return False
        launcher = self._tenants.launcher(pod["metadata"]["uid"])
        if launcher is None or launcher.ending:
            return False
        self._taken[machine["metadata"]["uid"]] = launcher
        return True

    def release(self, machine: VirtualMachine) -> None:
        self._taken.pop(machine["metadata"]["uid"], None)
        self._received.pop(machine["metadata"]["uid"], None)

    @property
    def emulator(self) -> Path:
        """What guests in Pods are started by on this node."""
        return self._waiting.emulator

    def quarters(self, machine: VirtualMachine) -> Quarters:
        launcher = self._taken.get(machine["metadata"]["uid"])
        if launcher is None:
            raise TemporaryError("The machine's Pod is no longer there.")
        self._settled.discard(machine["metadata"]["uid"])
        return Quarters(launcher.sandbox.pod_uid, self._waiting.emulator)

    async def keep(self, machine: VirtualMachine, pod: str, *, active: bool) -> None:
        uid, known = machine["metadata"]["uid"], self._pod(machine)
        if active and not pod:
            return  # from before machines had Pods: it stays as it is until it ends
        if not active:
            self._settled.discard(uid)
            if known is None:
                return
            pod = known["metadata"]["uid"]
        launcher = self._tenants.launcher(pod)
        self._consoles.keep(machine, self._class_of(machine), launcher)
        if active:
            address = address_of(known) if known is not None and launcher is not None else None
            place = None if launcher is None or address is None else Place(launcher.sandbox.network, address)
            self._context.network.house(uid, place)
        if launcher is None:
            return
        try:
            if active:
                await self._settle(uid, launcher)
                await self.guards.keep(machine, launcher.sandbox)
                await launcher.tell_running()
            elif launcher.ending:
                await launcher.tell_ended(0)
            else:
                await launcher.tell_stopped()
        except TemporaryError:
            return  # it is gone by now; its end comes here

    async def is_leaving(self, machine: VirtualMachine, pod: str) -> bool:
        if not pod:
            return False
        launcher = self._tenants.launcher(pod)
        if launcher is not None and launcher.ending:
            return True
        if not _goes(self._pod(machine), pod):
            return False
        # What is seen here is a copy: before a guest is ended the store itself is asked.
        where = machine["metadata"]
        found = await self._context.store.find(POD, where["namespace"], manifest.current_pod_name(machine))
        return _goes(found, pod)

    def unfit_for_disks(self) -> str:
        """Nothing: the leader looked when it bound the disk, which can be nowhere else by now."""
        return ""

    def _class_of(self, machine: VirtualMachine) -> VirtualMachineClass | None:
        return self._classes.get("", machine["spec"].get("virtualMachineClassName") or "")

    def _pod(self, machine: VirtualMachine) -> Object | None:
        return manifest.find_pod(self._pods, machine)

    def _is_outdated(self, machine: VirtualMachine, class_: VirtualMachineClass, pod: Object) -> bool:
        wanted = manifest.make_manifest(machine, class_, self._conf, mounts=self._claims.mounts_of(machine))
        return reading.made_of(wanted) != reading.made_of(pod)

    def _launcher_with(self, machine: VirtualMachine, claim: str) -> Launcher | None:
        """That of the machine's Pod here, if the Pod has the claim, or that of one that its guest comes to."""
        if (uid := machine["metadata"]["uid"]) in self._received:
            return self._taken.get(uid)
        pod = self._pod(machine)
        if pod is None or not reading.is_of(pod, machine) or claim not in reading.claims_of(pod):
            pod = attaching.find(self._pods, machine, claim)
        if pod is None or reading.node_of(pod) != self._context.node_name:
            return None
        return self._tenants.launcher(pod["metadata"]["uid"])

    def _why_not_attached(self, machine: VirtualMachine, claim: str) -> str:
        """What the Pod waits for by which the claim comes to the machine's guest."""
        pod = attaching.find(self._pods, machine, claim)
        return "" if pod is None else reading.why_waiting(pod)[1]

    def _attaching_changed(self, _: EventType, __: Item[Object] | None, new: Item[Object] | None) -> None:
        """Of one that is on this node its launcher tells, once it is met."""
        if new is not None and names.VM_ATTACHED_LABEL in meta.labels(pod := new.object()):
            for owner in pod["metadata"].get("ownerReferences") or ():
                self.look(Key(new.namespace, owner["name"]))

    def _launcher_filling(self, disk: VirtualDisk) -> Launcher | None:
        """That of the disk's own Pod here."""
        pod: Object | None = self._pods.get(disk["metadata"]["namespace"], filling.pod_name(disk))
        if pod is None or not filling.is_of(pod, disk) or reading.node_of(pod) != self._context.node_name:
            return None
        return self._tenants.launcher(pod["metadata"]["uid"])

    def _changed(self, pod: Object) -> None:
        self._consoles.prune()
        for owner in pod["metadata"].get("ownerReferences") or ():
            self.look(Key(pod["metadata"]["namespace"], owner["name"]))
        for claim in reading.claims_of(pod):
            found = self._context.informer(PERSISTENT_VOLUME_CLAIM).item(pod["metadata"]["namespace"], claim)
            for key in () if found is None else owner_keys(VIRTUAL_DISK)(found):
                self._look_at_disk(key)

    def _runs(self, uid: str) -> bool:
        domain = self._context.hypervisor.last_known.get(uid)
        return uid in self._taken or (domain is not None and domain.active)

    async def _prepare(self, uid: str, pid: int) -> None:
        """The process is about to be the guest's QEMU: have it where the Pod's limits and links are."""
        launcher = self._taken.get(uid)
        if launcher is None:
            raise TemporaryError(f"No start of the machine {uid} goes on in a Pod here.")
        if launcher.ending or launcher.gone:
            raise TemporaryError("The machine's Pod is ending.")
        await asyncio.to_thread(sandbox.admit, launcher.sandbox, pid)
        await self._context.network.settle(uid)

    async def _settle(self, uid: str, launcher: Launcher) -> None:
        """libvirt puts threads into cgroups of its own where it is not told not to: have them all back."""
        if uid in self._settled:
            return
        self._settled.add(uid)
        for pid in await asyncio.to_thread(sandbox.members, launcher.sandbox):
            try:
                await asyncio.to_thread(sandbox.admit, launcher.sandbox, pid)
            except OSError:
                continue  # it has ended


def _goes(pod: Object | None, uid: str) -> bool:
    return pod is None or pod["metadata"]["uid"] != uid or reading.is_ending(pod) or reading.is_finished(pod)
