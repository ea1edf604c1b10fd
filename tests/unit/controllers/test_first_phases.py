"""A machine is Pending until it could be started, also one that nobody starts by itself."""

from __future__ import annotations

import pytest

from hyperd.resources.all import VIRTUAL_MACHINE_OPERATION
from hyperd.resources.values.conditions import find_condition
from tests.unit.controllers.world import running


@pytest.mark.parametrize("policy", ["Manual", "AlwaysOff"])
async def test_a_machine_that_stays_off_is_pending_until_what_it_needs_is_there(policy: str) -> None:
    async with running() as world:
        await world.make_machine(runPolicy=policy)
        machine = await world.phase("Pending")
        told = find_condition(machine, "Running") or {}
        assert (told["status"], told["reason"], bool(told["message"])) == ("False", "NotRunning", True)
        await world.operate("Start", "early")
        early = find_condition(await world.ended(VIRTUAL_MACHINE_OPERATION, "early"), "Completed") or {}
        refused = "Phase" if policy == "Manual" else "RunPolicy"
        assert early["reason"] == f"NotApplicableForVirtualMachine{refused}"
        await world.give_disk()
        machine = await world.phase("Stopped")
        entered = [one["phase"] for one in machine["status"]["stats"]["phasesTransitions"]]
        assert entered == ["Pending", "Stopped"]
        assert (find_condition(machine, "Running") or {})["message"] == ""
        if policy == "Manual":
            await world.operate("Start", "now")
            machine = await world.phase("Running")
            entered = [one["phase"] for one in machine["status"]["stats"]["phasesTransitions"]]
            assert entered == ["Pending", "Stopped", "Starting", "Running"]
