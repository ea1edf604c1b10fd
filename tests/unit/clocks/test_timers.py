"""Everything that lasts some time, while the wall clock jumps."""

from __future__ import annotations

import ast
import asyncio
import copy
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from hyperd import clock
from hyperd.api.access.tokens import Grant, Tokens
from hyperd.api.sessions.lease import DURATION_SECONDS, SessionKind, current_holder, lease_name
from hyperd.controllers.address.lease import LeaseController
from hyperd.controllers.context import Context
from hyperd.controllers.host import collection
from hyperd.controllers.host.cache import Cache
from hyperd.controllers.host.strangers import Strangers
from hyperd.controllers.node import controller as node_controller
from hyperd.controllers.node import heartbeat
from hyperd.errors import Unauthorized
from hyperd.resources.all import EVENT, KINDS, LEASE, NAMESPACE, SECRET, VIRTUAL_MACHINE_IP_ADDRESS_LEASE
from hyperd.resources.core.node import NodeConditionType, NodeReason
from hyperd.resources.schema.kind import Object
from hyperd.resources.values import names
from hyperd.resources.values.conditions import ConditionStatus
from hyperd.resources.values.meta import now_micro
from hyperd.resources.values.names import NODE_LEASE_LABEL, SYSTEM_NAMESPACE
from hyperd.roles import Role
from hyperd.runtime.recorder import EventRecorder
from hyperd.settings import Settings, StoreSettings
from hyperd.store.embedded.store import EmbeddedStore, opened_store
from hyperd.store.interface import BY_SYSTEM, PatchType
from tests.parts import Part
from tests.unit.clocks.stepping import STEPS, STOP, SteppedClock

ROOT = Path(__file__).parents[3]
VM: Object = {
    "apiVersion": "virtualization.deckhouse.io/v1alpha2",
    "kind": "VirtualMachine",
    "metadata": {"namespace": "default", "name": "web", "uid": "u1"},
}


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[EmbeddedStore]:
    embedded = EmbeddedStore(tmp_path / "s.db", settings=StoreSettings(), admit=None, kinds=KINDS)
    async with opened_store(embedded):
        for name in ("default", SYSTEM_NAMESPACE):
            if await embedded.find(NAMESPACE, "", name) is None:
                await embedded.create(NAMESPACE, "", {"metadata": {"name": name}})
        yield embedded


@pytest.mark.parametrize("step", STEPS)
def test_a_timer_counts_what_passes(time_: SteppedClock, step: str) -> None:
    timer = clock.timer(30)
    time_.step(step)
    time_.sleep(100)
    assert clock.passed(timer) == pytest.approx(130, abs=1)
    assert clock.due_to_note(timer, 400)
    assert not clock.due_to_note(timer, 4000)
    time_.reboot()
    assert clock.passed(timer) == 30
    assert clock.due_to_note(timer, 4000)
    noted = clock.timer(clock.passed(timer))
    time_.sleep(10)
    assert clock.passed(noted) == pytest.approx(40, abs=1)


@pytest.mark.parametrize("timer", [{}, {"boot": "b"}, {"boot": "b", "at": "x", "passed": None}, {"passed": -5}])
def test_a_damaged_timer_has_just_begun(timer: Object) -> None:
    assert clock.passed(timer) == 0
    assert clock.due_to_note(timer, 60)


@pytest.mark.parametrize("step", STEPS)
async def test_a_session_is_held_while_its_lease_is_renewed(
    store: EmbeddedStore, time_: SteppedClock, step: str
) -> None:
    name = lease_name(SessionKind.CONSOLE, VM)
    spec = {"holderIdentity": "alice", "leaseDurationSeconds": DURATION_SECONDS, "renewTime": now_micro()}
    await store.create(LEASE, "default", {"metadata": {"name": name, "namespace": "default"}, "spec": spec})
    assert await current_holder(store, SessionKind.CONSOLE, VM)
    time_.step(step)
    time_.sleep(DURATION_SECONDS - 10)
    assert await current_holder(store, SessionKind.CONSOLE, VM)
    if step != STOP:
        await store.patch(LEASE, "default", name, PatchType.MERGE, {"spec": {"renewTime": now_micro()}})
        assert await current_holder(store, SessionKind.CONSOLE, VM)
        time_.sleep(DURATION_SECONDS - 10)
        assert await current_holder(store, SessionKind.CONSOLE, VM)
    time_.sleep(11)
    assert await current_holder(store, SessionKind.CONSOLE, VM) is None


@pytest.mark.parametrize("step", STEPS)
async def test_a_node_is_served_while_its_lease_is_renewed(
    store: EmbeddedStore, time_: SteppedClock, step: str
) -> None:
    seen, duration = clock.Seen(), heartbeat.DURATION_SECONDS
    spec = {"holderIdentity": "n1", "leaseDurationSeconds": duration, "renewTime": now_micro()}
    meta = {"name": "node-n1", "namespace": SYSTEM_NAMESPACE, "labels": {NODE_LEASE_LABEL: "n1"}}
    await store.create(LEASE, SYSTEM_NAMESPACE, {"metadata": meta, "spec": spec})
    assert await heartbeat.served_nodes(store, seen) == {"n1"}
    time_.step(step)
    time_.sleep(duration - 5)
    assert await heartbeat.served_nodes(store, seen) == {"n1"}
    time_.sleep(6)
    assert await heartbeat.served_nodes(store, seen) == frozenset()
    # Once it is renewed it is served, whatever its stamp says.
    for stamp in ("2001-01-01T00:00:00.000000Z", "2099-01-01T00:00:00.000000Z"):
        await store.patch(LEASE, SYSTEM_NAMESPACE, "node-n1", PatchType.MERGE, {"spec": {"renewTime": stamp}})
        assert await heartbeat.served_nodes(store, seen) == {"n1"}


async def test_a_dead_node_with_a_stamp_of_the_future_is_not_served(
    store: EmbeddedStore, time_: SteppedClock
) -> None:
    spec = {"holderIdentity": "n1", "leaseDurationSeconds": 40, "renewTime": now_micro()}
    meta = {"name": "node-n1", "namespace": SYSTEM_NAMESPACE, "labels": {NODE_LEASE_LABEL: "n1"}}
    await store.create(LEASE, SYSTEM_NAMESPACE, {"metadata": meta, "spec": spec})
    time_.step("-7200")
    assert await heartbeat.served_nodes(store, clock.Seen()) == frozenset()


@pytest.mark.parametrize("reboots", [False, True], ids=["", "reboots"])
@pytest.mark.parametrize("step", STEPS)
async def test_a_released_address_stays_its_namespace_s_for_ten_minutes(
    store: EmbeddedStore, time_: SteppedClock, step: str, reboots: bool
) -> None:
    name = "ip-10-66-10-14"
    spec = {"virtualMachineIPAddressRef": {"namespace": "default", "name": "gone"}}
    body: Object = {"metadata": {"name": name, "finalizers": [names.VMIPL_CLEANUP]}, "spec": spec}
    lease = (await store.create(VIRTUAL_MACHINE_IP_ADDRESS_LEASE, "", body)).object()
    controller = LeaseController.__new__(LeaseController)
    controller._context = cast(Context, SimpleNamespace(store=store, settings=Settings()))

    async def looked() -> bool:
        nonlocal lease
        await controller._release(lease)
        item = await store.find(VIRTUAL_MACHINE_IP_ADDRESS_LEASE, "", name)
        if item is not None:
            lease = item
        return item is not None

    assert await looked()
    time_.step(step)
    for _ in range(3):
        time_.sleep(150)
        assert await looked()
    if reboots:
        time_.reboot()
        assert await looked()
        time_.step(step)
    time_.sleep(140)
    assert await looked()
    time_.sleep(11)
    assert not await looked()


@pytest.mark.parametrize("step", STEPS)
async def test_events_are_kept_for_their_time(store: EmbeddedStore, time_: SteppedClock, step: str) -> None:
    recorder = EventRecorder(store, EVENT, component="t", host="n", ttl_seconds=3600, elapsed=time_.elapsed)
    writing = asyncio.create_task(recorder.run())
    recorder.event(VM, "Normal", "Started", "It runs.")
    await recorder.flush()
    assert await recorder.prune() == 0
    time_.step(step)
    time_.sleep(3000)
    assert await recorder.prune() == 0
    time_.sleep(601)
    assert await recorder.prune() == 1
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)


@pytest.mark.parametrize("step", STEPS)
async def test_events_are_named_in_the_order_in_which_they_happened(
    store: EmbeddedStore, time_: SteppedClock, step: str
) -> None:
    recorder = EventRecorder(store, EVENT, component="t", host="n")
    writing = asyncio.create_task(recorder.run())
    for number in range(10):
        if number == 5:
            time_.step(step)
        recorder.event(VM, "Normal", "Counted", str(number))
    await recorder.flush()
    told = [item.object()["message"] for item in (await store.list(EVENT)).items]
    assert told == [str(number) for number in range(10)]
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)


@pytest.mark.parametrize("step", STEPS)
async def test_a_token_lives_no_longer_than_it_was_given(
    store: EmbeddedStore, time_: SteppedClock, step: str
) -> None:
    tokens = Tokens(store)
    token, _ = await tokens.create("ci", Grant(Role.VIEWER, (), int(clock.wall()) + 600), write=BY_SYSTEM)
    assert (await tokens.user(token)).uid
    ahead = step != STOP and float(step) > 600
    time_.step(step)
    if ahead:
        # Its end is a date, and the clock says that it has come.
        with pytest.raises(Unauthorized):
            await tokens.user(token)
        return
    time_.sleep(500)
    assert (await tokens.user(token)).uid
    time_.sleep(101)
    with pytest.raises(Unauthorized):
        await tokens.user(token)
    time_.step("-7200")
    with pytest.raises(Unauthorized):
        await tokens.user(token)


async def test_a_clock_that_was_ahead_for_a_while_removes_no_token(
    store: EmbeddedStore, time_: SteppedClock
) -> None:
    tokens = Tokens(store)
    await tokens.create("ci", Grant(Role.VIEWER, (), int(clock.wall()) + 600), write=BY_SYSTEM)
    time_.step("630720000")
    await tokens.sweep()
    assert await store.find(SECRET, SYSTEM_NAMESPACE, "ci")
    time_.sleep(86_500)
    await tokens.sweep()
    assert await store.find(SECRET, SYSTEM_NAMESPACE, "ci") is None


@pytest.mark.parametrize("step", STEPS)
async def test_a_cached_image_is_kept_for_its_retention(time_: SteppedClock, step: str, tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.touch()
    evicted: list[str] = []

    async def copies() -> list[object]:
        return [SimpleNamespace(path=image, layer_digest="sha256:a", allocated=0)]

    async def evict(digest: str, _: object) -> None:
        evicted.append(digest)

    settings = Settings.model_validate({"imports": {"cache_retention_seconds": 3600}})
    images = SimpleNamespace(copies=copies, evict=evict)
    context = cast(Context, SimpleNamespace(settings=settings, images=images))
    cached = Cache(context, cast(Strangers, SimpleNamespace(domains=())))
    await cached.sweep()
    time_.step(step)
    time_.sleep(3500)
    await cached.sweep()
    assert evicted == []
    time_.sleep(101)
    await cached.sweep()
    assert evicted == ["sha256:a"]


@pytest.mark.parametrize("step", STEPS)
async def test_a_schedule_follows_the_wall_clock_at_once(
    time_: SteppedClock, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two o'clock is two o'clock of the clock that people see; and it is no more than a day away."""
    scheduled = collection.Collection.__new__(collection.Collection)
    scheduled._schedule = "0 2 * * *"
    slept = 0.0

    async def sleep(seconds: float) -> None:
        nonlocal slept
        if not slept:
            time_.step(step)
        slept += seconds
        time_.sleep(seconds)
        if step == STOP and slept > 86_400:
            raise asyncio.CancelledError

    monkeypatch.setattr(collection, "asyncio", SimpleNamespace(sleep=sleep))
    if step == STOP:
        with pytest.raises(asyncio.CancelledError):
            await scheduled._until_due()
        return
    await scheduled._until_due()
    assert slept <= 86_400 + 120
    if abs(float(step)) < 7201:
        assert clock.now().hour in (2, 3, 4, 5)


@pytest.mark.parametrize("step", STEPS)
def test_a_node_s_heartbeat_moves_every_five_minutes(time_: SteppedClock, step: str) -> None:
    controller = node_controller.NodeController.__new__(node_controller.NodeController)
    controller._beats = clock.Seen()
    node: Part = {"status": {}}

    def moved() -> bool:
        before = copy.deepcopy(node)
        controller._set(node, NodeConditionType.READY, ConditionStatus.TRUE, NodeReason.READY, "libvirt answers")
        return bool(node != before)

    assert moved()
    assert not moved()
    time_.step(step)
    time_.sleep(200)
    assert not moved()
    time_.sleep(101)
    assert moved() == (step != STOP)
    assert not moved()


READS_DATES = {
    "hyperd/api/wire/protobuf.py": "the wire's form of a time",
    "hyperd/api/audit/log.py": "prints",
    "hyperd/api/audit/entry.py": "prints",
    "hyperd/api/sessions/lease.py": "a hint for what is seen for the first time",
    "hyperd/api/wire/tables.py": "ages, for people",
    "hyperd/api/access/tokens.py": "the end of a token is a date",
    "hyperd/api/serving/clusterca.py": "certificates end by dates: holds this clock to the API server's",
    "hyperd/controllers/disk/ready.py": "a hint for what is seen for the first time",
    "hyperd/controllers/node/heartbeat.py": "a hint for what is seen for the first time",
    "hyperd/runtime/recorder.py": "a hint for what is seen for the first time",
    "hyperd/store/grammar/heavy.py": "warms a process up",
    "hyperd/store/grammar/fields/managers.py": "the form in which it is stored",
    "hyperd/logs.py": "prints",
    "hyperd/api/stats/objects.py": "tells dates as numbers, to dashboards",
    "hyperd/api/stats/unstored.py": "writes when a sample was taken, for people",
    "hyperd/resources/schema/formats.py": "checks the form",
    "hyperd/resources/values/meta.py": "defines it",
    "hyperd/clock.py": "defines it",
}
"""Where a stored time is read, and why nothing lasts by it."""


def _calls(tree: ast.AST) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            names.add(ast.unparse(node.func))
    return names


def test_times_are_read_in_few_places_and_the_wall_clock_in_one() -> None:
    read, asked = set(), set()
    for path in [*(ROOT / "hyperd").rglob("*.py"), *(ROOT / "registry").rglob("*.py")]:
        name = str(path.relative_to(ROOT))
        if name.startswith(("hyperd/cli/", "hyperd/client/")):
            continue  # programs of a moment, which print ages
        calls = _calls(ast.parse(path.read_text()))
        if any(call.endswith(("fromisoformat", "parse_time", "fromtimestamp", "strptime")) for call in calls):
            read.add(name)
        if calls & {"time.time", "datetime.now", "datetime.utcnow", "datetime.datetime.now"}:
            asked.add(name)
    assert read <= set(READS_DATES), (
        "what lasts by stored stamps breaks when the clock is set: see hyperd/clock.py"
    )
    assert asked <= {"hyperd/clock.py"}, "ask hyperd.clock"
