"""The part of the node that a guest goes to: its volumes, seed, link and Pod are made ready; then it comes.

What is asked by the node that has the guest is done while the store's record says that it is on its way here, by
that operation. What is made is noted first, and removed once the record says otherwise, whoever still asks.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

from hyperd.controllers.context import Context
from hyperd.controllers.machine import holding
from hyperd.controllers.machine.fence import Fence
from hyperd.controllers.machine.held import serial_of
from hyperd.controllers.machine.holding import Record
from hyperd.controllers.migration import sockets
from hyperd.controllers.migration.asked import UID, Asked, AskedVolume
from hyperd.controllers.migration.interface import Line, State, Verb
from hyperd.controllers.migration.notes import Note, Notes
from hyperd.controllers.migration.parts import take_up
from hyperd.controllers.migration.shared import give_to_qemu
from hyperd.controllers.ownership import disk_node, machine_node
from hyperd.controllers.pod import reading
from hyperd.controllers.pod.placement import Pods
from hyperd.crashpoints import CrashPoint, reached
from hyperd.errors import HyperdError, NotFound, PermanentError, ServiceUnavailable, TemporaryError
from hyperd.hypervisor.rpc import Calls, Guest
from hyperd.hypervisor.state import DomainState
from hyperd.imagefile.handle import BlockHandle, FileHandle, Handle
from hyperd.network.interface import Link
from hyperd.resources.all import POD, VIRTUAL_DISK, VIRTUAL_MACHINE, VIRTUAL_MACHINE_IP_ADDRESS_LEASE
from hyperd.resources.kinds.virtual_machine_ip_address_lease import lease_name
from hyperd.resources.schema.kind import Object

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine import VirtualMachine

_log = logging.getLogger(__name__)
_LOOK_SECONDS: Final = 60.0
_INCOMING: Final = "migration"
"""Why libvirt says that a guest is stopped of which not all has come."""


class Arrivals:
    """Of one node."""

    def __init__(self, context: Context, pods: Pods, fence: Fence) -> None:
        self._context = context
        self.node = context.node_name
        self._pods = pods
        self._fence = fence
        self._machines = context.informer(VIRTUAL_MACHINE)
        self._slot = asyncio.Lock()
        """One guest comes at a time."""
        self._notes = Notes(context.settings.state_dir / "arrivals")
        self._files: dict[str, dict[str, str]] = {}
        """Those that were made for guests that come, by the machine's uid, with their formats."""
        self._changing: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def begin(self) -> None:
        """At the daemon's start: what is noted is known."""
        for note in (await self._notes.all()).values():
            self._context.coming.update(note.disks.values())

    async def run(self) -> None:
        """Forget those whose machine was deleted while its guest was on its way: what is left is swept up."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            for note in list((await self._notes.all()).values()):
                try:
                    machine = await self._context.store.find(VIRTUAL_MACHINE, note.namespace, note.name)
                except HyperdError:
                    break  # the API server is away: later
                if machine is None or machine["metadata"]["uid"] != note.uid:
                    async with self._changing.setdefault(note.uid, asyncio.Lock()):
                        await self._forget(note)

    @asynccontextmanager
    async def alone(self, uid: str) -> AsyncIterator[bool]:
        """Nothing is begun or ended of the guest while the block runs; whether it comes here."""
        async with self._changing.setdefault(uid, asyncio.Lock()):
            yield await self._notes.get(uid) is not None

    async def answer(self, uid: str, verb: str, body: Object) -> Object:
        """What another node asks, by a ``Verb``. TemporaryError where it may ask again, else PermanentError."""
        if verb not in set(Verb):
            raise PermanentError(f'Node {self._context.node_name} does not know the question "{verb[:64]}".')
        if not UID.fullmatch(uid):
            raise PermanentError(f'"{uid[:64]}" is no uid of a machine.')
        async with self._changing.setdefault(uid, asyncio.Lock()):
            if verb == Verb.LOOK:
                return {"state": await self._state(uid)}
            asked = Asked.read(body)
            if verb == Verb.GO_ON:
                await self._go_on(uid, asked)
                return {}
            machine = await self._expected(uid, asked)
            if verb == Verb.PREPARE:
                return await self._prepare(machine, asked)
            await self._clear(machine)
            return {}

    async def door(self, uid: str, line: str) -> tuple[socket.socket, Callable[[bytes], bytes]]:
        """Where a ``Line`` of a guest that is on its way here ends, and what of the bytes for it may go on there.

        Raises TemporaryError, NotFound; what is given raises PermanentError for what may not.
        """
        if line not in set(Line):
            raise NotFound(f'There is no line "{line[:64]}".')
        note = await self._notes.get(uid)
        if note is None:
            raise TemporaryError(f"No guest of the machine {uid} is on its way to node {self._context.node_name}.")
        if line == Line.LIBVIRT:
            if uid not in self._files:
                raise TemporaryError(f"Node {self._context.node_name} has nothing ready for a guest of {uid}.")
            calls = Calls(self._guest(note))
            uri = self._context.settings.hypervisor.uri
            near = await asyncio.to_thread(sockets.connect, sockets.of_libvirt(uri))
            return near, calls.feed
        folder = sockets.folder_of(self._context, note.operation)
        return await asyncio.to_thread(sockets.connect_beneath, folder, Line(line)), bytes

    def _guest(self, note: Note) -> Guest:
        """What libvirt may be told here of a guest that comes."""
        uid, conf = note.uid, self._context.settings
        listens = [
            f"unix://{path}"
            for path in sockets.paths_in(sockets.folder_of(self._context, note.operation)).values()
        ]
        folders = (conf.seeds_dir, conf.nvram_dir, conf.console_dir, conf.console_log_dir)
        return Guest(uid, str(self._pods.emulator), self._files[uid], [str(folder) for folder in folders], listens)

    async def attend(self, machine: VirtualMachine) -> bool:
        """Whether a guest of it is on its way here; what is here of one that stayed away is removed."""
        note = await self._notes.get(machine["metadata"]["uid"])
        if note is None:
            return False
        record = holding.read(machine)
        if (record.to, record.operation) == (self._context.node_name, note.operation):
            return True
        if record.node == machine_node(machine) == self._context.node_name:
            await self._arrived(machine, note)
            return False
        async with self._changing.setdefault(note.uid, asyncio.Lock()):
            known = machine["metadata"]
            fresh = await self._context.store.find(VIRTUAL_MACHINE, known["namespace"], known["name"])
            if fresh is None or fresh["metadata"]["uid"] != note.uid:
                return False
            record = holding.read(fresh)
            if record.to != self._context.node_name and record.node != self._context.node_name:
                await self._clear(fresh)
        return False

    async def _state(self, uid: str) -> State:
        note = await self._notes.get(uid)
        domain = await self._context.hypervisor.info(uid)
        off = domain is None or not domain.active
        if note is not None and note.went_on and (note.ran or off):
            return State.WENT_ON
        if domain is None or off:
            return State.ABSENT
        if domain.state is DomainState.PAUSED:
            return State.COMING if domain.reason == _INCOMING else State.PAUSED
        return State.RUNNING

    async def _expected(self, uid: str, asked: Asked) -> VirtualMachine:
        """The machine, whose record says that its guest comes here from who asks."""
        machine = await self._context.store.find(VIRTUAL_MACHINE, asked.namespace, asked.name)
        if machine is None or machine["metadata"]["uid"] != uid:
            raise PermanentError(f'Virtual machine "{asked.name}" is no more.')
        record, here = holding.read(machine), self._context.node_name
        if (record.node, record.to, record.operation) != (asked.source, here, asked.operation):
            raise PermanentError(
                f'The guest of virtual machine "{asked.name}" is not on its way from node {asked.source} to '
                f"node {here} (held by {record.node or 'nobody'}, epoch {record.epoch})."
            )
        if asked.address is not None:
            lease = await self._context.store.find(VIRTUAL_MACHINE_IP_ADDRESS_LEASE, "", lease_name(asked.address))
            owner = None if lease is None else lease["spec"].get("virtualMachineIPAddressRef")
            if owner is None or owner["namespace"] != asked.namespace:
                raise PermanentError(f"The address {asked.address} is leased to nobody in {asked.namespace}.")
        return machine

    async def _prepare(self, machine: VirtualMachine, asked: Asked) -> Object:
        context, uid = self._context, machine["metadata"]["uid"]
        domain = await context.hypervisor.info(uid)
        if domain is not None and domain.active:
            raise PermanentError(f"Node {context.node_name} has a guest of the machine already.")
        former = await self._notes.get(uid)
        if former is not None and former.went_on and former.operation == asked.operation:
            raise PermanentError(f"The guest went on on node {context.node_name} already.")
        pod = await context.store.find(POD, asked.namespace, asked.pod)
        if pod is None or not reading.is_of(pod, machine) or reading.node_of(pod) != context.node_name:
            raise PermanentError(f"Pod {asked.pod} is not on node {context.node_name}.")
        for one in asked.volumes:
            at = await self._require_elsewhere(machine, one.uid, one.name)
            if at != asked.source:
                raise PermanentError(f'VirtualDisk "{one.name}" is on node {at}, not on node {asked.source}.')
        disks = {one.name: one.uid for one in asked.volumes}
        async with self._slot:
            if other := await self._other(uid):
                where = f"to node {context.node_name}"
                return {"waits": f'The guest of virtual machine "{other}" is on its way {where}.'}
            self._pods.receive(machine, pod)
            shared = [one.uid for one in asked.volumes if one.shared]
            said = Note(uid, asked.operation, disks, asked.namespace, asked.name, asked.source, shared=shared)
            await self._notes.put(said)
        reached(CrashPoint.ARRIVAL_AFTER_NOTE)
        context.coming.update(disks.values())
        sources = [await self._volume(one) for one in asked.volumes]
        self._files[uid] = {str(one["path"]): str(one["format"]) for one in sources}
        reached(CrashPoint.ARRIVAL_AFTER_VOLUMES)
        if asked.seed is not None:
            await context.seeds.put(uid, asked.seed)
        if asked.address is not None:
            await context.network.connect(Link(uid, asked.name, asked.address), starting=True)
        user = context.settings.hypervisor.qemu_user
        await asyncio.to_thread(sockets.make_folder, sockets.folder_of(context, asked.operation), user)
        emulator = await context.hypervisor.emulators.present()
        qemu = "" if emulator is None else emulator.version
        return {"pod": pod["metadata"]["uid"], "sources": sources, "qemu": qemu}

    async def _volume(self, asked: AskedVolume) -> Object:
        if not asked.shared:
            return await self._make_volume(asked)
        return {"serial": serial_of(asked.uid), **_encoded(await self._context.volumes.attach(asked.uid))}

    async def _make_volume(self, asked: AskedVolume) -> Object:
        """A blank one in the place of what an earlier try left, or an earlier stay of the guest."""
        volumes = self._context.volumes
        await volumes.delete(asked.uid)
        made = await volumes.provisioner(asked.provisioner).create_blank(asked.uid, asked.size)
        if made.virtual_size != asked.size:
            raise PermanentError(
                f'Node {self._context.node_name} cannot have VirtualDisk "{asked.name}" as large as it is: '
                f"{made.virtual_size} bytes instead of {asked.size}."
            )
        return {"serial": serial_of(asked.uid), **_encoded(await volumes.attach(asked.uid))}

    async def _other(self, uid: str) -> str:
        """The machine of another guest that is on its way here; empty without one."""
        for note in (await self._notes.all()).values():
            machine = self._machines.get(note.namespace, note.name)
            if machine is None or note.went_on or uid == note.uid or machine["metadata"]["uid"] != note.uid:
                continue
            record = holding.read(machine)
            if (record.to, record.operation) == (self._context.node_name, note.operation):
                return note.name
        return ""

    async def _require_elsewhere(self, machine: VirtualMachine, uid: str, name: str) -> str:
        """Returns the node that has the disk."""
        disk = await self._context.store.find(VIRTUAL_DISK, machine["metadata"]["namespace"], name)
        if disk is None or disk["metadata"]["uid"] != uid:
            raise PermanentError(f'VirtualDisk "{name}" is no more.')
        if disk_node(disk) in ("", self._context.node_name):
            raise PermanentError(f'VirtualDisk "{name}" is on node {self._context.node_name}: it is not replaced.')
        return disk_node(disk)

    async def _go_on(self, uid: str, asked: Asked) -> None:
        """Whoever asks has seen that the guest is off there. Repeated, it does nothing more."""
        context, note = self._context, await self._notes.get(uid)
        if note is None or (note.operation, note.source) != (asked.operation, asked.source):
            raise PermanentError(f"No guest of the machine {uid} is on its way to node {context.node_name}.")
        try:
            await self._expected(uid, asked)
        except (TemporaryError, ServiceUnavailable):
            # The API server is away. Nobody but who asks can have changed the record, and it stops no guest.
            _log.warning("The guest of %s goes on by the word of node %s alone.", uid, asked.source)
        state = await self._state(uid)
        if state == State.ABSENT:
            raise PermanentError(f"Node {context.node_name} has no guest of the machine.")
        if state == State.COMING:
            raise TemporaryError(f"The guest is not on node {context.node_name} as a whole yet.")
        # Before it writes anything: from now on its disks here are the newer ones, whatever happens.
        await self._notes.put(replace(note, went_on=True))
        reached(CrashPoint.ARRIVAL_BEFORE_RESUME)
        domain = await context.hypervisor.info(uid)
        if domain is not None and domain.active and domain.state is DomainState.PAUSED:
            await give_to_qemu(context, uid, note.shared)
            await context.hypervisor.resume(uid)
        reached(CrashPoint.ARRIVAL_AFTER_RESUME)
        self._pods.lead(uid)
        if asked.address is not None:
            await take_up(context, Link(uid, note.name, asked.address), asked.connections)
        await self._notes.put(replace(note, went_on=True, ran=True))

    async def _arrived(self, machine: VirtualMachine, note: Note) -> None:
        """The machine is this node's."""
        self._pods.release(machine)
        await self._forget(note)

    async def _forget(self, note: Note) -> None:
        self._context.coming.difference_update(note.disks.values())
        self._files.pop(note.uid, None)
        await asyncio.to_thread(
            shutil.rmtree, sockets.folder_of(self._context, note.operation), ignore_errors=True
        )
        await self._notes.forget(note.uid)

    async def _clear(self, machine: VirtualMachine) -> None:
        """Remove what is here of a guest that stays away; the record says that another node has it."""
        context, uid = self._context, machine["metadata"]["uid"]
        note, record = await self._notes.get(uid), holding.read(machine)
        if note is None:
            return
        if note.went_on and note.operation == record.operation:
            raise PermanentError(f"The guest went on on node {context.node_name}: nothing of it is removed.")
        if not _is_anothers(record, context.node_name):
            raise PermanentError(f"Node {context.node_name} has the machine: nothing of it is removed.")
        _log.warning("Machine %s does not come to this node: removing what was made for it.", uid)
        domain = await context.hypervisor.info(uid)
        if domain is not None:
            if domain.active:
                await context.hypervisor.destroy(uid)
            await context.hypervisor.undefine(uid)
        self._pods.release(machine)
        await context.network.disconnect(uid)
        for name, disk in note.disks.items():
            # That of a disk that was deleted is swept up as ever.
            with suppress(PermanentError):
                await self._require_elsewhere(machine, disk, name)
                if disk in note.shared:
                    await context.volumes.detach(disk)  # its content is the other node's
                else:
                    await context.volumes.delete(disk)
        await context.seeds.remove(uid)
        reached(CrashPoint.ARRIVAL_AFTER_CLEARING)
        await self._forget(note)


def _is_anothers(record: Record, me: str) -> bool:
    return record.node not in ("", me)


def _encoded(handle: Handle) -> Object:
    match handle:
        case FileHandle(path=path, format=format_):
            return {"type": "file", "path": str(path), "format": str(format_)}
        case BlockHandle(path=path, format=format_):
            return {"type": "block", "path": str(path), "format": str(format_)}
    raise PermanentError("A disk that is still being fetched cannot be moved to another node.")
