"""``hv top`` beside a whole daemon, with libvirt's test driver."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.unit.cli.conftest import Hv, seen
from tests.unit.cli.test_console import OnTerminal
from tests.unit.controllers.world import World, running

_ROW = b"vm "


@pytest.fixture
async def daemon() -> AsyncIterator[World]:
    async with running() as made:
        await made.give_disk()
        await made.make_machine()
        await made.phase("Running")
        yield made


async def test_one_table_says_what_each_machine_and_node_uses(daemon: World) -> None:
    hv = Hv(seen(daemon.settings))
    header, row = (await hv("top", "--once", "--interval", "1s")).out.splitlines()
    assert header.split()[:3] == ["NAME", "NODE", "CPU%"]
    assert len(row.split()) == len(header.split())
    assert row.split()[0] == "vm"
    header, row = (await hv("top", "nodes", "--once", "--interval", "1s")).out.splitlines()
    assert (header.split()[-1], row.split()[-1]) == ("MACHINES", "1")


async def test_it_goes_on_over_a_restart_of_the_daemon(daemon: World) -> None:
    async with OnTerminal(Hv(seen(daemon.settings)), "top", "--interval", "1s") as terminal:
        await terminal.until(lambda: _ROW in terminal.screen)
        await daemon.stop()
        await terminal.until(lambda: b"hyperd.sock" in terminal.screen)
        last = terminal.screen.rpartition(b"\x1b[H")[2]
        assert _ROW in last, "what it was is there still"
        await daemon.begin_anew()
        terminal.screen = b""
        await terminal.until(lambda: _ROW in terminal.screen.rpartition(b"\x1b[H")[2])
        await terminal.until(lambda: b"hyperd.sock" not in terminal.screen.rpartition(b"\x1b[H")[2])
        assert terminal.process.returncode is None
