"""Who waits for a turn of the loop holds nothing that others wait for."""

from __future__ import annotations

import asyncio

import pytest

from hyperd.api.limits import turns as turns_
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
