"""The one door to libvirt: the domains of one instance, asynchronously.

What concerns all of them goes through two connections: ``_reads`` for what is quick, which also brings the events,
and ``_work`` for what takes long. What may wait for a guest's QEMU has a lane of its own, so that one that hangs
holds up nobody else. What events miss, a bulk listing finds.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import socket
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType

from hyperd import clock, errors
from hyperd.background import Background
from hyperd.hypervisor.actions import actions, blocks, hotplug, reader
from hyperd.hypervisor.actions.clocks import Clocks
from hyperd.hypervisor.actions.migration import LibvirtMigrations
from hyperd.hypervisor.actions.mirroring import LibvirtMirrors
from hyperd.hypervisor.actions.reader import Reader
from hyperd.hypervisor.actions.survey import Survey
from hyperd.hypervisor.connection.connection import Connect, Connection
from hyperd.hypervisor.connection.events import EventSource
from hyperd.hypervisor.connection.lanes import Lanes
from hyperd.hypervisor.emulators import ProgramFiles
from hyperd.hypervisor.facts.host import HostFacts, free_memory_bytes
from hyperd.hypervisor.facts.probe import read_facts, read_qemu_version
from hyperd.hypervisor.freezing import Freezing
from hyperd.hypervisor.interface import Hypervisor
from hyperd.hypervisor.slots import Slot, Slots
from hyperd.hypervisor.spec import DiskSpec, DomainSpec
from hyperd.hypervisor.state import DomainEvent, DomainInfo, DomainStats, EventKind, GuestInfo, IoError
from hyperd.hypervisor.xml.domain import domain_xml, marked_xml, metadata_xml
from hyperd.hypervisor.xml.layout import slots_of
from hyperd.imagefile.handle import Handle
from hyperd.settings import HypervisorSettings

log = logging.getLogger(__name__)

READ_TIMEOUT = 15.0
WORK_TIMEOUT = 60.0
ASK_TIMEOUT = 20.0
"""Of what a QEMU that is well does at once."""
FACTS_TIMEOUT = 120.0
"""libvirt's first look at a QEMU takes seconds, and a minute where KVM is there but broken."""
RETRY_SECONDS = 1.0
SETTLING_LOOKS = 5
"""So many times libvirt is listed every RETRY_SECONDS after a connect: a libvirtd that has just started loses the
end of a guest that goes while it adopts its QEMU (there is no STOPPED event)."""
_SLOW = ("start", "undefine", "pivot a disk of")
SAMPLE_CALLS = 4
"""So many samples may wait for QEMUs that hang."""
LEAVING_SECONDS = 30.0
"""How long a guest may take to release a disk before merges go on in it; it is asked again more often."""
MERGE_SECONDS = 5.0
"""How long a merge of disks is waited for at a time."""
AGENT_CALLS = 2
"""At most so many threads wait for guests' agents."""


class LibvirtHypervisor(Hypervisor):
    """QEMU by libvirt. Only domains whose metadata names ``instance`` exist for it.

    Every call raises ServiceUnavailable while libvirt is down or does not answer in time, NotFound when the
    domain is not there, and else what ``errors_map`` makes of libvirt's error.
    """

    def __init__(self, settings: HypervisorSettings, *, instance: str) -> None:
        self._settings = settings
        self._instance = instance
        self._reader = Reader(instance, settings.qemu_run_dir)
        self._survey = Survey(self._reader)
        self._source = EventSource(instance, self._from_thread)
        half = max(1, settings.workers // 2)
        self._reads = Connection(
            settings.uri,
            name="read",
            threads=half,
            prepare=self._source.register,
            changed=self._connection_changed,
        )
        self._work = Connection(
            settings.uri, name="work", threads=half, prepare=lambda _: None, changed=self._connection_changed
        )
        self._lanes = Lanes(settings.uri, parallel=half, trouble=self._trouble)
        self._samples = 0
        self._domain_callbacks: list[Callable[[str, DomainEvent], None]] = []
        self._connection_callbacks: list[Callable[[bool], None]] = []
        self._announced = False
        self._settling = 0
        self._ready = asyncio.Event()
        self._wake = asyncio.Event()
        self._agents = asyncio.Semaphore(AGENT_CALLS)
        self.mirrors = LibvirtMirrors(self._act, self._lanes)
        self.migrations = LibvirtMigrations(self._lanes, instance)
        self.emulators = ProgramFiles(self.facts, self.qemu_version)
        asks = (blocks.freeze, blocks.thaw, blocks.set_clock)
        freeze, thaw, set_clock = (functools.partial(self._ask_agent, ask) for ask in asks)
        self._freezing = Freezing(settings.uri, freeze=freeze, thaw=thaw, changed=self._froze)
        self._leaving: dict[tuple[str, str], float] = {}
        """Disks that guests are asked to release, and until when no merge is begun in them."""
        self._facts: HostFacts | None = None
        self._background = Background()
        self.on_domain(Clocks(set_clock, self._background, known=self.last_known).hear)
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._reads.start()
        self._work.start()
        self._background.spawn(self._keep_in_step, "hypervisor resync")

    async def close(self) -> None:
        await self._freezing.close()
        await self._background.stop()
        self._lanes.close()
        await asyncio.gather(self._reads.close(), self._work.close())

    @property
    def connected(self) -> bool:
        return self._announced

    @property
    def last_error(self) -> str:
        return "" if self._announced else self._reads.last_error or self._work.last_error or "listing domains"

    def _trouble(self) -> str:
        """Why no call can be made; empty while one can."""
        down = next((one for one in (self._reads, self._work) if not one.connected), None)
        return "" if down is None else down.last_error

    async def wait_connected(self, timeout: float = 30.0) -> None:
        """Return once connected. Raises ServiceUnavailable after ``timeout`` seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self._ready.wait()
        except TimeoutError:
            raise errors.ServiceUnavailable(f"libvirt is not reachable: {self.last_error}.") from None

    def on_domain(self, callback: Callable[[str, DomainEvent], None]) -> None:
        self._domain_callbacks.append(callback)

    def on_connection(self, callback: Callable[[bool], None]) -> None:
        self._connection_callbacks.append(callback)

    @property
    def last_known(self) -> Mapping[str, DomainInfo]:
        return MappingProxyType(self._survey.known)

    async def facts(self) -> HostFacts:
        if self._facts is None:
            ask = functools.partial(read_facts, settings=self._settings)
            self._facts = await self._work.call("read the host's capabilities", ask, timeout=FACTS_TIMEOUT)
        return self._facts

    async def qemu_version(self) -> str:
        return await self._work.call("read the version of QEMU", read_qemu_version, timeout=READ_TIMEOUT)

    async def free_memory(self) -> int:
        return await asyncio.to_thread(free_memory_bytes)

    async def list_owned(self) -> dict[str, DomainInfo]:
        found = await self._reads.call("list domains", self._reader.list_owned, timeout=READ_TIMEOUT)
        for info in found.values():
            self._survey.note(info)
        return found

    async def info(self, uid: str) -> DomainInfo | None:
        info = await self._reads.call(
            f"read domain {uid}", lambda conn: self._reader.info(conn, uid), timeout=READ_TIMEOUT
        )
        if info is None:
            self._survey.forget(uid)
        else:
            self._survey.note(info)
        return info

    async def slots(self, uid: str) -> Slots:
        return await self._reads.call(
            f"read domain {uid}", lambda conn: self._reader.slots(conn, uid), timeout=READ_TIMEOUT
        )

    def assign(self, spec: DomainSpec) -> Slots:
        return slots_of(spec)

    async def define(self, spec: DomainSpec) -> None:
        xml = domain_xml(spec)
        await self._reads.call(
            f"define domain {spec.uid}", lambda conn: actions.define(conn, xml), timeout=READ_TIMEOUT
        )

    async def start_domain(self, uid: str, *, paused: bool = False) -> None:
        await self._act("start", uid, functools.partial(actions.start, uid=uid, paused=paused))

    async def define_and_start(self, spec: DomainSpec, *, paused: bool = False) -> DomainInfo:
        """Define and start in one hop. A domain that runs already goes on with its old definition."""
        xml, uid = domain_xml(spec), spec.uid

        def run(conn: Connect) -> DomainInfo | None:
            actions.define_and_start(conn, xml, paused=paused)
            return self._reader.info(conn, uid)

        info = await self._lanes.call(uid, f"start domain {uid}", run, timeout=WORK_TIMEOUT)
        if info is None:
            raise errors.TemporaryError(f"Domain {uid} was started and is gone already.")
        self._survey.note(info)
        return info

    async def shutdown(self, uid: str) -> None:
        await self._act("shut down", uid, functools.partial(actions.shutdown, uid=uid))

    async def reset(self, uid: str) -> None:
        """Press the reset button: QEMU stays."""
        await self._act("reset", uid, functools.partial(actions.reset, uid=uid))

    async def destroy(self, uid: str) -> None:
        await self._act("destroy", uid, functools.partial(actions.destroy, uid=uid), ends=True)

    async def undefine(self, uid: str, *, nvram: bool = True) -> None:
        await self._act("undefine", uid, functools.partial(actions.undefine, uid=uid, nvram=nvram))

    async def resume(self, uid: str) -> None:
        await self._act("resume", uid, functools.partial(actions.resume, uid=uid))

    async def io_errors(self, uid: str) -> dict[str, IoError]:
        """Disk target → error of a guest that I/O errors paused."""
        return await self._lanes.call(
            uid,
            f"read disk errors of domain {uid}",
            lambda conn: self._reader.io_errors(conn, uid),
            timeout=READ_TIMEOUT,
        )

    async def block_resize(self, uid: str, source: Handle, size_bytes: int) -> None:
        grow = functools.partial(actions.block_resize, uid=uid, source=source, size_bytes=size_bytes)
        await self._act("resize a disk of", uid, grow)

    async def sources(self, uid: str) -> dict[str, Handle]:
        ask = functools.partial(blocks.sources, uid=uid)
        return await self._reads.call(f"read the disks of domain {uid}", ask, timeout=READ_TIMEOUT)

    async def pivot(self, uid: str, tops: Mapping[str, Handle]) -> None:
        await self._act("snapshot", uid, functools.partial(blocks.pivot, uid=uid, tops=tops))

    @property
    def holds(self) -> Freezing:
        return self._freezing

    async def pull(self, uid: str, serial: str, *, base: Handle | None) -> bool:
        self._require_staying(uid, serial)
        begin = functools.partial(blocks.begin_pull, uid=uid, serial=serial, base=base)
        await self._act("merge a disk of", uid, begin)
        return await self._merged(uid, serial) and await self.settle(uid, serial)

    async def settle(self, uid: str, serial: str) -> bool:
        settle = functools.partial(blocks.settle, uid=uid, serial=serial)
        return await self._lanes.call(uid, f"settle a disk of domain {uid}", settle, timeout=ASK_TIMEOUT)

    async def commit(self, uid: str, serial: str, *, upper: Handle, lower: Handle) -> bool:
        self._require_staying(uid, serial)
        begin = functools.partial(blocks.begin_commit, uid=uid, serial=serial, upper=upper, lower=lower)
        await self._act("merge a disk of", uid, begin)
        return await self._merged(uid, serial)

    async def _merged(self, uid: str, serial: str) -> bool:
        look = functools.partial(blocks.await_merge, uid=uid, serial=serial, seconds=MERGE_SECONDS)
        return await self._lanes.call(f"{uid} merge", f"await a merge of domain {uid}", look, timeout=READ_TIMEOUT)

    async def _ask_agent(self, ask: Callable[[Connect, str], int], uid: str) -> int:
        """In a lane of its own: what the guest's disks are doing meanwhile does not wait for its agent."""
        what = f"{ask.__name__} domain {uid}"
        return await self._lanes.call(f"{uid} freeze", what, lambda conn: ask(conn, uid), timeout=READ_TIMEOUT)

    def _froze(self, uid: str) -> None:
        self._emit(DomainEvent(uid=uid, kind=EventKind.FROZEN))

    async def attach_disk(self, uid: str, disk: DiskSpec, had: Slot) -> None:
        attach = functools.partial(hotplug.attach_disk, uid=uid, disk=disk, had=had)
        await self._act("attach a disk to", uid, attach)

    def _require_staying(self, uid: str, serial: str) -> None:
        """A device whose QEMU works on its file cannot go."""
        if clock.elapsed() < self._leaving.get((uid, serial), 0.0):
            raise errors.TemporaryError(f"The disk is being unplugged from domain {uid}.")
        self._leaving.pop((uid, serial), None)

    async def detach_disk(self, uid: str, serial: str) -> bool:
        self._leaving[uid, serial] = clock.elapsed() + LEAVING_SECONDS
        gone = await self._lanes.call(
            uid,
            f"detach a disk from domain {uid}",
            lambda conn: hotplug.detach_disk(conn, uid, serial=serial),
            timeout=ASK_TIMEOUT,
        )
        if gone:
            self._leaving.pop((uid, serial), None)
        return gone

    async def set_metadata(self, spec: DomainSpec) -> None:
        """Rewrite our metadata element, of the running domain and of the definition."""
        xml = metadata_xml(spec)
        await self._act("mark", spec.uid, functools.partial(actions.set_metadata, uid=spec.uid, xml=xml))

    async def mark(self, domain: DomainInfo) -> None:
        xml = marked_xml(domain, self._instance)
        await self._act("mark", domain.uid, functools.partial(actions.set_metadata, uid=domain.uid, xml=xml))
        self._survey.note(domain)

    async def open_graphics(self, uid: str) -> socket.socket:
        return await self._lanes.call(
            uid,
            f"open the screen of domain {uid}",
            lambda conn: reader.open_graphics(conn, uid),
            timeout=READ_TIMEOUT,
        )

    async def guest_agent_info(self, uid: str, *, timeout: float = 5.0) -> GuestInfo:
        async with self._agents:
            return await self._lanes.call(
                f"{uid} agent",
                f"ask the agent of domain {uid}",
                lambda conn: reader.guest_info(conn, uid, timeout=timeout),
                timeout=2 * timeout + 1,
            )

    async def stats(self, uids: Collection[str] | None = None) -> dict[str, DomainStats]:
        """One sample of all running domains, or of ``uids``, in one call."""
        number = self._samples % SAMPLE_CALLS
        try:
            return await self._lanes.call(
                f"sample {number}",
                "sample domains",
                lambda conn: self._reader.stats(conn, uids),
                timeout=READ_TIMEOUT,
            )
        except errors.ServiceUnavailable:
            # A QEMU that hangs keeps the call; the next one passes it over, as it is busy then.
            if self._samples % SAMPLE_CALLS == number:
                self._samples += 1
            raise

    async def _act(self, verb: str, uid: str, function: Callable[[Connect], None], *, ends: bool = False) -> None:
        timeout = WORK_TIMEOUT if ends or verb in _SLOW else ASK_TIMEOUT
        await self._lanes.call(uid, f"{verb} domain {uid}", function, timeout=timeout, ends=ends)

    def _from_thread(self, event: DomainEvent) -> None:
        """In libvirt's event thread."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has closed
                self._loop.call_soon_threadsafe(self._emit, event)

    def _emit(self, event: DomainEvent) -> None:
        for callback in self._domain_callbacks:
            callback(event.uid, event)

    def _connection_changed(self) -> None:
        if self._reads.connected and self._work.connected:
            self._facts = None
            self._settling = SETTLING_LOOKS
            self._wake.set()
        elif self._announced:
            self._announce(False)

    def _announce(self, connected: bool) -> None:
        self._announced = connected
        if connected:
            self._ready.set()
        else:
            self._ready.clear()
        for callback in self._connection_callbacks:
            callback(connected)

    async def _keep_in_step(self) -> None:
        """List after each connect and every ``resync_seconds``; tell what no event told."""
        while True:
            pause = RETRY_SECONDS if self._settling else self._settings.resync_seconds
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(pause, self._settings.resync_seconds)):
                    await self._wake.wait()
            self._wake.clear()
            self._settling = max(0, self._settling - 1)
            if not (self._reads.connected and self._work.connected):
                continue
            try:
                await self._resync()
            except errors.HyperdError as err:
                log.warning("resync failed: %s", err)
                self._settling = SETTLING_LOOKS

    async def _resync(self) -> None:
        look = functools.partial(self._survey.look, known=dict(self._survey.known))
        changed = self._survey.take(await self._reads.call("list domains", look, timeout=READ_TIMEOUT))
        if not self._announced:
            self._announce(True)
        for uid in changed:
            self._emit(DomainEvent(uid=uid, kind=EventKind.RESYNCED))
