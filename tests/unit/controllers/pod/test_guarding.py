"""The node's part of fencing: what is promised, when the watchdog is fed, when all go on without it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from hyperd import clock
from hyperd.controllers.node import promise
from hyperd.controllers.pod.guarding import Guards
from hyperd.errors import HyperdError, TemporaryError
from hyperd.launcher import sandbox
from hyperd.resources.all import LEASE, NODE, VIRTUAL_DISK, VIRTUAL_MACHINE
from hyperd.resources.values import names
from hyperd.resources.values.meta import now_micro
from hyperd.runtime.controller import Key
from tests.parts import Part, part
from tests.unit.controllers.pod.cluster import WEB, Cluster
from tests.unit.controllers.pod.machines import machine

SECONDS = 40.0
PLACE = part(SimpleNamespace())
ASKS = {names.FENCING_ANNOTATION: "true"}


class FakeWatchdog:
    """As the program is, and as dead as it is made."""

    def __init__(self) -> None:
        self.runs = False
        self.fed = 0.0
        self.has: dict[str, int] = {}

    async def start(self) -> None:
        self.runs = True

    async def guard(self, pid: int, uid: str) -> None:
        self._ask()
        if self.fed <= clock.elapsed():
            raise TemporaryError("it was not fed")
        self.has[uid] = pid

    async def release(self, uid: str) -> None:
        self._ask()
        self.has.pop(uid, None)

    async def feed(self, until: float) -> None:
        self._ask()
        self.fed = max(self.fed, until)

    async def cap(self, until: float) -> None:
        self._ask()
        self.fed = min(self.fed, until)

    async def guarded(self) -> frozenset[str]:
        self._ask()
        return frozenset(self.has)

    def _ask(self) -> None:
        if not self.runs:
            raise TemporaryError("it does not answer")

    def dies(self) -> None:
        self.runs, self.has, self.fed = False, {}, 0.0


class Node(Cluster):
    """The node metal of three, with a guest."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.now = 1000.0
        monkeypatch.setattr(clock, "elapsed", lambda: self.now)
        monkeypatch.setattr(sandbox, "members", lambda _: frozenset({77}))
        self.away = False
        self.looked: list[Key] = []
        self.domain = SimpleNamespace(active=True)
        self.context.node_name = "metal"
        self.context.hypervisor = SimpleNamespace(connected=True, last_known={"vm-1": self.domain})
        found = machine()
        self.uid = found["metadata"]["uid"]
        self.context.hypervisor.last_known = {self.uid: self.domain}
        self.put(
            VIRTUAL_MACHINE, {**found, "status": {"phase": "Running", "holder": {"epoch": 1, "node": "metal"}}}
        )
        for name in ("leader", "metal", "wood"):
            self.put(NODE, {"metadata": {"name": name}})
            meta = {"name": f"node-{name}", "namespace": names.SYSTEM_NAMESPACE, "uid": name,
                    "labels": {names.NODE_LEASE_LABEL: name}, "annotations": {}}  # fmt: skip
            self.put(LEASE, {"metadata": meta, "spec": {"renewTime": now_micro()}})
        self.watchdog = FakeWatchdog()
        self.guards = Guards(part(self.context), self.looked.append, part(self.watchdog))
        self.says: dict[str, Any] = {}
        self.guards.ask = self._says

    async def _says(self, node: Part) -> bool:
        found = self.says.get(node["metadata"]["name"], False)
        if isinstance(found, Exception):
            raise found
        return bool(found)

    async def list(self, kind: Part, namespace: str, *, selector: Part) -> Part:
        if self.away:
            raise HyperdError("no answer")
        found = [obj for (of, _, _), obj in self.objects.items() if of is kind]
        return part(SimpleNamespace(items=[SimpleNamespace(object=lambda obj=obj: obj) for obj in found]))

    async def keep(self) -> Any:
        """One look at the machine, and what its status says of its holder then."""
        found = self.machine
        await self.guards.keep(found, PLACE)
        self.put(VIRTUAL_MACHINE, found)
        return found["status"]["holder"]

    def annotate(self, annotations: dict[str, str]) -> None:
        found = self.machine
        self.put(VIRTUAL_MACHINE, {**found, "metadata": {**found["metadata"], "annotations": annotations}})

    async def renew(self) -> promise.Promise | None:
        made = await self.guards.promise()
        self.guards.sends()
        await self.guards.renewed(self.now, made)
        return made

    async def guarded(self) -> None:
        """The guest is, as was asked for, and that is promised."""
        self.annotate(ASKS)
        await self.keep()
        await self.renew()
        await self.keep()
        assert await self.renew() is not None


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Node:
    return Node(monkeypatch)


async def test_nothing_is_guarded_where_nobody_asks_for_it(node: Node) -> None:
    assert await node.keep() == {"epoch": 1, "node": "metal"}
    assert await node.renew() is None
    assert not node.watchdog.runs


async def test_a_guest_is_fenced_once_it_is_guarded_and_not_before(node: Node) -> None:
    node.annotate(ASKS)
    assert await node.keep() == {"epoch": 1, "node": "metal"}, "it was not fed yet"
    await node.renew()
    assert node.looked == [WEB], "once it was it is looked at again"
    assert await node.keep() == {"epoch": 1, "node": "metal", "fenced": True}
    assert node.watchdog.has == {node.uid: 77}
    assert await node.renew() == promise.make(SECONDS, ("leader", "metal", "wood"))
    assert node.watchdog.fed == node.now + promise.ends(SECONDS)


async def test_who_asks_no_more_is_let_go_once_the_record_says_so(node: Node) -> None:
    await node.guarded()
    node.annotate({})
    assert await node.keep() == {"epoch": 1, "node": "metal"}
    assert node.watchdog.has, "the leader counts on it until that is written"
    await node.keep()
    assert not node.watchdog.has


async def test_of_a_guest_that_is_not_guarded_nothing_is_promised(node: Node) -> None:
    await node.guarded()
    node.watchdog.dies()
    node.looked.clear()
    assert await node.renew() is None
    assert node.looked == [WEB]
    assert await node.keep() == {"epoch": 1, "node": "metal"}
    await node.renew()
    await node.keep()
    assert await node.renew() is not None


async def test_one_from_before_this_daemon_is_fed_with_the_first_renewal(node: Node) -> None:
    await node.guarded()
    node.now += 30
    after = Guards(part(node.context), node.looked.append, part(node.watchdog))
    await after.renewed(node.now, await after.promise())
    assert node.watchdog.fed == node.now + promise.ends(SECONDS)


@pytest.mark.parametrize(
    ("says", "fed"),
    [({}, False), ({"wood": True}, True), ({"wood": True, "leader": True}, True), ({"wood": OSError()}, False)],
)
async def test_where_it_cannot_renew_most_must_say_that_the_api_server_is_away(
    node: Node, says: dict[str, Any], fed: bool
) -> None:
    await node.guarded()
    before, node.says = node.watchdog.fed, says
    node.now += promise.AWAY * SECONDS + 1
    assert node.guards.is_away()
    promised = node.guards._promised
    assert promised is not None
    await node.guards._ask_others(promised)
    assert (node.watchdog.fed > before) is fed


async def test_one_that_renews_is_not_counted_among_those(node: Node) -> None:
    await node.guarded()
    node.says = {"wood": True}
    node.now += promise.AWAY * SECONDS - 1
    assert not node.guards.is_away()
    before, promised = node.watchdog.fed, node.guards._promised
    assert promised is not None
    await node.guards._ask_others(promised)
    assert node.watchdog.fed == before


async def test_a_daemon_that_is_stopped_in_order_has_all_go_on(node: Node) -> None:
    await node.guarded()
    await node.guards.rest()
    assert not node.watchdog.has
    lease = node.objects[LEASE, names.SYSTEM_NAMESPACE, "node-metal"]
    assert names.LEASE_PROMISE_ANNOTATION not in lease["metadata"]["annotations"]


async def test_one_that_rests_guards_and_promises_nothing_more(node: Node) -> None:
    await node.guarded()
    await node.guards.rest()
    assert await node.renew() is None
    await node.keep()
    assert not node.watchdog.has


async def test_one_whose_requests_may_come_about_does_not_say_that_it_is_away(node: Node) -> None:
    """Nobody answers them in time, and the leader sees them all the same."""
    await node.guarded()
    for _ in range(10):
        node.now += SECONDS / 4
        node.guards.sends()
        assert not node.guards.is_away()
    node.now += promise.AWAY * SECONDS + 1
    assert node.guards.is_away()


async def test_where_too_few_could_take_it_no_guest_is_to_end(node: Node) -> None:
    await node.guarded()
    node.objects.pop((NODE, "", "wood"))
    node.show()
    node.now += 3 * SECONDS
    assert await node.guards.promise() is None
    assert node.watchdog.has, "what was promised last holds until the store has taken that back"
    await node.guards.renewed(node.now, None)
    assert not node.watchdog.has
    assert await node.keep() == {"epoch": 1, "node": "metal"}
    assert node.told == [("NotFenced", "The guest is not fenced: that takes 3 nodes with a hyperd.")]


async def test_a_guest_whose_disk_is_the_nodes_alone_is_not_ended_for_nothing(node: Node) -> None:
    node.annotate(ASKS)
    node.put(VIRTUAL_DISK, {"metadata": {"namespace": "shop", "name": "root", "uid": "root"}, "spec": {}})
    node.set_spec(blockDeviceRefs=[{"kind": "VirtualDisk", "name": "root"}])
    for _ in range(3):
        await node.renew()
        assert await node.keep() == {"epoch": 1, "node": "metal"}
    assert not node.watchdog.runs
    ((reason, message),) = node.told
    assert reason == "NotFenced"
    assert 'VirtualDisk "root" is this node\'s alone' in message


async def test_what_an_earlier_daemon_has_fed_is_no_longer_than_what_is_promised(node: Node) -> None:
    await node.guarded()
    node.watchdog.fed = node.now + 3600
    assert await node.guards.promise() is not None
    assert node.watchdog.fed == node.now + promise.ends(SECONDS)


async def test_a_renewal_in_flight_ends_before_the_promise_is_taken_back(node: Node) -> None:
    await node.guarded()
    async with node.guards.alone():
        resting = asyncio.create_task(node.guards.rest())
        await asyncio.sleep(0)
        assert node.watchdog.has
    await resting
    assert not node.watchdog.has


async def test_where_it_cannot_say_so_nobody_is_let_go(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    await node.guarded()

    async def fails(*_: object) -> None:
        raise HyperdError("no answer")

    monkeypatch.setattr(node, "patch", fails)
    await node.guards.rest()
    assert node.watchdog.has


async def test_a_guest_on_its_way_and_another_nodes_are_left_alone(node: Node) -> None:
    node.annotate(ASKS)
    node.watchdog.runs, node.watchdog.fed = True, node.now + 60
    for holder in ({"epoch": 1, "node": "metal", "to": "wood"}, {"epoch": 1, "node": "wood"}):
        node.set_machine(holder=holder)
        assert await node.keep() == holder
    assert not node.watchdog.has


async def test_two_majorities_of_the_electors_always_meet() -> None:
    for count in range(1, 20):
        made = promise.make(SECONDS, [f"n{number:02}" for number in range(count)])
        assert 2 * made.majority > len(made.electors)
    # Whoever says that it is away was silent for longer than the leader counts on it, its own looks included, and
    # what it had sent and given up may have come about a renewal later.
    assert promise.AWAY >= 1 + 2 / 8 + 1 / promise.RENEWALS
    # All have been silent for so long, and could be asked, before the first one's guests end.
    assert promise.ends(1) >= promise.AWAY + 1 / promise.RENEWALS + 2 / 8
    assert promise.certain(made, SECONDS) - promise.ends(SECONDS) > SECONDS / 4
