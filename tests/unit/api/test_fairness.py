"""One hostile user, and one hostile stranger, keep nobody else waiting: counted, for each thing that is shared."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from hyperd.api.limits import fairness
from hyperd.api.limits import turns as turns_
from hyperd.api.limits.fairness import Penalties, source_key
from hyperd.api.limits.turns import Turns
from hyperd.errors import TooManyRequests
from hyperd.resources.all import CONFIG_MAP
from hyperd.roles import Role
from hyperd.shares import Shares
from hyperd.store.interface import User
from tests.unit.api.conftest import Api, config_map, serving
from tests.unit.api.test_hostile_bodies import timed_callbacks
from tests.unit.api.test_identity import bearer, token

MAPS = "/api/v1/namespaces/default/configmaps"
SUBRESOURCES = "/apis/subresources.virtualization.deckhouse.io/v1alpha2/namespaces/default/virtualmachines/web"


async def viewer(api: Api, name: str = "eve") -> dict[str, str]:
    return bearer(await token(api, name, Role.VIEWER, "default"))


@asynccontextmanager
async def many(api: Api) -> AsyncIterator[aiohttp.ClientSession]:
    """A client with as many connections as it has requests."""
    connector = aiohttp.UnixConnector(path=str(api.settings.socket_path), limit=0)
    async with aiohttp.ClientSession(connector=connector) as client:
        yield client


HOSTILE = {
    "gets": f"GET {MAPS}/large-1",
    "lists": f"GET {MAPS}",
    "tables": f"GET {MAPS}",
    "watches": f"GET {MAPS}?watch=true&timeoutSeconds=1",
    "deletions": f"DELETE {MAPS}?dryRun=All",
}


@pytest.mark.parametrize("kind", HOSTILE)
async def test_a_request_waits_for_a_few_steps_of_another_user(
    api: Api, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    for number in range(50):
        await api.store.create(CONFIG_MAP, "default", config_map(f"large-{number}", pad="x" * 20_000))
    headers = bearer(await token(api, "eve", Role.EDITOR, "default"))
    if kind == "tables":
        headers["Accept"] = "application/json;as=Table;v=v1;g=meta.k8s.io"
    steps = list[str]()
    take = api.server.fairness.turns.take

    def counted(key: str) -> asyncio.Future[None] | None:
        turn = take(key)
        if turn is None:
            steps.append(key)
        else:
            turn.add_done_callback(lambda _: steps.append(key))
        return turn

    monkeypatch.setattr(api.server.fairness.turns, "take", counted)
    once = "\r\n".join(f"{key}: {value}" for key, value in headers.items())
    request = f"{HOSTILE[kind]} HTTP/1.1\r\nHost: h\r\n{once}\r\n\r\n".encode()
    hostile = [await asyncio.open_unix_connection(str(api.settings.socket_path)) for _ in range(40)]

    async def drain(reader: asyncio.StreamReader) -> None:
        while await reader.read(1 << 16):
            pass

    drains = [asyncio.create_task(drain(reader)) for reader, _ in hostile]
    for _, writer in hostile:
        writer.write(request * 40)
    waited = []
    await asyncio.sleep(0.05)
    with timed_callbacks() as callbacks:
        for _ in range(20):
            before = len(steps)
            assert (await api.call("GET", f"{MAPS}/large-0"))[0] == 200
            waited.append(steps[before:].count("token:eve"))
    for _, writer in hostile:
        writer.transport.abort()
    await asyncio.gather(*drains, return_exceptions=True)
    assert sum(waited) > 0, "nobody else asked meanwhile"
    # A request takes three turns of the loop, and the client here some more of the same loop. Without turns each
    # would wait for all 40 connections.
    assert sorted(waited)[len(waited) // 2] <= 5
    assert callbacks.worst < 0.05, callbacks.what


async def test_a_body_of_tiny_chunks_costs_little_and_is_refused(api: Api) -> None:
    head = (
        f"POST {MAPS} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    body = b"1\r\n \r\n" * 100_000 + b"0\r\n\r\n"
    used = []
    for _ in range(2):  # what a busy host does to CPU time it does not do twice
        reader, writer = await asyncio.open_unix_connection(str(api.settings.socket_path))
        with timed_callbacks() as callbacks:
            writer.write(head.encode() + body)
            assert (await reader.readline()).startswith(b"HTTP/1.1 400")
            assert b"chunks of 1 bytes on average" in await reader.read(1 << 14)
        writer.transport.abort()
        used.append(callbacks.worst)
    assert min(used) < 0.05


async def test_what_a_watch_begins_with_is_sent_in_turns(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        await api.store.create(CONFIG_MAP, "default", config_map(f"large-{number}", pad="x" * 20_000))
    taken = list[str]()
    take = api.server.fairness.turns.take

    def counted(key: str) -> asyncio.Future[None] | None:
        taken.append(key)
        return take(key)

    monkeypatch.setattr(api.server.fairness.turns, "take", counted)
    async with api.client.get(f"http://h{MAPS}?watch=true") as response:
        for _ in range(20):
            await response.content.readuntil()
    assert len(taken) >= 9, "no more than two events went out in one turn"


async def test_what_arrives_is_parsed_in_turns_while_others_ask(api: Api) -> None:
    fairness_ = api.server.fairness
    # Connections that wait to be read lose nothing, and keep the order of what they were sent.
    headers = await viewer(api)
    once = "\r\n".join(f"{key}: {value}" for key, value in headers.items())
    asked = f"GET {MAPS} HTTP/1.1\r\nHost: h\r\n{once}\r\n\r\n".encode()
    reader, writer = await asyncio.open_unix_connection(str(api.settings.socket_path))
    for start in range(0, len(asked), 7):
        writer.write(asked[start : start + 7])
        fairness_.turns.take("ann")
        fairness_.turns.take("eve")
        await asyncio.sleep(0)
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    writer.close()


async def test_turns_keep_order_and_forget_who_is_gone() -> None:
    turns, order = Turns(2, alone=2), list[str]()

    async def ask(key: str) -> None:
        turn = turns.take(key)
        if turn is not None:
            await turn
        order.append(key)

    tasks = [asyncio.create_task(ask("many")) for _ in range(20)]
    tasks.append(asyncio.create_task(ask("one")))
    await asyncio.sleep(0)
    assert order == ["many", "many", "one"]
    tasks[2].cancel()
    tasks[3].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert len(order) == 19
    for _ in range(3):
        await asyncio.sleep(0)
    assert (turns.waiting, turns._begun, turns._ticking) == (0, {}, False)


async def test_who_is_alone_begins_more_until_another_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns_, "_LATELY_SECONDS", 0.05)
    turns = Turns(2, alone=10)
    assert [turns.take("many") is None for _ in range(11)] == [True] * 10 + [False]
    assert turns.take("one") is None
    for _ in range(5):
        await asyncio.sleep(0)
    assert turns.waiting == 0
    assert [turns.take("many") is None for _ in range(3)] == [True, True, False]
    await asyncio.sleep(0.1)
    assert [turns.take("many") is None for _ in range(11)] == [True] * 10 + [False]


async def test_watches_of_one_user_are_taken_back_when_another_asks(folder: Path) -> None:
    async with serving(folder, max_watchers=20) as api, many(api) as client, AsyncExitStack() as open_ones:
        headers, url = await viewer(api), f"http://h{MAPS}?watch=true"
        hostile = []
        while True:
            response = await open_ones.enter_async_context(client.get(url, headers=headers))
            if response.status != 200:
                assert (response.status, response.headers["Retry-After"]) == (429, "5")
                break
            hostile.append(response)
        assert len(hostile) == 19, "the last is root's"
        mine = [await open_ones.enter_async_context(client.get(url)) for _ in range(5)]
        assert [one.status for one in mine] == [200] * 5
        other = await viewer(api, "ann")
        theirs = await open_ones.enter_async_context(client.get(url, headers=other))
        assert theirs.status == 200
        for ended in hostile[-5:]:
            await ended.content.read()  # complete: a client lists anew
        again = await open_ones.enter_async_context(client.get(url, headers=headers))
        assert again.status == 429
        await api.call("POST", MAPS, {"metadata": {"name": "seen"}})
        for one in (*mine, theirs, hostile[0]):
            assert json.loads(await one.content.readline())["type"] == "ADDED"
    assert api.server.fairness.watches.lent == 0


async def test_requests_in_flight_of_one_user_leave_room(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fairness, "_WAIT_SECONDS", 0.3)
    async with serving(folder) as api, many(api) as client:
        shares: Shares[str] = Shares("requests", 8, floor=2, headroom=2, reserve=1, waiting=4)
        api.server.fairness.requests = shares
        headers = bearer(await token(api, "eve", Role.EDITOR, "default"))

        async def endless() -> AsyncIterator[bytes]:
            yield b"{"
            await asyncio.Event().wait()

        async def slow() -> int:
            async with client.post(f"http://h{MAPS}", data=endless(), headers=headers) as response:
                return response.status

        bodies = [asyncio.create_task(slow()) for _ in range(12)]
        refused, _ = await asyncio.wait(bodies, timeout=5, return_when=asyncio.FIRST_COMPLETED)
        assert {task.result() for task in refused} == {429}
        assert shares.held("token:eve") == 5
        ann = await viewer(api, "ann")
        for _ in range(3):
            async with client.get(f"http://h{MAPS}", headers=ann) as response:
                assert response.status == 200
            assert (await api.call("GET", MAPS))[0] == 200
        for task in bodies:
            task.cancel()
        await asyncio.gather(*bodies, return_exceptions=True)
        async with asyncio.timeout(5):
            while shares.lent:
                await asyncio.sleep(0.01)
    assert not list(shares.keys())


@pytest.mark.parametrize("subresource", ["console", "portforward"])
async def test_sessions_of_one_user_leave_room(folder: Path, subresource: str) -> None:
    release = asyncio.Event()

    async def handler(request: web.BaseRequest, user: User, namespace: str, name: str) -> web.StreamResponse:
        await release.wait()
        return web.Response()

    handlers = {("virtualmachines", subresource): handler}
    async with serving(folder, sessions=handlers) as api, many(api) as client:
        shares = fairness._held_long("sessions", 16)
        api.server.fairness.sessions = api.server.fairness.forwards = shares
        url = f"http://h{SUBRESOURCES}/{subresource}"

        async def session(headers: dict[str, str]) -> int:
            async with client.get(url, headers=headers) as response:
                return response.status

        eve = bearer(await token(api, "eve", Role.OPERATOR, "default"))
        ann = bearer(await token(api, "ann", Role.OPERATOR, "default"))
        hostile = [asyncio.create_task(session(eve)) for _ in range(30)]
        done, _ = await asyncio.wait(hostile, timeout=0.5)
        assert {task.result() for task in done} == {429}
        assert shares.held("token:eve") == 8
        theirs = [asyncio.create_task(session(headers)) for headers in (ann, ann, {}, {})]
        await asyncio.sleep(0.1)
        assert not any(task.done() for task in theirs)
        assert api.server.fairness.requests.lent == 0
        release.set()
        assert await asyncio.gather(*theirs) == [200] * 4
        await asyncio.gather(*hostile)
        assert shares.lent == 0


async def test_answers_to_many_failed_logins_are_held_back_for_that_address_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(folder) as api, many(api) as client:
        api.server.fairness.penalties = Penalties(free=5, rate=20)
        bad: dict[str, Any] = bearer("hyperd.eve.nothing")

        async def fail() -> int:
            async with client.get(f"http://h{MAPS}", headers=bad) as response:
                return response.status

        loop = asyncio.get_running_loop()
        started = loop.time()
        failing = [asyncio.create_task(fail()) for _ in range(25)]
        assert (await api.call("GET", MAPS))[0] == 200
        assert loop.time() - started < 0.9, "a good login waits for nobody's bad ones"
        assert set(await asyncio.gather(*failing)) == {401}
        assert loop.time() - started >= 0.9


def test_penalties_forget_addresses_and_stay_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("hyperd.api.limits.fairness.time.monotonic", lambda: now[0])
    penalties = Penalties(free=2, rate=1)
    assert [penalties.failed("a") for _ in range(4)] == [0, 0, 1, 2]
    assert penalties.failed("b") == 0
    for _ in range(100):
        assert penalties.failed("a") <= fairness._LONGEST_PENALTY
    now[0] += 1000
    assert penalties.failed("a") == 0
    monkeypatch.setattr(fairness, "_REMEMBERED", 500)
    for number in range(3 * fairness._REMEMBERED):
        penalties.failed(str(number))
    assert len(penalties._until) <= fairness._REMEMBERED


@pytest.mark.parametrize(
    ("source", "key"),
    [
        ("uid=1000 pid=7", "uid=1000"),
        ("192.0.2.7:41000", "192.0.2.7"),
        ("[2001:db8::1]:41000", "2001:db8::/56"),
    ],
)
def test_a_stranger_is_who_its_connection_comes_from(source: str, key: str) -> None:
    assert source_key(source) == key


async def test_a_user_beyond_its_share_is_told_when_to_come_again() -> None:
    shares = fairness._held_long("sessions", 4)
    while shares.try_acquire("eve"):
        pass
    refusal = shares.refusal("eve")
    assert isinstance(refusal, TooManyRequests)
    assert refusal.retry_after_seconds == 5
    assert "2 sessions of yours are open" in refusal.message
