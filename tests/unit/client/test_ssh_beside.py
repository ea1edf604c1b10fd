"""Homes behind ``ssh://`` beside other users of this host, other programs of one's own, and what was killed."""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from hyperd.client import ssh
from hyperd.client.aio import AsyncClient
from hyperd.client.home import Home
from hyperd.client.http1 import Connection
from hyperd.errors import ServiceUnavailable
from tests import sshd
from tests.tui.world import World, short_folder
from tests.unit.cli.conftest import Hv, hv, world
from tests.unit.client.test_ssh import node

__all__ = ["hv", "node", "world"]


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    monkeypatch.setattr(ssh._Terminal, "drawn_on", False)
    with short_folder() as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
        yield ssh.home("ssh://node")


@contextmanager
def listening(home: Home) -> Iterator[socket.socket]:
    """Somebody at the home's socket, who was there first."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(home.socket)
        listener.listen()
        listener.settimeout(1)
        yield listener


def heard(listener: socket.socket) -> bytes:
    """What those who have connected sent before they went."""
    said = b""
    while True:
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            return said
        with connection:
            said += connection.recv(4096)


def stub(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program in ssh's place."""
    path = folder / "stub"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("HV_SSH_COMMAND", str(path))


async def _refused(home: Home, why: str) -> None:
    with pytest.raises(ServiceUnavailable, match=why):
        await asyncio.to_thread(Connection, home)
    client = AsyncClient(home)
    try:
        with pytest.raises(ServiceUnavailable, match=why):
            await client.ping()
    finally:
        await client.close()


async def test_a_socket_in_a_folder_that_others_may_enter_is_not_spoken_to(home: Home) -> None:
    folder = Path(home.socket).parent
    await asyncio.to_thread(ssh.own, home)
    with listening(home) as listener:
        folder.chmod(0o755)
        await _refused(home, "not a folder of this user alone")
        folder.chmod(0o700)
        assert heard(listener) == b""


async def test_a_socket_that_another_user_serves_is_not_spoken_to(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.to_thread(ssh.own, home)
    real = os.getuid()
    with listening(home) as listener:
        monkeypatch.setattr(ssh, "own", lambda _: None)
        monkeypatch.setattr(os, "getuid", lambda: real + 1)
        await _refused(home, f"is served by the user {real}, not by your ssh")
        assert heard(listener) == b""


async def test_another_program_s_question_is_not_waited_for(home: Home) -> None:
    await asyncio.to_thread(ssh.own, home)
    with Path(home.socket).with_suffix(".lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ServiceUnavailable, match="another hv is at its login"):
            await asyncio.to_thread(partial(ssh.reach, home, ask=False, patience=0.2))
        client = AsyncClient(home)
        with pytest.raises(ServiceUnavailable, match="another hv is at its login"):
            await client.ping()
        await client.close()


async def test_who_draws_on_the_terminal_has_ssh_ask_nobody(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "isatty", lambda _: True)
    assert ssh.may_ask()
    client = AsyncClient(home)
    assert not ssh.may_ask()
    await client.close()


def test_no_ssh_behind_ssh_asks_on_the_terminal(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    stub(tmp_path, f'(: </dev/tty) 2>/dev/null && echo asks >{out}\necho "$SSH_ASKPASS_REQUIRE" >>{out}; exit 1',
         monkeypatch)  # fmt: skip
    code = (
        "import sys; from hyperd.client import ssh\n"
        "try: ssh.reach(ssh.home('ssh://node'), ask=sys.argv[1] == 'yes')\n"
        "except Exception: pass"
    )
    in_terminal = [sys.executable, "-c", "import pty, sys; pty.spawn(sys.argv[1:])", sys.executable, "-c", code]
    said = []
    for ask in ("yes", "no"):
        subprocess.run([*in_terminal, ask], stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=30)
        said.append(out.read_text())
        out.unlink()
    assert said == ["asks\n\n", "never\n"]


def test_a_login_without_end_is_ended_with_what_it_started(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = tmp_path / "pid"
    stub(tmp_path, f"sleep 1000 & echo $! >{pid}; wait", monkeypatch)
    monkeypatch.setattr(ssh, "_LOGIN_SECONDS", 1.0)
    with pytest.raises(ServiceUnavailable, match="does not come to an end"):
        ssh.reach(home, ask=False)
    with suppress(ProcessLookupError):  # it ends when it has its turn
        end = os.pidfd_open(int(pid.read_text()))
        assert select.select([end], [], [], 10)[0]
        os.close(end)


def _master(control: Path) -> int:
    done = subprocess.run(
        ["ssh", "-S", str(control), "-O", "check", "x"], capture_output=True, text=True, check=False
    )
    found = re.search(r"pid=(\d+)", done.stderr)
    assert found is not None, done.stderr
    return int(found[1])


async def test_what_a_killed_ssh_left_keeps_the_next_one_from_nothing(
    hv: Hv, world: World, node: sshd.Sshd
) -> None:
    hv.env["HYPERD_SOCKET"] = node.url(world.settings.socket_path)
    await hv("get", "vm", "-n", "shop")
    (control,) = (node.folder / "r").glob("*/*.ctl")
    first = _master(control)
    ended = os.pidfd_open(first)
    os.kill(first, signal.SIGKILL)
    assert select.select([ended], [], [], 10)[0]
    os.close(ended)
    assert control.exists()
    await hv("get", "vm", "-n", "shop")
    second = _master(control)
    assert second != first, "one that ends by itself"
    os.kill(second, signal.SIGTERM)
