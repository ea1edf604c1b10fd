"""A daemon ends in time, whatever hangs in it."""

from __future__ import annotations

import asyncio
import logging
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


def test_a_call_to_the_host_that_hangs_keeps_no_daemon_from_ending(tmp_path: Path) -> None:
    folders = [f"{name}={tmp_path}" for name in ("state_dir", "run_dir", "log_dir", "config_dir")]
    settings = [part for one in [*folders, "hypervisor.uri=test:///default"] for part in ("--set", one)]
    argv = [sys.executable, "-c", _HANGS, *settings]
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "1 calls to the host hang; hyperd ends without them." in ended.stdout + ended.stderr


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
