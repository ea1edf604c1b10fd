"""What becomes of a reconcile: by its result, and by the type of its error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager

import pytest

from hyperd.errors import Conflict, PermanentError, ServiceUnavailable, TemporaryError
from hyperd.resources.schema.kind import Kind
from hyperd.runtime.controller import Controller, Key, Manager, Mapper, Result, owner_keys
from hyperd.store.embedded.store import EmbeddedStore
from hyperd.store.interface import Item
from tests.contract.store.kinds import CONFIG_MAPS, WIDGETS, config_map, owned_by, widget
from tests.unit.runtime.clock import in_fake_time, now

W = Key("default", "w")


class Scripted(Controller):
    """Does what each step of a script says, and notes when."""

    name = "scripted"
    kind = WIDGETS
    workers = 2

    def __init__(self, *script: Callable[[], Result | None]) -> None:
        super().__init__()
        self._script = list(script)
        self.calls: list[float] = []
        self.keys: asyncio.Queue[Key] = asyncio.Queue()

    async def reconcile(self, key: Key) -> Result | None:
        self.calls.append(now())
        self.keys.put_nowait(key)
        return self._script.pop(0)() if self._script else None

    def watches(self) -> Mapping[Kind, Mapper]:
        return {CONFIG_MAPS: owner_keys(WIDGETS)}


def fails(error: Exception) -> Callable[[], None]:
    def step() -> None:
        raise error

    return step


def fine() -> None:
    return


@asynccontextmanager
async def working(controller: Controller) -> AsyncIterator[None]:
    """Workers without a store: keys come from the test."""
    tasks = [asyncio.create_task(controller.work()) for _ in range(controller.workers)]
    yield
    controller.queue.close()
    await asyncio.gather(*tasks)


async def run_script(*script: Callable[[], Result | None], seconds: float = 500) -> Scripted:
    controller = Scripted(*script)
    async with working(controller):
        controller.enqueue(W)
        await asyncio.sleep(seconds)
    return controller


@in_fake_time
async def test_a_good_reconcile_is_not_repeated() -> None:
    assert len((await run_script(fine)).calls) == 1


@in_fake_time
async def test_a_result_asks_for_a_later_look() -> None:
    controller = await run_script(lambda: Result(requeue_after=30), lambda: Result(requeue_after=7), fine)
    assert controller.calls == pytest.approx([0, 30, 37])


@in_fake_time
async def test_a_temporary_error_is_tried_again_after_its_delay() -> None:
    controller = await run_script(fails(TemporaryError("busy", delay=12)), fine)
    assert controller.calls == pytest.approx([0, 12])
    assert controller.metrics.errors == 1


@in_fake_time
@pytest.mark.parametrize(
    "error",
    [TemporaryError("busy"), ServiceUnavailable("down"), Conflict("lost"), ValueError("a defect")],
    ids=["temporary", "unavailable", "conflict", "defect"],
)
async def test_other_errors_back_off(error: Exception) -> None:
    controller = await run_script(*[fails(error)] * 8, fine)
    gaps = [later - earlier for earlier, later in zip(controller.calls, controller.calls[1:], strict=False)]
    assert len(gaps) == 8
    assert all(0.005 * 2**n <= gap <= 0.0061 * 2**n for n, gap in enumerate(gaps))
    assert controller.queue.failures(W) == 0


@in_fake_time
async def test_a_permanent_error_waits_for_a_change_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    controller = Scripted(*[fails(PermanentError("the size is wrong"))] * 3)
    async with working(controller):
        for _ in range(3):
            controller.enqueue(W)
            await asyncio.sleep(100)
    assert len(controller.calls) == 3
    assert caplog.text.count("the size is wrong") == 1


@in_fake_time
async def test_a_defect_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    await run_script(fails(ValueError("a defect")), fine)
    assert "scripted: reconciling default/w failed" in caplog.text
    assert "Traceback" in caplog.text


@in_fake_time
async def test_figures_are_counted() -> None:
    controller = await run_script(fails(ServiceUnavailable("down")), fine)
    assert (controller.metrics.reconciles, controller.metrics.errors) == (2, 1)
    assert controller.metrics.busy == 0


async def next_keys(controller: Scripted, count: int) -> set[Key]:
    async with asyncio.timeout(10):
        return {await controller.keys.get() for _ in range(count)}


async def test_changes_of_own_and_watched_kinds_lead_to_a_look(store: EmbeddedStore) -> None:
    owner = (await store.create(WIDGETS, "default", widget())).object()
    controller = Scripted()
    manager = Manager(store)
    manager.add(controller)
    await manager.start()
    try:
        assert await next_keys(controller, 1) == {W}
        await store.create(CONFIG_MAPS, "default", config_map("stranger"))
        await store.create(CONFIG_MAPS, "default", owned_by(config_map(), owner))
        assert await next_keys(controller, 1) == {W}
        await store.delete(CONFIG_MAPS, "default", "c")
        assert await next_keys(controller, 1) == {W}
        await store.create(WIDGETS, "default", widget("other"))
        assert await next_keys(controller, 1) == {Key("default", "other")}
        [report] = manager.report()
        assert report.name == "scripted"
        assert report.metrics.reconciles == 4
    finally:
        await manager.stop()
    await manager.stop()


async def test_an_object_that_changed_hands_concerns_both_owners(store: EmbeddedStore) -> None:
    one, two = [(await store.create(WIDGETS, "default", widget(name))).object() for name in ("one", "two")]
    child = (await store.create(CONFIG_MAPS, "default", owned_by(config_map(), one))).object()
    controller = Scripted()
    manager = Manager(store)
    manager.add(controller)
    await manager.start()
    try:
        await next_keys(controller, 2)
        await store.update(CONFIG_MAPS, "default", "c", owned_by(child, two))
        assert await next_keys(controller, 2) == {Key("default", "one"), Key("default", "two")}
    finally:
        await manager.stop()


class Picky(Scripted):
    def wants(self, old: Item | None, new: Item | None) -> bool:
        return old is None or new is None


async def test_a_controller_may_not_want_every_change(store: EmbeddedStore) -> None:
    controller = Picky()
    manager = Manager(store)
    manager.add(controller)
    await manager.start()
    try:
        obj = (await store.create(WIDGETS, "default", widget())).object()
        obj["spec"]["size"] = 2
        await store.update(WIDGETS, "default", "w", obj)
        await store.create(WIDGETS, "default", widget("x"))
        assert await next_keys(controller, 2) == {W, Key("default", "x")}
        assert controller.keys.empty()
    finally:
        await manager.stop()


async def test_informers_are_shared_and_full_before_the_first_reconcile(store: EmbeddedStore) -> None:
    for number in range(20):
        await store.create(CONFIG_MAPS, "default", config_map(f"c{number}"))
    await store.create(WIDGETS, "default", widget())
    manager = Manager(store)
    configs = manager.informer(CONFIG_MAPS)
    seen: list[int] = []

    class Counting(Scripted):
        async def reconcile(self, key: Key) -> Result | None:
            seen.append(len(configs))
            return await super().reconcile(key)

    controller = Counting()
    manager.add(controller)
    assert manager.informer(CONFIG_MAPS) is configs
    await manager.start()
    try:
        await next_keys(controller, 1)
        assert seen == [20]
        with pytest.raises(RuntimeError, match="asked for after the start"):
            manager.informer(Kind("", "v1", "Late", "lates", "late", True))
    finally:
        await manager.stop()


async def test_stopping_ends_a_reconcile_that_hangs(store: EmbeddedStore) -> None:
    started = asyncio.Event()

    class Hanging(Scripted):
        async def reconcile(self, key: Key) -> Result | None:
            started.set()
            await asyncio.Event().wait()
            return None

    manager = Manager(store)
    manager.add(Hanging())
    await manager.start()
    await store.create(WIDGETS, "default", widget())
    async with asyncio.timeout(10):
        await started.wait()
        await manager.stop()


def test_a_mapper_ignores_owners_of_other_kinds() -> None:
    item = Item(
        b'{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"Widget","name":"a","uid":"u"}]}}',
        namespace="default", name="c", uid="", resource_version="",
    )  # fmt: skip
    found: Iterable[Key] = owner_keys(WIDGETS)(item)
    assert list(found) == []


@in_fake_time
async def test_reconciles_that_hang_take_no_workers_place() -> None:
    """However many: two workers, thirty guests that hang, and one that is well."""
    never = asyncio.Event()
    done: list[Key] = []

    class Hanging(Scripted):
        async def reconcile(self, key: Key) -> Result | None:
            if key.name.startswith("hung"):
                await never.wait()
            done.append(key)
            return None

    controller = Hanging()
    async with working(controller):
        for number in range(30):
            controller.enqueue(Key("default", f"hung-{number}"))
        controller.enqueue(W)
        await asyncio.sleep(60)
        assert done == [W]
        assert controller.metrics.busy == 30
        controller.enqueue(Key("default", "hung-0"))
        await asyncio.sleep(60)
        assert controller.metrics.busy == 30, "a key is worked on once at a time"
        never.set()
        await asyncio.sleep(1)
        assert len(done) == 32
        assert controller._slow == 0
    assert controller.metrics.busy == 0


def cut_off() -> None:
    raise asyncio.CancelledError


@in_fake_time
async def test_a_cancellation_that_is_not_the_workers_own_ends_no_worker(
    caplog: pytest.LogCaptureFixture,
) -> None:
    controller = await run_script(cut_off, cut_off, cut_off, fine)
    assert len(controller.calls) == 4
    assert controller.metrics.errors == 3
    assert caplog.text.count("scripted: reconciling default/w failed") == 3
