"""A UI over a fleet of any size, all objects different, without a server: for what keys and changes cost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from unittest.mock import patch

from hyperd.client.home import local
from tests.tui.conftest import Ui
from tui.app import HvApp
from tui.fleet import Changes, Fleet
from tui.homes import HomeStatus
from tui.shelf import Object

_PHASES = ("Running", "Stopped", "Pending", "Degraded", "Starting")


def machine(number: int, *, version: int = 0) -> Object:
    """One of a fleet; another ``version`` of it is in another phase, of another size."""
    turn = number * 7 + version
    return {
        "apiVersion": "virtualization.deckhouse.io/v1alpha2",
        "kind": "VirtualMachine",
        "metadata": {
            "name": f"vm-{number * 7919 % 100_003:06}",
            "namespace": f"team-{number % 23}",
            "uid": f"uid-{number}",
            "resourceVersion": str(number + version * 1_000_000),
            "creationTimestamp": f"2026-01-{number % 28 + 1:02}T00:00:00Z",
        },
        "spec": {
            "cpu": {"cores": number % 15 + 1},
            "memory": {"size": f"{turn % 63 + 1}Gi"},
            "runPolicy": "AlwaysOnUnlessStoppedManually",
            "blockDeviceRefs": [{"kind": "VirtualDisk", "name": f"root-{number}"}],
        },
        "status": {
            "phase": _PHASES[turn % len(_PHASES)],
            "ipAddress": f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}",
            "nodeName": f"n{number % 40}",
            "conditions": [{"type": "Running", "status": "False", "reason": "Why", "message": f"Due to {turn}."}],
        },
    }


@asynccontextmanager
async def looking_at(machines: int, size: tuple[int, int] = (160, 45)) -> AsyncIterator[Ui]:
    """A UI that has them all on its screen, as far as they fit."""
    app = HvApp([local("/nowhere/lab/x.sock")])

    async def run(fleet: Fleet, tell: Callable[[Changes], None]) -> None:
        fleet._tell = tell
        (home,) = fleet.homes
        fleet._set_home(home, HomeStatus.CONNECTED)
        fleet._replace(home, "virtualmachines", [(machine(n), ()) for n in range(machines)])
        await asyncio.Event().wait()

    with patch.object(Fleet, "run", run):
        async with app.run_test(size=size) as pilot:
            ui = Ui(app, pilot)
            await ui.shows(f"vm {machines}")
            yield ui


async def change(ui: Ui, numbers: range, *, version: int) -> None:
    """These machines are something else now, and the screen says so."""
    fleet = ui.app.fleet
    (home,) = fleet.homes
    for number in numbers:
        event = {"type": "MODIFIED", "object": machine(number, version=version)}
        fleet._take(home, "virtualmachines", event, 1)
    if fleet._timer is not None:
        fleet._timer.cancel()
    fleet._flush()
    await ui.pilot.pause()
