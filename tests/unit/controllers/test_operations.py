"""Which operations are accepted beside which, and what becomes of both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from hyperd import clock
from hyperd.controllers.context import Context
from hyperd.controllers.operation.controller import OperationController
from hyperd.controllers.ownership import NodeOwner, Ownership, SoleOwner
from hyperd.resources.all import EVENT, KINDS, NAMESPACE, VIRTUAL_MACHINE, VIRTUAL_MACHINE_OPERATION
from hyperd.resources.schema.kind import Object
from hyperd.resources.values.conditions import find_condition
from hyperd.runtime.controller import Manager
from hyperd.runtime.recorder import EventRecorder
from hyperd.settings import Settings, StoreSettings
from hyperd.store.embedded.store import EmbeddedStore, opened_store
from hyperd.store.interface import PatchType
from tests.testdriver.hypervisor import TestDriver
from tests.unit.controllers.world import running

OPERATIONS: Mapping[str, Object] = {
    "Start": {"type": "Start"},
    "Stop": {"type": "Stop"},
    "Stop!": {"type": "Stop", "force": True},
    "Restart": {"type": "Restart"},
    "Restart!": {"type": "Restart", "force": True},
}
MIGRATIONS: Mapping[str, Object] = {
    f"{type_}{mark}": {"type": type_, **force}
    for type_ in ("Migrate", "Evict")
    for mark, force in (("", {}), ("!", {"force": True}), ("?", {"force": False}))
}
CLONE: Object = {"type": "Clone", "clone": {"mode": "Strict", "customization": {"nameSuffix": "-b"}}}
SLOW_START = 0.05
PHASES = ("Pending", "Starting", "Running", "Degraded", "Pause", "Migrating", "Stopping", "Stopped")
APPLIES = {
    "Start": {"Stopped", "Stopping"},
    "Stop": {"Running", "Degraded", "Starting", "Pause", "Pending"},
    "Stop!": {"Running", "Degraded", "Starting", "Pause", "Pending", "Stopping"},
    "Restart": {"Running", "Degraded", "Starting", "Pause"},
    "Restart!": {"Running", "Degraded", "Starting", "Pause", "Stopping"},
}
TAKES_OVER = {
    ("Stop", "Start"), ("Stop!", "Start"),
    ("Stop!", "Stop"), ("Restart!", "Stop"),
    ("Stop!", "Restart"), ("Restart!", "Restart"),
}  # fmt: skip
"""As the reference has it: the new one, and the one in progress that it takes over from."""


class Desk:
    """The operations' controller over a real store, and machines that do nothing."""

    def __init__(
        self, store: EmbeddedStore, controller: OperationController, beginning: asyncio.Task[None]
    ) -> None:
        self.store = store
        self._controller = controller
        self._beginning = beginning

    async def machine(self, name: str, phase: str, policy: str = "Manual", **spec: object) -> None:
        body: Object = {
            "metadata": {"namespace": "default", "name": name},
            "spec": {
                "virtualMachineClassName": "generic",
                "cpu": {"cores": 1},
                "memory": {"size": "1Gi"},
                "blockDeviceRefs": [{"kind": "VirtualDisk", "name": "a"}],
                "runPolicy": policy,
                **spec,
            },
        }
        await self.store.create(VIRTUAL_MACHINE, "default", body)
        await self.show(VIRTUAL_MACHINE, name, {"phase": phase})

    async def operate(self, machine: str, name: str, kind: str, *, phase: str = "") -> None:
        spec = {**{"Clone": CLONE, **OPERATIONS, **MIGRATIONS}[kind], "virtualMachineName": machine}
        body: Object = {"metadata": {"namespace": "default", "name": name}, "spec": spec}
        await self.store.create(VIRTUAL_MACHINE_OPERATION, "default", body)
        if phase:
            await self.show(VIRTUAL_MACHINE_OPERATION, name, {"phase": phase})

    async def show(self, kind: object, name: str, status: Object) -> None:
        found = (await self.store.get(kind, "default", name)).object()  # type: ignore[arg-type]
        found["status"] = status
        await self.store.update(kind, "default", name, found, subresource="status")  # type: ignore[arg-type]

    async def left(self) -> set[str]:
        """Names of the operations that there are."""
        return {item.name for item in (await self.store.list(VIRTUAL_MACHINE_OPERATION, "default")).items}

    async def settled(self, *names: str) -> list[Object]:
        """The operations, once all that the store has was looked at and nothing waits to be."""
        await self._beginning
        async with asyncio.timeout(60):
            while not await self._rests():
                await asyncio.sleep(0.01)
        return [await self._get(name) for name in names]

    async def _rests(self) -> bool:
        """What is written after a look at rest is seen by the next one: by its informer, or in the queue."""
        if self._works():
            return False
        stored = (await self.store.list(VIRTUAL_MACHINE_OPERATION, "default")).items
        known = {item.name: item.resource_version for item in self._controller._operations.items()}
        judged = all((item.object().get("status") or {}).get("phase") for item in stored)
        return judged and known == {item.name: item.resource_version for item in stored} and not self._works()

    def _works(self) -> bool:
        queue = self._controller.queue
        return bool(queue._dirty or queue._working)

    async def _get(self, name: str) -> Object:
        found: Object = (await self.store.get(VIRTUAL_MACHINE_OPERATION, "default", name)).object()
        return found


@asynccontextmanager
async def desk(
    folder: Path, *, started: asyncio.Event | None = None, ownership: Ownership | None = None
) -> AsyncIterator[Desk]:
    store = EmbeddedStore(folder / "s.db", settings=StoreSettings(), admit=None, kinds=KINDS)
    async with opened_store(store):
        if await store.find(NAMESPACE, "", "default") is None:
            await store.create(NAMESPACE, "", {"metadata": {"name": "default"}})

        async def info(_: str) -> None:
            return None

        manager = Manager(store)
        context = SimpleNamespace(
            store=store,
            informer=manager.informer,
            ownership=ownership or SoleOwner(),
            settings=Settings(),
            hypervisor=SimpleNamespace(info=info),
            events=EventRecorder(store, EVENT, component="t", host="n"),
        )
        controller = OperationController(cast(Context, context))
        manager.add(controller)

        async def begin() -> None:
            if started is not None:
                await started.wait()
            await manager.start()

        beginning = asyncio.create_task(begin())
        if started is None:
            await beginning
        try:
            yield Desk(store, controller, beginning)
        finally:
            await beginning
            await manager.stop()


def reason(op: Object) -> str:
    return str((find_condition(op, "Completed") or {}).get("reason"))


@pytest.mark.parametrize("new", OPERATIONS)
async def test_an_operation_alone_is_judged_by_the_phase(new: str, tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        for phase in PHASES:
            await at.machine(f"vm-{phase.lower()}", phase)
            await at.operate(f"vm-{phase.lower()}", f"new-{phase.lower()}", new)
        for phase, op in zip(PHASES, await at.settled(*(f"new-{phase.lower()}" for phase in PHASES)), strict=True):
            if phase in APPLIES[new]:
                assert op["status"]["phase"] == "InProgress", phase
            else:
                assert reason(op) == "NotApplicableForVirtualMachinePhase", phase


REFUSED_MIGRATIONS = {
    ("AlwaysSafe", "Migrate!"), ("AlwaysSafe", "Evict!"), ("AlwaysForced", "Migrate?"), ("AlwaysForced", "Evict?"),
}  # fmt: skip


async def test_a_migration_is_refused_for_what_the_machine_is(tmp_path: Path) -> None:
    """As the reference has it: by the runPolicy, then the phase, then the policy for migrations."""
    wanted = {}
    async with desk(tmp_path) as at:
        for policy, new in product(("AlwaysSafe", "PreferSafe", "PreferForced", "AlwaysForced"), MIGRATIONS):
            name = f"{policy}-{list(MIGRATIONS).index(new)}".lower()
            refused = (policy, new) in REFUSED_MIGRATIONS
            wanted[name] = "NotApplicableForLiveMigrationPolicy" if refused else "OperationFailed"
            await at.machine(name, "Running", liveMigrationPolicy=policy)
            await at.operate(name, name, new)
        for policy, phase, why in (
            ("AlwaysOff", "Running", "NotApplicableForVirtualMachineRunPolicy"),
            ("AlwaysOn", "Starting", "NotApplicableForVirtualMachinePhase"),
            ("AlwaysOn", "Stopped", "NotApplicableForVirtualMachinePhase"),
        ):
            name = f"{policy}-{phase}".lower()
            wanted[name] = why
            await at.machine(name, phase, policy)
            await at.operate(name, name, "Migrate")
        found = await at.settled(*wanted)
    assert {op["metadata"]["name"]: reason(op) for op in found} == wanted
    assert {op["status"]["phase"] for op in found} == {"Failed"}


@pytest.mark.parametrize(("new", "going"), list(product(OPERATIONS, OPERATIONS)))
async def test_an_operation_beside_one_in_progress(new: str, going: str, tmp_path: Path) -> None:
    """Whatever phase the machine is passing through: it is on its way elsewhere."""
    async with desk(tmp_path) as at:
        for phase in PHASES:
            vm = phase.lower()
            await at.machine(vm, phase)
            await at.operate(vm, f"old-{vm}", going, phase="InProgress")
            await at.operate(vm, f"new-{vm}", new)
        for phase in PHASES:
            old, op = await at.settled(f"old-{phase.lower()}", f"new-{phase.lower()}")
            if old["status"]["phase"] == "Completed":
                assert (phase, going.rstrip("!")) == ("Stopped", "Stop")
                continue  # it was so already
            if (new, going) in TAKES_OVER:
                done = phase == "Stopped" and new.startswith("Stop")
                assert op["status"]["phase"] == ("Completed" if done else "InProgress"), phase
                assert old["status"]["phase"] == "Superseded", phase
                assert reason(old) == "Superseded"
                said = find_condition(old, "Completed") or {}
                assert said["message"] == f'Superseded by "new-{phase.lower()}" with type {new.rstrip("!")}.'
            elif old["status"]["phase"] == "InProgress":
                assert (op["status"]["phase"], reason(op)) == ("Failed", "NotReadyToBeExecuted"), phase


@pytest.mark.parametrize(("stronger", "weaker"), sorted(TAKES_OVER))
@pytest.mark.parametrize("first", ["stronger", "weaker"])
async def test_of_two_that_are_created_before_either_is_looked_at_the_stronger_one_ends_the_other(
    stronger: str, weaker: str, first: str, tmp_path: Path
) -> None:
    """In whichever order they come to be looked at, on every phase that the weaker one applies to."""
    started = asyncio.Event()
    async with desk(tmp_path, started=started) as at:
        phases = [phase for phase in PHASES if phase in APPLIES[weaker]]
        for phase in phases:
            vm = phase.lower()
            await at.machine(vm, phase)
            for name in ("stronger", "weaker") if first == "stronger" else ("weaker", "stronger"):
                await at.operate(vm, f"{name}-{vm}", stronger if name == "stronger" else weaker)
        started.set()
        for phase in phases:
            old, op = await at.settled(f"weaker-{phase.lower()}", f"stronger-{phase.lower()}")
            assert op["status"]["phase"] in ("InProgress", "Completed"), phase
            assert old["status"]["phase"] == "Superseded", phase


@pytest.mark.parametrize(
    ("one", "other"),
    [("Start", "Start"), ("Stop", "Restart"), ("Stop!", "Restart!"), ("Clone", "Clone"), ("Clone", "Stop!")],
)
async def test_of_two_rivals_that_are_created_at_once_one_is_refused(one: str, other: str, tmp_path: Path) -> None:
    started = asyncio.Event()
    async with desk(tmp_path, started=started) as at:
        phase = "Stopped" if one == "Start" else "Running"
        for number in range(20):
            await at.machine(f"vm-{number}", phase)
            await at.operate(f"vm-{number}", f"a-{number}", one)
            await at.operate(f"vm-{number}", f"b-{number}", other)
        started.set()
        for number in range(20):
            found = await at.settled(f"a-{number}", f"b-{number}")
            assert sorted(op["status"]["phase"] for op in found) == ["Failed", "InProgress"]
            assert {reason(op) for op in found if op["status"]["phase"] == "Failed"} == {"NotReadyToBeExecuted"}


@pytest.mark.parametrize("policy", ["Manual", "AlwaysOnUnlessStoppedManually"])
@pytest.mark.parametrize("delay", [0, SLOW_START / 10, SLOW_START / 2, SLOW_START * 2])
async def test_a_stop_right_after_a_start_leaves_the_machine_off(
    delay: float, policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slowly(self: TestDriver, uid: str, *, paused: bool = False) -> None:
        await asyncio.sleep(SLOW_START)
        await start_domain(self, uid, paused=paused)

    start_domain = TestDriver.start_domain
    monkeypatch.setattr(TestDriver, "start_domain", slowly)
    async with running() as world:
        await world.make()
        await world.store.patch(VIRTUAL_MACHINE, "default", "vm", PatchType.MERGE, {"spec": {"runPolicy": policy}})
        await world.operate("Stop", "first", force=True)
        await world.phase("Completed", VIRTUAL_MACHINE_OPERATION, "first")
        for number in range(3):
            await world.operate("Start", f"start-{number}")
            await asyncio.sleep(delay)
            await world.operate("Stop", f"stop-{number}")
            await world.phase("Completed", VIRTUAL_MACHINE_OPERATION, f"stop-{number}")
            assert not await world.active()
            start = await world.store.get(VIRTUAL_MACHINE_OPERATION, "default", f"start-{number}")
            assert start.object()["status"]["phase"] == "Superseded" or delay == SLOW_START * 2
            await world.looked()
            assert not await world.active()
            assert (await world.phase("Stopped"))["status"]["phase"] == "Stopped"


async def test_a_machine_that_was_stopped_while_it_waited_stays_off_when_it_could_start() -> None:
    async with running() as world:
        await world.wait_for_disk()
        await world.operate("Stop", "stop")
        await world.phase("Completed", VIRTUAL_MACHINE_OPERATION, "stop")
        await world.give_disk()
        await asyncio.sleep(0.3)
        await world.looked()
        assert not await world.active()
        await world.phase("Stopped")
        await world.operate("Start", "start")
        await world.phase("Completed", VIRTUAL_MACHINE_OPERATION, "start")
        await world.phase("Running")


async def test_the_newest_are_kept_also_where_the_others_ended_on_another_node(tmp_path: Path) -> None:
    """Whose clock tells this node nothing: an operation that moved a guest here is not the oldest one for that."""
    others = [f"there-{number}" for number in range(Settings().operations.keep_per_vm)]
    async with desk(tmp_path, ownership=NodeOwner("here", lambda: False)) as at:
        await at.machine("vm", "Running")
        await at.show(VIRTUAL_MACHINE, "vm", {"phase": "Running", "nodeName": "there"})
        for name in others:
            await at.operate("vm", name, "Evict")
            timer = {**clock.timer(), "boot": "of another node"}
            await at.show(VIRTUAL_MACHINE_OPERATION, name, {"phase": "Completed", "retentionTimer": timer})
        await at.operate("vm", "newest", "Evict", phase="InProgress")
        await at.settled(*others)
        done = {"phase": "Completed", "retentionTimer": clock.timer()}
        await at.show(VIRTUAL_MACHINE, "vm", {"phase": "Running", "nodeName": "here"})
        await at.show(VIRTUAL_MACHINE_OPERATION, "newest", done)
        async with asyncio.timeout(60):
            while len(await at.left()) > len(others):
                await asyncio.sleep(0.01)
        assert "newest" in await at.left()
