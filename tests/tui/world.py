"""A real API server over a real store, with a small fleet in it and a guest behind a serial socket.

Run as a program (``python -m tests.tui.world FOLDER``) it serves until it is stopped, to try the UI by hand.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from hyperd.api.serving.app import ApiServer
from hyperd.api.sessions.port_forward import PortForwards
from hyperd.api.sessions.terminals import Sessions
from hyperd.api.stats.sampler import Sampler
from hyperd.api.stats.unstored import stores
from hyperd.client.home import Home, local
from hyperd.hypervisor.console.hub import ConsoleHub
from hyperd.resources.all import KINDS
from hyperd.resources.schema.kind import Object
from hyperd.settings import ApiSettings, Settings
from hyperd.store.embedded.store import EmbeddedStore
from tests.tui.screens import Picture, Pictures
from tests.unit.api.measured import Guests as Measured

GROUP = "virtualization.deckhouse.io"
BOOT = b"[    0.000000] Linux version 6.1.0\r\n[    1.204511] \x1b[1;32mvirtio_blk\x1b[0m: ready\r\n"
API = f"{GROUP}/v1alpha2"
_LOOPBACK = IPv4Network("127.0.0.0/8")


class Guest:
    """Echoes what is typed and answers Enter with a prompt, as a getty does."""

    def __init__(self, hostname: str) -> None:
        self.hostname = hostname
        self.typed = b""
        self.lines: list[asyncio.StreamWriter] = []
        self.deaf = asyncio.Event()
        """Set where it takes no input any more."""
        self._server: asyncio.Server | None = None

    async def listen(self, path: Path) -> None:
        self._server = await asyncio.start_unix_server(self._serve, path)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.lines.append(writer)
        while (data := await reader.read(1024)) and not self.deaf.is_set():
            self.typed += data
            writer.write(data.replace(b"\r", f"\r\n{self.hostname} login: ".encode()))
        if self.deaf.is_set():
            await asyncio.Event().wait()
        writer.close()

    def say(self, data: bytes) -> None:
        """Print to everyone who is connected."""
        for writer in self.lines:
            writer.write(data)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in self.lines:
            writer.close()


@dataclass
class World:
    """One daemon's API with its store; ``stop`` and ``start`` are a restart of the daemon."""

    settings: Settings
    store: EmbeddedStore
    server: ApiServer
    sessions: Sessions
    hub: ConsoleHub
    guests: dict[str, Guest] = field(default_factory=dict)
    uids: dict[str, str] = field(default_factory=dict)
    measured: Measured = field(default_factory=Measured)
    pictures: Pictures = field(default_factory=Pictures)
    _sampling: asyncio.Task[None] | None = None

    @property
    def home(self) -> Home:
        return local(str(self.settings.socket_path))

    async def add(self, plural: str, obj: Object, status: Object | None = None, *, group: str = GROUP) -> Object:
        """Create an object, with its status."""
        kind = KINDS.by_resource(group, plural)
        assert kind is not None
        namespace = obj["metadata"].get("namespace", "") if kind.namespaced else ""
        item = await self.store.create(kind, namespace, obj)
        if status is not None:
            await self.set_status(plural, namespace, obj["metadata"]["name"], status, group=group)
        found: Object = item.object()
        return found

    async def set_status(
        self, plural: str, namespace: str, name: str, status: Object, *, group: str = GROUP
    ) -> None:
        """Replace an object's status, as a controller does."""
        kind = KINDS.by_resource(group, plural)
        assert kind is not None
        obj = (await self.store.get(kind, namespace, name)).object()
        obj["status"] = status
        await self.store.update(kind, namespace, name, obj, subresource="status")

    async def remove(self, plural: str, namespace: str, name: str) -> None:
        kind = KINDS.by_resource(GROUP, plural)
        assert kind is not None
        await self.store.delete(kind, namespace, name)

    async def names(self, plural: str) -> list[str]:
        kind = KINDS.by_resource(GROUP, plural)
        assert kind is not None
        return [item.name for item in (await self.store.list(kind)).items]

    async def machine(
        self, name: str, *, namespace: str = "shop", phase: str = "Running", **status: Any
    ) -> Object:
        """A machine; a running one has a guest on its console."""
        obj = await self.add("virtualmachines", machine(name, namespace=namespace), {"phase": phase, **status})
        if phase == "Running":
            uid = self.uids[name] = obj["metadata"]["uid"]
            guest = self.guests[name] = Guest(name)
            await guest.listen(self.settings.console_dir / uid)
            log = self.settings.console_log_dir / f"{uid}.log"
            log.write_bytes(BOOT)
        return obj

    def picture(self, name: str) -> Picture:
        """A machine's screen."""
        return self.pictures.of.setdefault(self.uids[name], Picture())

    async def stop(self) -> None:
        """The daemon goes; guests stay."""
        if self._sampling is not None:
            self._sampling.cancel()
            await asyncio.gather(self._sampling, return_exceptions=True)
        await self.sessions.close()
        await self.server.stop()
        await self.hub.close()
        await self.store.close()

    async def start(self) -> None:
        """The daemon comes (again) over what is on disk."""
        sampler = Sampler(self.measured, storage=self.settings.state_dir)
        self.store, self.hub, self.sessions, self.server = _parts(self.settings, sampler, self.pictures)
        self._sampling = asyncio.create_task(sampler.run())
        await self.store.start()
        await self.server.start()

    async def close(self) -> None:
        await self.stop()
        await self.pictures.close()
        for guest in self.guests.values():
            await guest.close()


def machine(name: str, *, namespace: str = "shop", **spec: Any) -> Object:
    """A small valid machine."""
    return {
        "apiVersion": API,
        "kind": "VirtualMachine",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "virtualMachineClassName": "generic",
            "cpu": {"cores": 2, "coreFraction": "100%"},
            "memory": {"size": "2Gi"},
            "blockDeviceRefs": [{"kind": "VirtualDisk", "name": f"{name}-root"}],
            **spec,
        },
    }


def image(name: str, *, namespace: str = "shop") -> Object:
    return {
        "apiVersion": API,
        "kind": "VirtualImage",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "storage": "ContainerRegistry",
            "dataSource": {"type": "HTTP", "http": {"url": "http://images.example/debian-12.qcow2"}},
        },
    }


def disk(name: str, *, namespace: str = "shop", of: str = "debian-12") -> Object:
    return {
        "apiVersion": API,
        "kind": "VirtualDisk",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "dataSource": {"type": "ObjectRef", "objectRef": {"kind": "VirtualImage", "name": of}},
            "persistentVolumeClaim": {"size": "20Gi", "storageClassName": "local"},
        },
    }


def event(about: Object, reason: str, message: str, *, type_: str = "Normal", minutes: int = 1) -> Object:
    metadata = about["metadata"]
    name = f"{metadata['name']}.{reason.lower()}"
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": metadata.get("namespace", "default")},
        "involvedObject": {
            "kind": about["kind"], "namespace": metadata.get("namespace"), "name": metadata["name"],
            "uid": metadata["uid"], "apiVersion": about["apiVersion"],
        },
        "reason": reason, "message": message, "type": type_, "count": 1, "lastTimestamp": ago(minutes=minutes),
    }  # fmt: skip


def ago(**delta: float) -> str:
    return (datetime.now(UTC) - timedelta(**delta)).strftime("%Y-%m-%dT%H:%M:%SZ")


def failing(kind: str, reason: str, message: str) -> list[Object]:
    """One condition that is False."""
    return [
        {
            "type": kind,
            "status": "False",
            "reason": reason,
            "message": message,
            "lastTransitionTime": ago(minutes=2),
        }
    ]


def _parts(
    settings: Settings, sampler: Sampler, pictures: Pictures
) -> tuple[EmbeddedStore, ConsoleHub, Sessions, ApiServer]:
    store = EmbeddedStore(settings.database_path, settings=settings.store, admit=None, kinds=KINDS)
    hub = ConsoleHub(settings)
    sessions = Sessions(store, consoles=hub, graphics=pictures, record=lambda *_: None)
    handlers = {**sessions.handlers(), **PortForwards(store, networks=[_LOOPBACK]).handlers()}
    server = ApiServer(settings, store, sessions=handlers, unstored=stores(sampler, "n1"))
    return store, hub, sessions, server


@contextmanager
def short_folder() -> Iterator[Path]:
    """A folder whose path leaves room for unix sockets."""
    path = Path(tempfile.mkdtemp(prefix="hvt"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[World]:
    """A started, empty world in ``folder``."""
    settings = Settings(
        state_dir=folder / "state", run_dir=folder / "run", log_dir=folder / "log", api=ApiSettings(port=0)
    )
    _make_folders(settings)
    measured, pictures = Measured(), Pictures()
    store, hub, sessions, server = _parts(settings, Sampler(measured, storage=settings.state_dir), pictures)
    world = World(settings, store, server, sessions, hub, measured=measured, pictures=pictures)
    await world.start()
    try:
        for name in ("shop", "lab"):
            await world.add(
                "namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}, group=""
            )
        yield world
    finally:
        await world.close()


def _make_folders(settings: Settings) -> None:
    for path in (settings.state_dir, settings.console_dir, settings.console_log_dir):
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(0o711)


async def populate(world: World) -> None:
    """A small shop: machines in several states, disks, an image on its way, events."""
    web = await world.machine(
        "web-7", ipAddress="10.66.10.7", nodeName="n1",
        stats={"lastStartTime": ago(hours=5)},
        resources={"cpu": {"cores": 2, "coreFraction": "100%"}, "memory": {"size": "2Gi"}},
        blockDeviceRefs=[
            {"kind": "VirtualDisk", "name": "web-7-root", "size": "20Gi", "attached": True, "target": "sda"}
        ],
        conditions=[
            {"type": "Running", "status": "True", "reason": "Running", "lastTransitionTime": ago(hours=5)},
            {"type": "AwaitingRestartToApplyConfiguration", "status": "True", "reason": "ChangesPendingRestart",
             "message": "memory.size 2Gi → 4Gi waits for a restart", "lastTransitionTime": ago(minutes=5)},
        ],
        restartAwaitingChanges=[
            {"operation": "replace", "path": "memory.size", "currentValue": "2Gi", "desiredValue": "4Gi"}
        ],
    )  # fmt: skip
    await world.machine("web-8", ipAddress="10.66.10.8", nodeName="n1", stats={"lastStartTime": ago(minutes=12)})
    await world.machine("db-1", phase="Stopped", nodeName="")
    await world.machine(
        "test", namespace="lab", phase="Pending",
        conditions=failing(
            "BlockDevicesReady", "BlockDevicesNotReady", "Waiting for VirtualDisk test-root: its image imports"
        ),
    )  # fmt: skip
    for name, phase in (("web-7-root", "Ready"), ("web-8-root", "Ready"), ("db-1-root", "Ready")):
        await world.add(
            "virtualdisks", disk(name),
            {"phase": phase, "capacity": "20Gi", "storageClassName": "local",
             "attachedToVirtualMachines": [{"name": name.removesuffix("-root"), "mounted": True}]},
        )  # fmt: skip
    await world.add(
        "virtualimages", image("debian-12"),
        {"phase": "Ready", "format": "qcow2", "progress": "100%", "cdrom": False,
         "size": {"stored": "285.9Mi", "unpacked": "2.5Gi"}},
    )  # fmt: skip
    await world.add(
        "virtualimages", image("ubuntu-24", namespace="lab"),
        {"phase": "Provisioning", "progress": "37.2%", "downloadSpeed": {"current": "84Mi"},
         "conditions": failing("Ready", "Provisioning", "Importing http://images.example/ubuntu.img")},
    )  # fmt: skip
    await world.add(
        "virtualimages", image("broken", namespace="lab"),
        {"phase": "Failed",
         "conditions": failing("Ready", "ProvisioningFailed", "The file is an HTML page, not a disk image")},
    )  # fmt: skip
    await world.add("events", event(web, "Started", "The machine runs", minutes=300), group="")
    await world.add("events", event(web, "RestartAwaitingChanges", "memory.size waits", type_="Warning"), group="")


async def _main(folder: Path) -> None:
    async with serving(folder) as world:
        if "--empty" not in sys.argv:
            await populate(world)
        for argument in sys.argv:
            if argument.startswith("--many="):
                for number in range(int(argument.removeprefix("--many="))):
                    await world.machine(f"vm-{number:05}", phase="Stopped")
        print(f"HYPERD_SOCKET={world.settings.socket_path}", os.getpid(), flush=True)
        while True:
            await asyncio.sleep(1)


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1])))
