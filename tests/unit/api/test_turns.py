"""Who waits for a turn of the loop holds nothing that others wait for."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import weakref
from collections.abc import AsyncGenerator

import aiohttp
import orjson
import pytest

from hyperd.api.endpoints import answers
from hyperd.api.limits import turns as turns_
from hyperd.api.limits.turns import Coming
from hyperd.api.wire import bodies
from hyperd.offload import Offload
from hyperd.resources.all import CONFIG_MAP
from tests.unit.api.conftest import Api, config_map

MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.mark.parametrize("verb", ["POST", "PUT", "DELETE", "many"])
async def test_a_write_takes_no_turn_while_it_holds_its_object(
    api: Api, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    await api.store.create(CONFIG_MAP, "default", config_map("first"))
    await api.store.create(CONFIG_MAP, "default", config_map("second"))
    there = len((await api.store.list(CONFIG_MAP, "default")).items)
    taken, lines = list[bool](), api.store._ledger._turns
    take = api.server.fairness.turns.take

    def counted(key: str) -> asyncio.Future[None] | None:
        taken.append(bool(lines))
        return take(key)

    monkeypatch.setattr(api.server.fairness.turns, "take", counted)
    if verb == "POST":
        status, _ = await api.call("POST", MAPS, config_map("new"))
    elif verb == "PUT":
        status, _ = await api.call("PUT", f"{MAPS}/first", config_map("first", k="v"))
    else:
        status, _ = await api.call("DELETE", MAPS if verb == "many" else f"{MAPS}/first")
    assert status in (200, 201)
    assert not any(taken), "it keeps all who want the object waiting for its user's other work"
    assert len(taken) > (there if verb == "many" else 1), "each object is written in a turn"


async def test_a_place_for_a_large_body_is_free_when_its_work_is_done() -> None:
    processes, held = Offload(), list[int]()

    def take() -> asyncio.Future[None] | None:
        held.append(processes._places.lent)
        return None

    options = {"form": "indented"}
    await turns_.stepping(processes.run("eve", "hyperd.api.wire.parsing:written", options, b"{}"), take)
    await processes.close()
    assert len(held) > 1
    assert not any(held), "it is held for a turn"


async def test_what_is_closed_while_it_is_waited_for_has_ended() -> None:
    ended = list[str]()

    async def events() -> AsyncGenerator[int, None]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            ended.append("ended")

    some = events()
    first = Coming(anext(some))
    assert first.at_once()
    assert await first == 1
    first.close()
    second = Coming(anext(some))
    assert not second.at_once()
    second.close()
    assert ended == ["ended"]
    await some.aclose()  # raises where it runs still
    last = Coming(anext(some))
    with pytest.raises(StopAsyncIteration):
        last.at_once()
    last.close()


async def test_an_exception_that_went_through_a_step_is_gone_with_its_handler() -> None:
    class Odd(Exception):
        pass

    failed: list[weakref.ref[Odd]] = []

    async def fails() -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        error = Odd()
        failed.append(weakref.ref(error))
        asyncio.get_running_loop().call_soon(future.set_exception, error)
        del error
        try:
            await future
        finally:
            del future

    async def stepped() -> None:
        with contextlib.suppress(Odd):
            await turns_.stepping(fails(), lambda: None)

    async def coming() -> None:
        one = Coming(fails())
        with contextlib.suppress(Odd):
            one.at_once()
            await one
        one.close()

    gc.disable()
    try:
        await stepped()
        await coming()
        for _ in range(2):
            await asyncio.sleep(0)
        assert [ref() for ref in failed] == [None, None]
    finally:
        gc.enable()


async def test_who_opens_a_connection_or_is_probed_is_alone_still(api: Api) -> None:
    for _ in range(3):
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(api.settings.socket_path))) as client:
            for path in ("/healthz", MAPS):
                async with client.get(f"http://h{path}") as response:
                    assert response.status == 200
    assert not api.server.fairness.turns.shared


async def test_a_crowd_of_strangers_comes_in_turns() -> None:
    turns = turns_.Turns(1, alone=32)
    turns.take("ann")
    steps = [turns.take_passing("192.0.2.7") for _ in range(50)]
    assert turns.shared
    assert sum(step is None for step in steps) < 8
    other = turns.take_passing("192.0.2.8")
    assert other is not None
    await other
    assert sum(step is not None and not step.done() for step in steps) > 40, "it waits for the whole crowd"
    for step in steps:
        if step is not None:
            await step


async def test_a_crowd_of_many_addresses_costs_a_user_no_more_than_one_address() -> None:
    turns = turns_.Turns(1, alone=32)
    turns.take("ann")
    steps = [turns.take_passing(f"192.0.2.{number}") for number in range(50)]
    begun = sum(step is None for step in steps)
    for _ in range(30):
        turns.take("ann")
        await asyncio.sleep(0)
    assert 5 <= sum(step is None or step.done() for step in steps) - begun <= 10


async def test_a_crowd_of_strangers_keeps_no_user_of_this_host_waiting() -> None:
    turns = turns_.Turns(1, alone=32)
    turns.take("ann")
    for number in range(50):
        turns.take_passing(f"192.0.2.{number}")
    assert turns.take_local(0) is None
    later = turns.take_local(0)
    assert later is not None
    await later
    assert turns.waiting > 40


async def test_who_waits_for_turns_is_not_too_slow(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the steps below waits for its turn, and all of them for longer than a client may be silent."""
    monkeypatch.setattr(answers, "SLOW_READER_SECONDS", 1.0)
    monkeypatch.setattr(bodies, "_READ_TIMEOUT", 1.0)
    body = orjson.dumps(config_map("large", pad="x" * (900 << 10)))

    async def pieces() -> AsyncGenerator[bytes, None]:
        for start in range(0, len(body), 32 << 10):
            yield body[start : start + (32 << 10)]

    def come(turn: asyncio.Future[None]) -> None:
        if not turn.done():
            turn.set_result(None)

    def slowly(key: str) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        loop.call_later(0.1, come, turn)
        return turn

    headers = {"Content-Type": "application/json"}
    async with api.client.get(f"http://h{MAPS}"):
        monkeypatch.setattr(api.server.fairness.turns, "take", slowly)
    async with api.client.post(f"http://h{MAPS}", data=pieces(), headers=headers) as response:
        assert response.status == 201, await response.text()
    for number in range(2):
        more = config_map(f"more-{number}", pad="x" * (900 << 10))
        await api.store.create(CONFIG_MAP, "default", more)
    async with api.client.get(f"http://h{MAPS}") as response:
        assert len((await response.json())["items"]) == 3


async def test_few_works_that_take_no_turns_run_at_once_while_others_ask() -> None:
    turns = turns_.Turns()
    running, most, go_on = 0, 0, asyncio.Event()

    async def work() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await go_on.wait()
        running -= 1

    async def ask(user: str) -> None:
        await turns_.for_whom(turns_.in_one_turn(work()), lambda: turns.take(user), lambda: turns.gate(user))

    ann, eve = asyncio.create_task(ask("ann")), [asyncio.create_task(ask("eve")) for _ in range(64)]
    while turns.waiting:
        await asyncio.sleep(0)
    for _ in range(100):
        await asyncio.sleep(0)
    assert 2 <= most <= 2 * turns_._WORKS
    go_on.set()
    await asyncio.gather(ann, *eve)
    assert running == 0
