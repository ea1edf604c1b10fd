"""A real store, real unix sockets and real WebSockets; only QEMU and the user's name are stood for."""

from __future__ import annotations

import asyncio
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
from aiohttp import web

from hyperd.api.sessions.port_forward import PortForwards
from hyperd.api.sessions.terminals import Sessions
from hyperd.api.wire.subresources import SubresourceHandlers
from hyperd.errors import HyperdError
from hyperd.hypervisor.console.hub import ConsoleHub
from hyperd.resources.all import KINDS
from hyperd.resources.kinds.virtual_machine import VIRTUAL_MACHINE
from hyperd.resources.schema.kind import Object
from hyperd.settings import Settings
from hyperd.store.embedded.store import EmbeddedStore
from hyperd.store.interface import User

NETWORK = IPv4Network("127.0.0.0/24")
PROTOCOL = "plain.virtualization.deckhouse.io"
SPEC = {
    "virtualMachineClassName": "generic",
    "cpu": {"cores": 1},
    "memory": {"size": "1Gi"},
    "blockDeviceRefs": [{"kind": "VirtualDisk", "name": "root"}],
}


class Serial:
    """The serial port of one guest, as QEMU has it: one client at a time, output to nobody is lost."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.typed = asyncio.Queue[bytes]()
        self.connected = asyncio.Event()
        self.connections = 0
        self._writer: asyncio.StreamWriter | None = None
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self._path)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writer = writer
        self.connected.set()
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                self.typed.put_nowait(data)
        writer.close()

    async def say(self, data: bytes) -> None:
        await asyncio.wait_for(self.connected.wait(), 5)
        assert self._writer is not None
        self._writer.write(data)
        await self._writer.drain()

    async def power_off(self) -> None:
        assert self._server is not None
        self._server.close()
        if self._writer is not None:
            self._writer.close()
        self._path.unlink(missing_ok=True)


class Screens:
    """Hands over VNC sockets, as libvirt does; ``peers`` are QEMU's ends."""

    def __init__(self) -> None:
        self.peers = asyncio.Queue[socket.socket]()

    async def open_graphics(self, uid: str) -> socket.socket:
        ours, peer = socket.socketpair()
        peer.setblocking(False)
        self.peers.put_nowait(peer)
        return ours


@dataclass
class Lab:
    """Sessions behind a server on a unix socket; the ``X-User`` header says who asks."""

    settings: Settings
    store: EmbeddedStore
    hub: ConsoleHub
    sessions: Sessions
    screens: Screens
    client: aiohttp.ClientSession
    events: list[tuple[str, str, str]]
    serials: list[Serial] = field(default_factory=list)

    async def machine(self, name: str = "web", *, phase: str = "Running") -> Object:
        body: Object = {
            "apiVersion": VIRTUAL_MACHINE.api_version,
            "kind": "VirtualMachine",
            "metadata": {"name": name, "namespace": "default"},
            "spec": SPEC,
        }
        vm = (await self.store.create(VIRTUAL_MACHINE, "default", body)).object()
        return await self.set_phase(vm, phase)

    async def set_phase(self, vm: Object, phase: str) -> Object:
        meta = vm["metadata"]
        changed = (await self.store.get(VIRTUAL_MACHINE, "default", meta["name"])).object() | {
            "status": {"phase": phase}
        }
        item = await self.store.update(VIRTUAL_MACHINE, "default", meta["name"], changed, subresource="status")
        found: Object = item.object()
        return found

    async def serial(self, vm: Object) -> Serial:
        serial = Serial(self.settings.console_dir / vm["metadata"]["uid"])
        await serial.start()
        self.serials.append(serial)
        return serial

    def connect(self, what: str = "console", *, user: str = "alice", query: str = "", **kwargs: Any) -> Any:
        """A WebSocket, to be used as a context manager."""
        headers = {"X-User": user, **kwargs.pop("headers", {})}
        url = f"http://h/default/web/{what}{query}"
        return self.client.ws_connect(url, protocols=(PROTOCOL,), headers=headers, autoclose=False, **kwargs)

    async def get(self, what: str, *, user: str = "alice") -> tuple[int, Any]:
        async with self.client.get(f"http://h/default/web/{what}", headers={"X-User": user}) as response:
            is_json = response.content_type == "application/json"
            return response.status, await (response.json() if is_json else response.read())


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short enough for unix sockets."""
    path = Path(tempfile.mkdtemp(prefix="hvs"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
async def settings(folder: Path) -> Settings:
    settings = Settings(state_dir=folder, run_dir=folder, log_dir=folder)
    settings.console_dir.mkdir(mode=0o711)
    settings.console_log_dir.mkdir(mode=0o700)
    return settings


@pytest.fixture
async def hub(settings: Settings) -> AsyncIterator[ConsoleHub]:
    hub = ConsoleHub(settings)
    yield hub
    await hub.close()


@pytest.fixture
async def serial(settings: Settings) -> AsyncIterator[Serial]:
    serial = Serial(settings.console_dir / str(uuid4()))
    await serial.start()
    yield serial
    await serial.power_off()


@pytest.fixture
async def lab(settings: Settings, hub: ConsoleHub) -> AsyncIterator[Lab]:
    store = EmbeddedStore(settings.database_path, settings=settings.store, admit=None, kinds=KINDS)
    await store.start()
    events: list[tuple[str, str, str]] = []
    screens = Screens()
    sessions = Sessions(
        store,
        consoles=hub,
        graphics=screens,
        record=lambda vm, level, reason, message: events.append((level, reason, message)),
        renew_seconds=0.05,
    )
    handlers = {**sessions.handlers(), **PortForwards(store, networks=[NETWORK]).handlers()}
    async with _serving(sessions, handlers, settings.run_dir / "s") as client:
        lab = Lab(settings, store, hub, sessions, screens, client, events)
        yield lab
        for serial in lab.serials:
            await serial.power_off()
    await store.close()


@asynccontextmanager
async def _serving(
    sessions: Sessions, handlers: SubresourceHandlers, path: Path
) -> AsyncIterator[aiohttp.ClientSession]:
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        namespace, name, what = request.path.strip("/").split("/")
        try:
            user = User(request.headers["X-User"])
            return await handlers["virtualmachines", what](request, user, namespace, name)
        except HyperdError as error:
            return web.json_response(error.status(), status=error.code)

    runner = web.ServerRunner(web.Server(handle, handler_cancellation=True), shutdown_timeout=2)
    await runner.setup()
    await web.UnixSite(runner, str(path)).start()
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=str(path))) as client:
        yield client
        await sessions.close()
    await runner.cleanup()
