"""What a user sees of where machines and disks go, whoever decides it."""

from __future__ import annotations

from hyperd.resources.all import VIRTUAL_DISK
from tests.contract.placement.conftest import HERE, WHOLE, Site


async def test_a_cordon_keeps_away_what_is_new_and_nothing_else(site: Site) -> None:
    running, waiting = await site.volume(), await site.volume()
    await site.machine(running)
    await site.runs(running)
    await site.node(spec={"unschedulable": True})
    await site.machine(waiting)
    await site.waits(waiting, "is cordoned")
    late = await site.disk()
    await site.shows(VIRTUAL_DISK, late, "Ready", HERE, "is cordoned")
    await site.runs(running)
    await site.node(spec={"unschedulable": None})
    await site.runs(waiting)
    await site.world.phase("Ready", VIRTUAL_DISK, late)


async def test_a_machine_waits_until_the_node_is_one_of_its_class(site: Site) -> None:
    elsewhere = await site.class_(nodeSelector={"matchLabels": {"zone": "b"}})
    name = await site.volume()
    await site.machine(name, virtualMachineClassName=elsewhere)
    await site.waits(name, f'does not match the nodeSelector of VirtualMachineClass "{elsewhere}"')
    await site.node(metadata={"labels": {"zone": "b"}})
    await site.runs(name)


async def test_a_taint_keeps_away_what_does_not_tolerate_it(site: Site) -> None:
    tolerant, waiting = await site.volume(), await site.volume()
    await site.node(spec={"taints": [{"key": "for", "value": "few", "effect": "NoSchedule"}]})
    await site.machine(waiting)
    await site.machine(tolerant, tolerations=[{"key": "for", "operator": "Exists"}])
    await site.runs(tolerant)
    await site.waits(waiting, "has the taint for=few:NoSchedule, which the machine does not tolerate")
    await site.node(spec={"taints": None})
    await site.runs(waiting)


async def test_what_has_no_room_is_told_what_is_left_and_runs_once_it_is_enough(site: Site) -> None:
    first, second = await site.volume(), await site.volume()
    await site.machine(first)
    await site.runs(first)
    await site.machine(second, cpu=WHOLE)
    await site.waits(second, "has 0.5 cores of CPU left for virtual machines, this one needs 1 core; stop others")
    await site.stop(first)
    await site.runs(second)


async def test_of_several_that_may_start_at_once_one_gets_the_last_room(site: Site) -> None:
    several = [await site.volume() for _ in range(3)]
    await site.node(spec={"unschedulable": True})
    for name in several:
        await site.machine(name, cpu=WHOLE)
    for name in several:
        await site.waits(name, "is cordoned")
    await site.node(spec={"unschedulable": None})
    running = await site.first_running(several)
    for name in several:
        if name != running:
            await site.waits(name, "has 0 cores of CPU left for virtual machines, this one needs 1 core")


async def test_what_has_its_node_is_asked_again_before_each_start(site: Site) -> None:
    name = await site.volume()
    await site.machine(name)
    await site.runs(name)
    await site.stop(name)
    await site.node(spec={"unschedulable": True})
    await site.start(name)
    await site.waits(name, "is cordoned")
    await site.node(spec={"unschedulable": None})
    await site.runs(name)
