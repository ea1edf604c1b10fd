"""An address that a machine was given can be kept: without an owner it stays, and is the machine's as before."""

from __future__ import annotations

from hyperd.resources.all import (
    VIRTUAL_MACHINE,
    VIRTUAL_MACHINE_IP_ADDRESS,
    VIRTUAL_MACHINE_OPERATION,
    VIRTUAL_MACHINE_SNAPSHOT,
)
from hyperd.resources.schema.kind import Object
from hyperd.resources.values.conditions import find_condition
from hyperd.store.interface import PatchType
from tests.unit.controllers.world import World, running

_CIDRS = {"virtual_machine_cidrs": ["10.66.10.0/24"]}
_LABEL = "virtualization.deckhouse.io/virtual-machine-uid"


async def _patch(world: World, name: str, **metadata: object) -> None:
    patch: Object = {"metadata": metadata}
    await world.store.patch(VIRTUAL_MACHINE_IP_ADDRESS, "default", name, PatchType.MERGE, patch)


async def test_an_address_without_its_owner_stays_the_machines_and_outlives_it() -> None:
    async with running(network=_CIDRS) as world:
        status = (await world.make())["status"]
        assert [one["phase"] for one in status["stats"]["phasesTransitions"]] == ["Pending", "Starting", "Running"]
        assert status["stats"]["launchTimeDuration"]["waitingForDependencies"] == "0s"
        name = status["virtualMachineIPAddressName"]
        await _patch(world, name, ownerReferences=None)
        await world.operate("Stop", "stop", force=True)
        await world.ended(VIRTUAL_MACHINE_OPERATION, "stop")
        body: Object = {"metadata": {"namespace": "default", "name": "s"}, "spec": {"virtualMachineName": "vm"}}
        await world.store.create(VIRTUAL_MACHINE_SNAPSHOT, "default", body)
        saved = await world.phase("Ready", VIRTUAL_MACHINE_SNAPSHOT, "s")
        assert ("VirtualMachineIPAddress", name) in [(r["kind"], r["name"]) for r in saved["status"]["resources"]]
        await world.operate("Start", "start")
        machine = await world.phase("Running")
        assert (machine["status"]["ipAddress"], machine["status"]["virtualMachineIPAddressName"]) == (
            "10.66.10.2",
            name,
        )
        # Whom it was made for is not to be seen any more: nobody guesses.
        await _patch(world, name, labels={_LABEL: None})
        await world.operate("Stop", "stop-2", force=True)
        await world.ended(VIRTUAL_MACHINE_OPERATION, "stop-2")
        await world.operate("Start", "start-2")
        machine = await world.phase("Pending")
        why = find_condition(machine, "VirtualMachineIPAddressReady") or {}
        assert (
            f'"{name}" is this virtual machine\'s no more: name it in spec.virtualMachineIPAddress'
            in why["message"]
        )
        await _patch(world, name, labels={_LABEL: machine["metadata"]["uid"]})
        await world.phase("Running")
        await world.store.delete(VIRTUAL_MACHINE, "default", "vm")
        await world.gone()
        kept = await world.until(
            lambda vmip: "virtualMachineName" not in vmip["status"], VIRTUAL_MACHINE_IP_ADDRESS, name
        )
        assert (kept["status"]["phase"], kept["status"]["address"]) == ("Bound", "10.66.10.2")
