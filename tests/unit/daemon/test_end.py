"""A daemon ends in time, whatever hangs in it."""

from __future__ import annotations

import asyncio
import logging
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from hyperd.background import end_by

_HANGS = """
import asyncio, os, signal, sys, threading
from hyperd import daemon
from tests.testdriver.world import TEST_DRIVER

async def start(self):
    asyncio.create_task(asyncio.to_thread(threading.Event().wait))
    await asyncio.sleep(0.2)
    os.kill(os.getpid(), signal.SIGTERM)

daemon.Daemon.start = start
sys.exit(daemon.main(sys.argv[1:], world=TEST_DRIVER))
"""

_HEARS = """
import asyncio, os, signal, sys
from hyperd import daemon
from tests.testdriver.world import TEST_DRIVER

async def start(self):
    if "--hangs-up" in sys.argv:
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.sleep(0)  # the handler is called before this task goes on
        os.kill(os.getpid(), signal.SIGTERM)
    print("started", flush=True)

daemon.Daemon.start = start
sys.exit(daemon.main([one for one in sys.argv[1:] if one != "--hangs-up"], world=TEST_DRIVER))
"""


def _argv(program: str, folder: Path) -> list[str]:
    folders = [f"{name}={folder}" for name in ("state_dir", "run_dir", "log_dir", "config_dir")]
    settings = [part for one in [*folders, "hypervisor.uri=test:///default"] for part in ("--set", one)]
    return [sys.executable, "-c", program, *settings]


def test_a_call_to_the_host_that_hangs_keeps_no_daemon_from_ending(tmp_path: Path) -> None:
    argv = _argv(_HANGS, tmp_path)
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "1 calls to the host hang; hyperd ends without them." in ended.stdout + ended.stderr


def test_sighup_ends_no_daemon_that_has_no_terminal(tmp_path: Path) -> None:
    argv = [*_argv(_HEARS, tmp_path), "--hangs-up"]
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, start_new_session=True)
    said = ended.stdout + ended.stderr
    assert ended.returncode == 0, said
    assert "SIGHUP changes nothing: restart hyperd" in said


def test_a_daemon_ends_with_the_terminal_that_it_was_started_in(tmp_path: Path) -> None:
    argv = _argv(_HEARS, tmp_path)
    child, terminal = pty.fork()
    if not child:
        os.execv(argv[0], argv)
    said = b""
    while b"started" not in said:
        said += os.read(terminal, 4096)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, said


async def test_what_does_not_end_is_left_behind(caplog: pytest.LogCaptureFixture) -> None:
    async def hangs() -> None:
        await asyncio.Event().wait()

    async def fails() -> None:
        raise LookupError("it failed")

    loop = asyncio.get_running_loop()
    with caplog.at_level(logging.WARNING):
        await end_by(loop.time() - 5, "the network", hangs)
    assert caplog.messages == ["The network did not end in time, and is left behind."]
    with pytest.raises(LookupError):
        await end_by(loop.time() + 5, "the network", fails)
