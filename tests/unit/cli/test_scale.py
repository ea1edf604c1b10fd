"""``hv scale``, as ``kubectl scale``: what it writes, what it compares before, and its exit codes."""

from __future__ import annotations

import pytest

from tests.tui.world import World
from tests.unit.cli.conftest import Hv
from tests.unit.resources.samples import example


@pytest.fixture
async def pools(hv: Hv, world: World) -> Hv:
    """``a`` and ``b``, of two machines each."""
    for name in ("a", "b"):
        pool = example("VirtualMachinePool", "workers")
        pool["metadata"].update(name=name, namespace="shop", labels={"of": name})
        pool["spec"].update(replicas=2, scaleDownPolicy="NewestFirst")
        await world.add("virtualmachinepools", pool)
    return Hv({**hv.env, "HV_NAMESPACE": "shop"})


async def numbers(hv: Hv) -> list[int]:
    found = await hv("get", "vmpool", "-o", "jsonpath={.items[*].spec.replicas}")
    return [int(number) for number in found.out.split()]


async def test_each_pool_that_is_named_gets_the_number(pools: Hv) -> None:
    assert (await pools("scale", "vmpool", "a", "--replicas=3")).out == "virtualmachinepool/a scaled\n"
    assert await numbers(pools) == [3, 2]
    told = await pools("scale", "vmpool/a", "virtualmachinepools/b", "--replicas", "0", "-o", "name")
    assert told.out.split() == ["virtualmachinepool/a", "virtualmachinepool/b"]
    assert await numbers(pools) == [0, 0]
    await pools("scale", "vmpool", "-l", "of=b", "--replicas=4")
    assert "dry run" in (await pools("scale", "vmpool", "--all", "--replicas=9", "--dry-run")).out
    assert await numbers(pools) == [0, 4]


async def test_a_pool_that_is_not_as_one_thinks_is_left_as_it_is(pools: Hv) -> None:
    await pools("scale", "vmpool/b", "--replicas=5", "--current-replicas=2")
    told = await pools("scale", "vmpool", "a", "b", "--replicas=0", "--current-replicas=2", code=1)
    assert told.out == "virtualmachinepool/a scaled\n"
    assert told.err == "hv: virtualmachinepool/b was left as it is: replicas is 5, not 2.\n"
    # Nothing at all is a number too.
    await pools("scale", "vmpool/a", "--replicas=1", "--current-replicas=0")
    refused = await pools("scale", "vmpool/a", "--replicas=7", "--resource-version=1", code=1)
    assert "not 1" in refused.err
    assert await numbers(pools) == [1, 5]


async def test_what_has_no_number_is_said_in_a_sentence_and_the_others_go_on(pools: Hv) -> None:
    told = await pools("scale", "vmpool/none", "vm/web-7", "vmpool/b", "--replicas=3", code=1)
    assert told.out == "virtualmachinepool/b scaled\n"
    assert told.err.splitlines() == [
        "hv: There is no virtualmachinepool/none to scale.",
        "hv: virtualmachines cannot be scaled: there is one of each.",
    ]
    for number in ("-1", "x", "1" * 40):
        await pools("scale", "vmpool/a", f"--replicas={number}", code=2)
    await pools("scale", "vmpool/a", code=2)
    await pools("scale", "vmpool", "--replicas=1", code=1)
    assert await numbers(pools) == [2, 3]


async def test_completion_names_pools_after_a_number(pools: Hv) -> None:
    words = ("scale", "--replicas", "3", "vmpool", "-n", "shop", "")
    assert (await pools("__complete", str(len(words)), *words)).out.split() == ["a", "b"]
