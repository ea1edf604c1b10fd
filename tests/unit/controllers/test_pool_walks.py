"""Whatever is asked of a pool, whoever is killed, however far informers are behind: the right machines result."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperd.errors import HyperdError
from hyperd.resources import pooling
from hyperd.resources.all import VIRTUAL_DISK, VIRTUAL_MACHINE
from hyperd.resources.schema.kind import Kind, Object
from tests.unit.controllers.pooling import Killed, Pool, disks_of, opened
from tests.unit.controllers.test_pool_disks import resize

MOST = 4


@dataclass(frozen=True)
class Step:
    """Something that happens: ``what``, with a number."""

    what: str
    number: int = 0
    made: bool = True


STEPS = st.one_of(
    st.builds(Step, st.just("scale"), st.integers(0, MOST)),
    st.builds(Step, st.just("kill"), st.integers(0, 8), st.booleans()),
    st.builds(Step, st.sampled_from(["look", "lag machines", "lag disks", "run", "bury", "edit", "grow"])),
    st.builds(Step, st.sampled_from(["delete machine", "delete disk", "name", "policy"]), st.integers(0, 3)),
)
POLICIES = ("NewestFirst", "OldestFirst", "Explicit")


async def happen(pool: Pool, step: Step, at: int) -> None:
    machines, disks = await pool.machines(), await pool.disks()
    if step.what == "scale":
        await pool.scale(step.number)
    elif step.what == "kill":
        pool.begin(step.number, made=step.made)
        with contextlib.suppress(Killed, HyperdError):
            for _ in range(3):
                await pool.learn()
                await pool.look()
        pool.begin()
        await pool.learn()
    elif step.what == "look":
        await pool.learn()
    elif step.what.startswith("lag"):
        behind: Kind = VIRTUAL_MACHINE if step.what == "lag machines" else VIRTUAL_DISK
        await pool.learn(*(kind for kind in pool._informers if kind is not behind))
    elif step.what in ("run", "bury"):
        await getattr(pool, step.what)()
    elif step.what == "edit":
        await pool.change(lambda obj: memory(obj).update(size=f"{at + 1}Gi"))
    elif step.what == "grow":
        await pool.change(resize(f"{at + 2}Gi"))
    elif step.what == "policy":
        await pool.change(lambda obj: obj["spec"].update(scaleDownPolicy=POLICIES[step.number % 3]))
    elif step.what == "delete machine" and machines:
        await pool.store.delete(
            VIRTUAL_MACHINE, "default", machines[step.number % len(machines)]["metadata"]["name"]
        )
    elif step.what == "delete disk" and disks:
        await pool.store.delete(VIRTUAL_DISK, "default", disks[step.number % len(disks)]["metadata"]["name"])
    elif step.what == "name" and machines:
        await name(pool, machines[step.number % len(machines)]["metadata"]["uid"])


def memory(obj: Object) -> Object:
    found: Object = obj["spec"]["virtualMachineTemplate"]["spec"]["memory"]
    return found


async def name(pool: Pool, uid: str) -> None:
    """As scaledownwith does."""

    def change(obj: Object) -> None:
        named = pooling.leaving(obj)  # type: ignore[arg-type]  # an object of the store
        if uid not in named:
            obj["spec"]["replicas"] = max(0, obj["spec"]["replicas"] - 1)
            noted = {"vmpool.virtualization.deckhouse.io/scale-down-with": pooling.leaving_text(named | {uid})}
            obj["metadata"]["annotations"] = obj["metadata"].get("annotations", {}) | noted

    await pool.change(change)


async def walk(folder: Path, steps: list[Step]) -> None:
    async with opened(folder) as pool:
        await pool.make()
        for at, step in enumerate(steps):
            before, wanted = len(await pool.machines()), (await pool.get())["spec"]["replicas"]
            await happen(pool, step, at)
            wanted = max(wanted, (await pool.get())["spec"]["replicas"])
            with contextlib.suppress(HyperdError):
                await pool.look()
            assert len(await pool.machines()) <= max(before, wanted), "never too many, not for a moment"
        for _ in range(3):
            pool.begin()
            await pool.settle()
            await pool.bury()
        await pool.settle()
        await check(pool)


async def check(pool: Pool) -> None:
    obj, machines, disks = await pool.get(), await pool.machines(), await pool.disks()
    wanted = obj["spec"]["replicas"]
    if obj["spec"]["scaleDownPolicy"] == "Explicit":
        assert len(machines) >= wanted
    else:
        assert len(machines) == wanted
    there = {vd["metadata"]["name"]: vd for vd in disks}
    used = [disk for vm in machines for disk in disks_of(vm)]
    assert len(used) == 2 * len(machines) == len(set(used))
    assert set(used) <= there.keys()
    free = {one["name"] for one in obj["status"].get("freeDisks", [])}
    assert there.keys() == set(used) | free, "no disk is left over"
    assert "creating" not in obj["status"]
    digest = pooling.template_hash(obj)  # type: ignore[arg-type]  # an object of the store
    for vm in machines:
        assert vm["metadata"]["annotations"]["vmpool.virtualization.deckhouse.io/patched-template-hash"] == digest
        assert vm["spec"]["memory"] == memory(obj)
    assert not pooling.leaving(obj)  # type: ignore[arg-type]  # an object of the store


@settings(max_examples=10)
@given(st.lists(STEPS, max_size=10))
def test_any_walk_ends_in_the_right_machines(steps: list[Step]) -> None:
    with tempfile.TemporaryDirectory(prefix="hvp") as folder:
        asyncio.run(walk(Path(folder), steps))


@pytest.mark.parametrize("made", [True, False])
async def test_a_pool_that_is_killed_at_each_write_makes_what_one_makes_that_is_not(
    tmp_path: Path, *, made: bool
) -> None:
    async with opened(tmp_path) as pool:
        await pool.make(lambda obj: obj["spec"].update(replicas=2))
        kills = 0
        for left in range(30):
            pool.begin(left % 3, made=made)
            await pool.learn()
            try:
                await pool.look()
            except Killed:
                kills += 1
            assert len(await pool.machines()) <= 2
        assert kills > 3
        pool.begin()
        await pool.settle()
        await check(pool)


async def test_two_that_believe_to_lead_make_no_more_than_one(tmp_path: Path) -> None:
    async with opened(tmp_path) as pool:
        await pool.make()
        other = Pool(pool.store)
        for one in (pool, other):
            await one.learn()
        for number in (3, 5, 2):
            await pool.scale(number)
            for _ in range(6):
                await asyncio.gather(pool.learn(), other.learn())
                await asyncio.gather(pool.look(), other.look(), return_exceptions=True)
                assert len(await pool.machines()) <= max(5 if number == 2 else number, 3)
        await pool.settle()
        await pool.bury()
        await pool.settle()
        await check(pool)


async def test_informers_that_are_behind_make_nothing_twice_and_remove_nobody_else(tmp_path: Path) -> None:
    async with opened(tmp_path) as pool:
        await pool.make()
        await pool.learn()
        for _ in range(4):  # nothing is learned in between
            with contextlib.suppress(HyperdError):
                await pool.look()
        assert len(await pool.machines()) == 3
        await pool.settle()
        await pool.scale(1)
        await pool.learn()
        await pool.scale(3)
        with contextlib.suppress(HyperdError):
            await pool.look()  # it knows of 1 alone
        assert not any(vm["metadata"].get("deletionTimestamp") for vm in await pool.machines())
