"""A start that fails or is called off anywhere leaves nothing behind once stopped; nor does a stop that fails."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import hyperd
from hyperd.api.certificates import pki
from hyperd.api.serving import listeners
from hyperd.cli.doctor_host import ThisHost
from hyperd.daemon import Daemon
from hyperd.home import EmbeddedHome
from hyperd.settings import ApiSettings, HypervisorSettings, RegistrySettings, Settings
from hyperd.store.embedded.database import lock_store
from registry.images import NodeImages
from tests.testdriver.hypervisor import URI
from tests.testdriver.world import TEST_DRIVER

BEGINNINGS: dict[str, Callable[[Daemon], tuple[Any, str]]] = {
    "the store": lambda daemon: (_store(daemon)._engine, "open"),
    "its content": lambda daemon: (_store(daemon)._engine, "load"),
    "memory": lambda daemon: (_store(daemon)._memory, "load"),
    "the ledger": lambda daemon: (_store(daemon)._ledger, "begin"),
    "watches": lambda daemon: (_store(daemon)._hub, "begin"),
    "the first namespaces": lambda daemon: (_store(daemon), "create"),
    "housekeeping": lambda daemon: (_store(daemon)._housekeeper, "start"),
    "quotas": lambda daemon: (_store(daemon)._keeper, "start"),
    "the home": lambda daemon: (daemon._home, "open"),
    "libvirt": lambda daemon: (daemon._context.hypervisor, "start"),
    "the audit log": lambda daemon: (daemon._api.audit, "start"),
    "the unix socket": lambda _: (listeners, "unix"),
    "certificates": lambda _: (pki, "ensure"),
    "the TLS port": lambda _: (listeners, "tcp"),
    "the kubeconfig": lambda _: (pki, "write_kubeconfig"),
    "the API": lambda daemon: (daemon._api, "start"),
    "the home's check": lambda daemon: (daemon._home, "prepare"),
    "the pool": lambda daemon: (daemon._context.volumes, "start"),
    "the cache": lambda daemon: (_images(daemon)._cache, "clean"),
    "the controllers": lambda daemon: (daemon._manager, "start"),
}
MAKERS = ("the unix socket", "the TLS port", "certificates")
"""What they make, nobody has when they fail."""
ENDINGS: dict[str, Callable[[Daemon], tuple[Any, str]]] = {
    "the sessions": lambda daemon: (daemon._sessions, "close"),
    "the API": lambda daemon: (daemon._api, "stop"),
    "the audit log": lambda daemon: (daemon._api.audit, "close"),
    "what runs beside": lambda daemon: (daemon._background, "stop"),
    "the controllers": lambda daemon: (daemon._manager, "stop"),
    "the network": lambda daemon: (daemon._context.network, "close"),
    "the consoles": lambda daemon: (daemon._consoles, "close"),
    "libvirt": lambda daemon: (daemon._context.hypervisor, "close"),
    "the registry": lambda daemon: (_images(daemon)._client, "close"),
    "housekeeping": lambda daemon: (_store(daemon)._housekeeper, "stop"),
    "quotas": lambda daemon: (_store(daemon)._keeper, "stop"),
    "watches": lambda daemon: (_store(daemon)._hub, "close"),
    "the home": lambda daemon: (daemon._home, "close"),
}


class Broken(Exception):
    """What was put into a step."""


def _images(daemon: Daemon) -> NodeImages:
    assert isinstance(daemon._context.images, NodeImages)
    return daemon._context.images


def _store(daemon: Daemon) -> Any:
    assert isinstance(daemon._home, EmbeddedHome)
    return daemon._home.store


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short enough for unix sockets."""
    path = Path(tempfile.mkdtemp(prefix="hvd"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def daemon(folder: Path) -> Daemon:
    """Over libvirt's test driver, in folders of its own, without a registry."""
    return Daemon(
        Settings(
            node_name="node",
            instance="halves",
            state_dir=folder / "s",
            run_dir=folder / "r",
            log_dir=folder / "l",
            config_dir=folder,
            api=ApiSettings(port=0),
            hypervisor=HypervisorSettings(uri=URI),
            registry=RegistrySettings(url="http://127.0.0.1:9"),
        ),
        TEST_DRIVER,
    )


def _break(patch: pytest.MonkeyPatch, owner: Any, name: str, *, after: bool) -> None:
    """Have the step fail, instead of what it does or after it."""
    original = getattr(owner, name)

    if asyncio.iscoroutinefunction(original):

        async def failing(*args: Any, **kwargs: Any) -> None:
            if after:
                await original(*args, **kwargs)
            raise Broken(name)

        patch.setattr(owner, name, failing)
        return

    def failing_now(*args: Any, **kwargs: Any) -> None:
        if after:
            original(*args, **kwargs)
        raise Broken(name)

    patch.setattr(owner, name, failing_now)


def _threads() -> set[str]:
    """But for those that asyncio keeps for the next work, and libvirt's event loop, which nothing ends."""
    names = {thread.name for thread in threading.enumerate()}
    return {name for name in names if not name.startswith(("asyncio_", "libvirt", "MainThread"))}


async def _nothing_is_left(daemon: Daemon, threads: set[str]) -> None:
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert _threads() <= threads
    assert not daemon.settings.socket_path.exists()
    path = daemon.settings.database_path
    if path.parent.is_dir():
        # Another daemon may have the store.
        os.close(lock_store(path))


@pytest.mark.parametrize(
    ("beginning", "after"),
    [(name, after) for name in BEGINNINGS for after in (False, True) if not (after and name in MAKERS)],
)
async def test_stop_survives_any_half_of_start(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, beginning: str, after: bool
) -> None:
    threads = _threads()
    with monkeypatch.context() as patch:
        _break(patch, *BEGINNINGS[beginning](daemon), after=after)
        with pytest.raises(Broken):
            await daemon.start()
        await daemon.stop()
        await daemon.stop()
    await _nothing_is_left(daemon, threads)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize(
    "beginning", ["the store", "its content", "libvirt", "the API", "the pool", "the controllers"]
)
async def test_a_start_may_be_called_off(daemon: Daemon, monkeypatch: pytest.MonkeyPatch, beginning: str) -> None:
    threads = _threads()
    reached = asyncio.Event()
    owner, name = BEGINNINGS[beginning](daemon)
    original = getattr(owner, name)

    async def hanging() -> None:
        await original()
        reached.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(owner, name, hanging)
    starting = asyncio.create_task(daemon.start())
    await reached.wait()
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    await daemon.stop()
    await _nothing_is_left(daemon, threads)


@pytest.mark.parametrize("ending", ENDINGS)
async def test_an_end_that_fails_keeps_nothing_else_from_ending(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, ending: str
) -> None:
    threads = _threads()
    await daemon.start()
    with monkeypatch.context() as patch:
        _break(patch, *ENDINGS[ending](daemon), after=True)
        await daemon.stop()
    await _nothing_is_left(daemon, threads)
    assert sum("failed" in record.getMessage() for record in caplog.records) == 1


async def test_cancelling_a_stop_ends_all_the_same(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = _threads()
    await daemon.start()
    reached = asyncio.Event()
    original = daemon._manager.stop

    async def slow() -> None:
        await original()
        reached.set()
        await asyncio.sleep(3600)

    monkeypatch.setattr(daemon._manager, "stop", slow)
    stopping = asyncio.create_task(daemon.stop())
    await reached.wait()
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping
    await _nothing_is_left(daemon, threads)


async def test_systemd_hears_that_the_daemon_answers_and_that_it_ends(
    daemon: Daemon, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then `systemctl start` waits, and what is typed after it finds a daemon."""
    unit = Path(hyperd.__file__).parent / "data" / "hyperd.service"
    assert "Type=notify\n" in unit.read_text()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(folder / "notify"))
        systemd.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(folder / "notify"))
        await daemon.start()
        assert systemd.recv(64) == b"READY=1"
        assert await asyncio.to_thread(ThisHost().is_live, str(daemon.settings.socket_path))
        await daemon.stop()
        assert systemd.recv(64) == b"STOPPING=1"
