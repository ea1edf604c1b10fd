"""``hyperd``: wires everything, owns start and stop.

The composition root: the only place that knows all floors. Reads answer as soon as the store is open; controllers
begin when their informers are full; what the host lacks is a condition on an object, not a failed start.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from hyperd import __version__, arguments, commands, footprint, loading, logs, signals
from hyperd.api.limits.connections import raise_limit
from hyperd.api.serving.app import ApiServer
from hyperd.api.serving.maintenance import Ask, Garbage, Maintenance
from hyperd.api.sessions.evacuations import Evacuations
from hyperd.api.sessions.exports import Exports
from hyperd.api.sessions.freezes import Freezes
from hyperd.api.sessions.port_forward import PortForwards
from hyperd.api.sessions.scale_down import ScaleDown
from hyperd.api.sessions.terminals import Sessions
from hyperd.api.sessions.uploads import Uploads
from hyperd.api.stats.objects import ObjectMetrics
from hyperd.api.stats.sampler import Sampler
from hyperd.api.stats.unstored import stores
from hyperd.api.wire.metrics import Sample
from hyperd.background import Background, end_all, end_by
from hyperd.controllers.all import controllers
from hyperd.controllers.context import Context
from hyperd.controllers.export import Exports as Exporting
from hyperd.controllers.host.collection import Collection
from hyperd.controllers.host.merges import Merges
from hyperd.controllers.host.quarantine import Quarantine
from hyperd.controllers.host.sweep import Sweeper
from hyperd.controllers.machine.holders import holder
from hyperd.controllers.witness import Witness
from hyperd.errors import HyperdError, ServiceUnavailable
from hyperd.home import make_home
from hyperd.hypervisor.console.hub import ConsoleHub
from hyperd.offload import Offload
from hyperd.resources.all import EVENT, PERSISTENT_VOLUME_CLAIM, POD, POD_DISRUPTION_BUDGET
from hyperd.resources.values import names
from hyperd.runtime.controller import Controller, Manager
from hyperd.runtime.recorder import EventRecorder
from hyperd.settings import Settings
from hyperd.store.interface import Requirement, Selector
from hyperd.world import THIS_HOST, World

_log = logging.getLogger(__name__)
_START_SECONDS = 30.0
"""How long a request waits for what only a started daemon can do."""
_STOP_SECONDS = 20.0
"""How long the daemon's work may take to end; a service manager kills it after 30 (``data/hyperd.service``)."""
_THREAD_SECONDS = 1.0
_THREADS = "hyperd-call"
"""Names of the threads in which the host is asked."""
_CONCERNED = {
    kind: Selector(labels=(Requirement(label, "exists"),))
    for kind, label in (
        (POD, names.VM_UID_LABEL),
        (POD_DISRUPTION_BUDGET, names.VM_UID_LABEL),
        (PERSISTENT_VOLUME_CLAIM, names.VD_UID_LABEL),
    )
}
"""Of others' kinds what is of machines and disks: a cluster has many more."""


class Daemon:
    """One daemon: ``start``, then ``stop``."""

    def __init__(self, settings: Settings, world: World = THIS_HOST) -> None:
        """Nothing is begun, and nothing of the host looked at."""
        self.settings = settings
        self.node_name = settings.node
        self._processes = Offload()
        self._home = make_home(settings, self._processes)
        self._manager = Manager(self._home.store, leads=self._home.ownership.leads, selectors=_CONCERNED)
        self._consoles = ConsoleHub(settings)
        self._context = self._wire(world)
        self._controllers = self._make_controllers()
        self._sweeper: Sweeper | None = None
        self._collection: Collection | None = None
        self._started = asyncio.Event()
        here = self.node_name if self._home.ownership.binds else ""
        self._sessions = Sessions(
            self._home.store,
            consoles=self._consoles,
            graphics=self._context.hypervisor,
            record=self._context.events.event,
            node_name=here,
        )
        forwards = PortForwards(self._home.store, networks=settings.network.virtual_machine_cidrs, node_name=here)
        upkeep = Maintenance(
            self.node_name, self._collect_garbage, backup=self._home.backup, folder=settings.state_dir
        )
        uploads = Uploads(self._home.store, self._context.images.intake)
        self._exports = exports = Exports(Exporting(self._context, partial(holder, self._context)).open, settings)
        handlers = {
            **self._sessions.handlers(),
            **forwards.handlers(),
            **upkeep.handlers(),
            **uploads.handlers(),
            **exports.handlers(),
            **ScaleDown(self._home.store).handlers(),
            **Evacuations(self._home.store).handlers(),
            **Freezes(self._home.store, self._context.hypervisor, node_name=here).handlers(),
        }
        self._sampler = Sampler(self._context.hypervisor, storage=settings.state_dir)
        self._api = ApiServer(
            settings,
            self._home.store,
            sessions=handlers,
            collectors=(self._samples, self._sampler.samples),
            authorizer=self._home.authorizer,
            objects_elsewhere=(lambda: self._home.elsewhere) if settings.home != "embedded" else None,
            processes=self._processes,
            uploads=uploads,
            exports=exports,
            registry=self._context.images.endpoint,
            unstored=stores(self._sampler, self.node_name),
        )
        self._api.metrics.add_beside(ObjectMetrics(self._manager.informer, self._home.ownership.leads).take)
        self._entrances = self._home.entrances(handlers, self._api.metrics, self._api.audit)
        self._background = Background()

    def _wire(self, world: World) -> Context:
        conf = self.settings
        return Context(
            settings=conf,
            node_name=self.node_name,
            store=self._home.store,
            store_id=lambda: self._home.instance_id,
            witness=Witness(conf.state_dir / "seen.json", lambda: self._home.instance_id),
            ownership=self._home.ownership,
            informer=self._manager.informer,
            events=EventRecorder(
                self._home.store,
                EVENT,
                component="hyperd",
                host=self.node_name,
                ttl_seconds=conf.operations.event_ttl_seconds,
                prunes=conf.home == "embedded",
            ),
            hypervisor=world.hypervisor(conf),
            network=world.network(conf),
            volumes=world.volumes(conf),
            seeds=world.seeds(conf),
            images=world.images(conf),
        )

    def _make_controllers(self) -> list[Controller]:
        placement = self._home.placement(self._context)
        made = [*controllers(self._context, placement), *placement.controllers()]
        for controller in made:
            self._manager.add(controller)
        return made

    async def start(self) -> None:
        """Bring everything up. Raises PermanentError with a sentence when this daemon cannot run here."""
        await asyncio.to_thread(_make_folders, self.settings)
        await self._home.open()
        context = self._context
        await context.hypervisor.start()
        await self._api.start()
        if own := self._api.url:
            context.images.intake.serve_at(self.settings.api.public_url or own, own)
            self._exports.lending.base = (self.settings.api.public_url or own).rstrip("/")
        for entrance in self._entrances:
            await entrance.start()
        self._api.ready = True
        # After the API: a registry that does not come up keeps nobody from reading.
        await context.images.start()
        await self._home.prepare()
        await context.network.start()
        await context.volumes.start()
        await context.seeds.clean()
        quarantine = Quarantine(self.settings.state_dir / "quarantine")
        self._sweeper = Sweeper(context, quarantine)
        await self._sweeper.begin()
        merges = Merges(context)
        self._collection = Collection(context, self._sweeper, quarantine)
        self._background.spawn(context.events.run, "events")
        await self._manager.start()
        for number, work in enumerate(self._home.beside(context, self._manager)):
            self._background.spawn(work, f"home {number}")
        self._background.spawn(self._sweeper.run, "sweep")
        self._background.spawn(merges.run, "merges")
        self._background.spawn(self._collection.run, "collection")
        self._background.spawn(self._sampler.run, "samples")
        self._started.set()
        await asyncio.to_thread(_notify, "READY=1")
        _log.info("hyperd %s serves node %s on %s.", __version__, self.node_name, self.settings.socket_path)

    async def stop(self) -> None:
        """End everything of ours that has begun, whatever has not; guests go on. Safe to call twice."""
        context = self._context
        in_time: list[tuple[str, Callable[[], Awaitable[None]]]] = [
            ("what runs beside", self._background.stop),
            ("the controllers", self._manager.stop),
            ("the work of the controllers", self._end_work),
            ("the network", context.network.close),
            ("the consoles", self._consoles.close),
            ("libvirt's connection", context.hypervisor.close),
            ("the images", context.images.close),
        ]
        deadline = asyncio.get_running_loop().time() + _STOP_SECONDS
        endings: list[tuple[str, Callable[[], Awaitable[None]]]] = [
            ("word to systemd", partial(asyncio.to_thread, _notify, "STOPPING=1")),
            ("what relies on this daemon", self._home.rest),
            ("the sessions", self._sessions.close),
            *(("an entrance", entrance.stop) for entrance in self._entrances),
            ("the API", self._api.stop),
            *((name, partial(end_by, deadline, name, end)) for name, end in in_time),
            ("the home", self._home.close),
            ("the processes for large bodies", self._processes.close),
        ]
        await end_all(endings)

    async def _end_work(self) -> None:
        """Of all controllers together: each may take as long as its slowest piece."""
        ends = [[(f"the work of {each.name}", each.close)] for each in self._controllers]
        await asyncio.gather(*map(end_all, ends))

    async def _collect_garbage(self, ask: Ask) -> Garbage:
        try:
            # The API answers before all that can be collected is known.
            async with asyncio.timeout(_START_SECONDS):
                await self._started.wait()
        except TimeoutError:
            raise ServiceUnavailable("The daemon is starting; ask again in a moment.") from None
        assert self._collection is not None  # noqa: S101  it was made before the start ended
        if ask.checks:
            found = await self._collection.check()
            return Garbage({}, self._collection.kept(), self._context.witness.sentence(), found)
        collected = await self._collection.collect(accept=ask.accept, empty=ask.empty, lists=ask.lists)
        removed = {"manifests": collected.manifests, "repositories": collected.repositories}
        return Garbage(removed, self._collection.kept(), self._context.witness.sentence())

    def _samples(self) -> Iterator[Sample]:
        help_ = "Changes committed since the start."
        yield Sample("hyperd_store_writes_total", self._home.writes, kind="counter", help=help_)
        yield Sample(
            "hyperd_leader", float(self._home.ownership.leads()), help="1 when cluster-wide work is done here."
        )
        yield Sample(
            "hyperd_libvirt_connected", float(self._context.hypervisor.connected), help="1 when libvirt answers."
        )
        for report in self._manager.report():
            labels = (("controller", report.name),)
            yield Sample("hyperd_queue_depth", report.queue_depth, labels, help="Keys that wait for a worker.")
            yield Sample("hyperd_queue_delayed", report.delayed, labels, help="Keys that wait for their time.")
            yield Sample("hyperd_workers_busy", report.metrics.busy, labels, help="Workers that reconcile now.")
            yield Sample("hyperd_reconciles_total", report.metrics.reconciles, labels, kind="counter")
            yield Sample("hyperd_reconcile_errors_total", report.metrics.errors, labels, kind="counter")
            yield Sample("hyperd_reconcile_seconds_total", report.metrics.seconds_total, labels, kind="counter")


def _make_folders(conf: Settings) -> None:
    """State is root's; QEMU's user may pass through to the files that libvirt gives it."""
    for path, mode in (
        (conf.state_dir, 0o711),
        (conf.run_dir, 0o755),
        (conf.log_dir, 0o750),
        (conf.images_dir, 0o711),
        (conf.nvram_dir, 0o711),
        (conf.seeds_dir, 0o711),
        (conf.console_dir, 0o711),
        (conf.console_log_dir, 0o700),
    ):
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(mode)


def _notify(state: str) -> None:
    """Tell systemd, when it asked to be told."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)


async def serve(conf: Settings, world: World = THIS_HOST) -> None:
    """Run until a signal ends it."""
    loop = asyncio.get_running_loop()
    threads = ThreadPoolExecutor(thread_name_prefix=_THREADS)
    loop.set_default_executor(threads)
    ended = asyncio.Event()
    signals.heed(loop, ended.set)
    daemon = Daemon(conf, world)
    try:
        # A start may wait for a cluster's API server for as long as it takes.
        starting = asyncio.create_task(daemon.start())
        stopping = asyncio.create_task(ended.wait())
        await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            footprint.settle()
        await stopping
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
    finally:
        await daemon.stop()
        _leave(threads, failed=sys.exc_info()[0] is not None)


def _leave(threads: ThreadPoolExecutor, *, failed: bool) -> None:
    """All has ended but what hangs in a call to the host: Python would wait for its thread for ever."""
    threads.shutdown(wait=False, cancel_futures=True)
    deadline = time.monotonic() + _THREAD_SECONDS
    ours = [thread for thread in threading.enumerate() if thread.name.startswith(_THREADS)]
    for thread in ours:
        thread.join(max(0.0, deadline - time.monotonic()))
    if held := sum(thread.is_alive() for thread in ours):
        _log.error("%d calls to the host hang; hyperd ends without them.", held)
        logging.shutdown()
        os._exit(1 if failed else 0)


def main(argv: Sequence[str] | None = None, *, world: World = THIS_HOST) -> int:
    """Entry point. 0 after a clean stop, 1 with one sentence when the daemon cannot run."""
    args = arguments.parser().parse_args(argv)
    try:
        conf = loading.load(file=args.config, overrides=loading.overrides(args.set))
        if args.command == "restore":
            commands.restore_store(conf, args.backup)
            return 0
        if args.command == "leave":
            commands.leave_host(conf, world)
            return 0
        logs.setup(conf.log)
        footprint.keep_small()
        raise_limit()
        asyncio.run(serve(conf, world))
    except HyperdError as err:
        print(f"hyperd: {err.message}", file=sys.stderr)  # noqa: T201  before or beside the log
        return 1
    except OSError as err:
        print(f"hyperd: It cannot run here: {err}.", file=sys.stderr)  # noqa: T201  before or beside the log
        return 1
    except KeyboardInterrupt:
        return 130
    except Exception as err:  # noqa: BLE001  border: who starts it gets a sentence; the log has what to report
        _log.exception("hyperd cannot run")
        print(  # noqa: T201  before or beside the log
            f"hyperd: It cannot run here: {type(err).__name__}: {str(err)[:500]}. The log has more.",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
