"""Machines while the wall clock jumps.

Guests here never answer a request to power off, so that all that ends them is their grace.
"""

from __future__ import annotations

import pytest

from hyperd.resources.all import VIRTUAL_MACHINE, VIRTUAL_MACHINE_OPERATION
from tests.testdriver.hypervisor import TestDriver
from tests.unit.clocks.stepping import STEPS, SteppedClock
from tests.unit.controllers.world import KEPT, running


@pytest.fixture(autouse=True)
def deaf_guests(monkeypatch: pytest.MonkeyPatch) -> None:
    async def unheard(self: TestDriver, uid: str) -> None:
        return

    monkeypatch.setattr(TestDriver, "shutdown", unheard)


@pytest.mark.parametrize("step", STEPS)
async def test_a_stop_takes_its_grace_over_a_step_and_a_restart_of_the_daemon(
    time_: SteppedClock, step: str
) -> None:
    async with running() as world:
        await world.make(terminationGracePeriodSeconds=3000)
        await world.operate("Stop", "stop")
        await world.phase("Stopping")
        time_.sleep(1500)
        time_.step(step)
        await world.looked()
        await world.restart()
        time_.sleep(1490)
        await world.looked()
        assert await world.active()
        time_.sleep(11)
        world.look()
        await world.phase("Completed", VIRTUAL_MACHINE_OPERATION, "stop")
        assert not await world.active()


@pytest.mark.parametrize("step", STEPS)
async def test_a_life_in_which_the_wall_clock_jumps(time_: SteppedClock, step: str) -> None:
    async with running() as world:
        vm = await world.make(terminationGracePeriodSeconds=8)
        uid, started = vm["metadata"]["uid"], vm["status"]["stats"]["startTimer"]

        # A guest that dies long after its start is started again at once.
        time_.sleep(10)
        time_.step(step)
        await world.hypervisor.destroy(uid)
        vm = await world.until(lambda now: now["status"]["stats"]["startTimer"] != started, VIRTUAL_MACHINE, "vm")
        assert await world.active()

        # Force takes over from a stop that waits.
        await world.operate("Stop", "plain")
        await world.phase("Stopping")
        time_.step(step)
        await world.operate("Restart", "forced", force=True)
        await world.phase("Completed", VIRTUAL_MACHINE_OPERATION, "forced")
        await world.phase("Superseded", VIRTUAL_MACHINE_OPERATION, "plain")
        vm = await world.phase("Running")
        assert vm["status"]["stats"]["launchTimeDuration"]["virtualMachineStarting"] in ("0s", "1s", "2s", "3s")

        # A deletion takes its grace.
        await world.store.delete(VIRTUAL_MACHINE, "default", "vm")
        await world.phase("Terminating")
        time_.step(step)
        await world.looked()
        assert await world.active()
        time_.sleep(8.1)
        world.look()
        await world.gone()
        assert await world.hypervisor.info(uid) is None


@pytest.mark.parametrize("step", STEPS)
async def test_of_finished_operations_the_newest_are_kept(time_: SteppedClock, step: str) -> None:
    async def kept() -> set[str]:
        await world.looked()
        return {item.name for item in (await world.store.list(VIRTUAL_MACHINE_OPERATION)).items}

    async with running() as world:
        await world.make()
        for number in range(KEPT + 2):
            name = f"op-{number}"
            await world.operate("Restart", name, force=True)
            await world.phase("Completed", VIRTUAL_MACHINE_OPERATION, name)
            time_.sleep(60)
            if number == 2:
                time_.step(step)
        assert await kept() == {f"op-{number}" for number in range(2, KEPT + 2)}
        time_.sleep(86_400 - 60 - 30)
        assert await kept() == {f"op-{KEPT + 1}"}
