"""The embedded registry's process: started, adopted, restarted, cleaned."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from hyperd.errors import HyperdError, PermanentError, TemporaryError
from hyperd.settings import RegistrySettings, Settings
from registry import process, tree
from registry.client import RegistryClient
from registry.server import EmbeddedRegistry, external_endpoint
from registry.tokens import Tokens
from tests.unit.registry.world import World, settings_in


@pytest.fixture
async def settings(tmp_path: Path) -> AsyncIterator[Settings]:
    made = settings_in(tmp_path)
    yield made
    last = EmbeddedRegistry(made)
    await last.start()
    await last.stop()


async def crash(server: EmbeddedRegistry) -> int:
    """Forget everything about it, as a killed daemon does; the process's pid."""
    assert server._process is not None
    await server._background.stop()
    await server._probe.close()
    return server._process.pid


def pid_of(server: EmbeddedRegistry) -> int:
    assert server._process is not None
    return server._process.pid


async def test_only_our_user_can_reach_it(settings: Settings) -> None:
    server = EmbeddedRegistry(settings)
    await server.start()
    assert server.healthy
    assert server.endpoint.socket is not None
    assert os.stat(server.endpoint.socket).st_mode & 0o077 == 0
    assert os.stat(settings.registry_dir).st_mode & 0o077 == 0
    await server.stop()
    assert await asyncio.to_thread(process.find, server._argv) == []


async def test_it_is_adopted_after_a_crash_of_the_daemon(settings: Settings) -> None:
    former = EmbeddedRegistry(settings)
    await former.start()
    pid = await crash(former)
    server = EmbeddedRegistry(settings)
    await server.start()
    assert pid_of(server) == pid
    assert server.healthy
    await server.stop()


async def test_an_upload_that_a_crash_left_is_removed_at_start(settings: Settings) -> None:
    former = EmbeddedRegistry(settings)
    client = RegistryClient(former.endpoint, settings)
    await former.start()
    upload = client.upload("vi/ns/a")
    await (await upload.__aenter__()).send(b"x")
    pid = await crash(former)
    assert await asyncio.to_thread(tree.uploads, settings.registry_dir)
    server = EmbeddedRegistry(settings)
    await server.start()
    assert pid_of(server) != pid
    assert await asyncio.to_thread(tree.uploads, settings.registry_dir) == []
    await upload.__aexit__(None, None, None)
    await client.close()
    await server.stop()


async def test_a_changed_configuration_is_not_served_by_the_former_process(settings: Settings) -> None:
    former = EmbeddedRegistry(settings)
    await former.start()
    pid = await crash(former)
    (settings.registry_dir / "config.json").write_text("{}")
    server = EmbeddedRegistry(settings)
    await server.start()
    assert pid_of(server) != pid
    assert server.healthy
    await server.stop()


async def test_one_of_another_program_over_the_same_content_is_ended(settings: Settings, tmp_path: Path) -> None:
    program = tmp_path / "former-registry"
    program.symlink_to(shutil.which(settings.registry.binary) or "")
    registry = settings.registry.model_copy(update={"binary": str(program)})
    former = EmbeddedRegistry(settings.model_copy(update={"registry": registry}))
    await former.start()
    assert former.healthy
    pid = await crash(former)
    server = EmbeddedRegistry(settings)
    await server.start()
    assert server.healthy
    (left,) = await asyncio.to_thread(process.find, server._argv, any_program=True)
    assert left.pid == pid_of(server) != pid
    left.close()
    await server.stop()


async def test_a_process_of_a_release_without_tokens_is_replaced_and_its_images_stay(settings: Settings) -> None:
    server = EmbeddedRegistry(settings)
    await asyncio.to_thread(server._prepare)
    server._trusted = await asyncio.to_thread(Tokens(settings.state_dir / "unused", "s").open)
    config = json.loads(server._configuration())
    del config["auth"]
    server._config.write_text(json.dumps(config, indent=2))
    former = await asyncio.to_thread(process.start, server._argv, log=server._log, environment=dict(os.environ))
    free = RegistryClient(replace(server.endpoint, tokens=None), settings)
    async with asyncio.timeout(20):
        while True:
            with suppress(HyperdError):
                await free.ping()
                break
            await asyncio.sleep(0.02)
    digest = await free.put_blob("vi/ns/a", b"kept")
    await server.start()
    assert pid_of(server) != former.pid
    client = RegistryClient(server.endpoint, settings)
    assert await client.get_blob("vi/ns/a", digest) == b"kept"
    await client.put_blob("vi/ns/a", b"more")
    with pytest.raises(TemporaryError, match="refuses our credentials"):
        await free.get_blob("vi/ns/a", digest)
    former.close()
    for each in (free, client):
        await each.close()
    await server.stop()


async def test_it_is_started_again_when_it_dies(world: World) -> None:
    pid = pid_of(world.server)
    os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(10):
        while not world.server.healthy or world.server._process is None or pid_of(world.server) == pid:
            await asyncio.sleep(0.02)
    await world.client.ping()


async def test_without_its_program_it_is_unhealthy_and_the_daemon_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.server._READY_SECONDS", 0.3)
    settings = settings_in(tmp_path).model_copy(update={"registry": RegistrySettings(binary="no-such-registry")})
    server = EmbeddedRegistry(settings)
    await server.start()
    assert not server.healthy
    await server.stop()


async def test_keys_that_cannot_be_kept_yet_keep_the_registry_waiting_and_nothing_else(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.server._READY_SECONDS", 0.3)
    keys = settings.state_dir / "registry-keys"
    keys.parent.mkdir(parents=True)
    keys.write_text("in the way")
    server = EmbeddedRegistry(settings)
    await server.start()
    assert not server.healthy
    monkeypatch.setattr("registry.server._READY_SECONDS", 20.0)
    keys.unlink()
    async with asyncio.timeout(20):
        await server._healthy.wait()
    assert keys.stat().st_mode & 0o077 == 0
    await server.stop()


@pytest.mark.parametrize("where", ["keys", "content"])
async def test_what_cannot_be_judged_at_the_start_keeps_no_socket(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    former = EmbeddedRegistry(settings)
    await former.start()
    await crash(former)
    if where == "keys":
        monkeypatch.setattr(Tokens, "open", refuse(PermanentError("The keys of the registry cannot be used.")))
    else:
        monkeypatch.setattr(tree, "uploads", refuse(OSError("it cannot be read")))
    monkeypatch.setattr("registry.server._READY_SECONDS", 0.3)
    server = EmbeddedRegistry(settings)
    await server.start()
    assert not server.healthy
    assert await asyncio.to_thread(process.find, server._argv) == []
    await server.stop()
    monkeypatch.undo()


def refuse(error: Exception) -> Callable[..., None]:
    def refused(*_: object) -> None:
        raise error

    return refused


async def test_two_daemons_have_a_registry_each(tmp_path: Path) -> None:
    servers = [EmbeddedRegistry(settings_in(tmp_path / name)) for name in ("a", "b")]
    for server in servers:
        await server.start()
    assert len({pid_of(server) for server in servers}) == 2
    await servers[0].stop()
    await servers[1]._probe.ping()
    await servers[1].stop()


def test_an_external_registry_is_named_by_the_settings(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hunter2\n")
    registry = RegistrySettings(url="https://r.example/team", username="u", password_file=tmp_path / "password")
    endpoint = external_endpoint(Settings(registry=registry))
    assert (endpoint.username, endpoint.password) == ("u", "hunter2")
    assert "hunter2" not in repr(endpoint)
    assert endpoint.reference("vi/a", "u1") == "r.example/team/vi/a:u1"
    assert endpoint.parse("r.example/team/vi/a:u1") == ("vi/a", "u1")
    missing = registry.model_copy(update={"password_file": tmp_path / "none"})
    with pytest.raises(PermanentError, match=r"registry\.password_file"):
        external_endpoint(Settings(registry=missing))


def test_a_log_is_bounded_while_its_writer_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "registry.log"
    with log.open("ab", buffering=0) as writer:
        for number in range(1, 8):
            writer.write(b"%d" % number * 100)
            process.bound_log(log, 250)
        assert [path.name for path in sorted(tmp_path.iterdir())] == ["registry.log", "registry.log.1"]
        assert (tmp_path / "registry.log.1").read_bytes() == b"4" * 100 + b"5" * 100 + b"6" * 100
        assert log.read_bytes() == b"7" * 100
