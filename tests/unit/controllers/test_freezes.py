"""Freezing a machine's guest through the API, in a whole daemon, and what its conditions say meanwhile."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from hyperd.api.sessions.freezes import LONGEST_SECONDS, USUAL_SECONDS, duration
from hyperd.errors import BadRequest
from hyperd.hypervisor.actions import blocks
from hyperd.hypervisor.hypervisor import LibvirtHypervisor
from hyperd.hypervisor.state import DomainInfo
from hyperd.resources.all import VIRTUAL_MACHINE
from hyperd.resources.schema.kind import Object
from hyperd.resources.values.conditions import find_condition
from tests.unit.controllers.world import World, running

PATH = "/apis/subresources.virtualization.deckhouse.io/v1alpha2/namespaces/default/virtualmachines/{}/{}"


class Agent:
    """The test driver's guests have none: one that obeys, and whether it is there."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.there = True
        self.frozen = False
        info = LibvirtHypervisor.info

        async def asked(hypervisor: LibvirtHypervisor, uid: str) -> DomainInfo | None:
            found = await info(hypervisor, uid)
            return None if found is None else replace(found, agent_connected=self.there)

        def freeze(*_: object, **__: object) -> int:
            self.frozen = True
            return 1

        def thaw(*_: object, **__: object) -> int:
            was, self.frozen = self.frozen, False
            return int(was)

        monkeypatch.setattr(LibvirtHypervisor, "info", asked)
        monkeypatch.setattr(blocks, "freeze", freeze)
        monkeypatch.setattr(blocks, "thaw", thaw)


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> Agent:
    return Agent(monkeypatch)


@pytest.fixture
async def world(agent: Agent) -> AsyncIterator[World]:
    async with running() as made:
        await made.make()
        yield made


async def put(world: World, subresource: str, body: Object | None = None, name: str = "vm") -> tuple[int, Any]:
    connector = aiohttp.UnixConnector(path=str(world.settings.socket_path))
    url = f"http://h{PATH.format(name, subresource)}"
    async with aiohttp.ClientSession(connector=connector) as client, client.put(url, json=body) as response:
        return response.status, json.loads(await response.read())


async def shown(world: World, *, frozen: bool) -> Object:
    """The condition, once it says so; quiet where there is nothing to tell."""

    def holds(vm: Object) -> bool:
        return (find_condition(vm, "FilesystemFrozen") is not None) is frozen

    return dict(find_condition(await world.until(holds, VIRTUAL_MACHINE, "vm"), "FilesystemFrozen") or {})


async def test_a_guest_is_frozen_until_it_is_unfrozen_and_its_machine_says_so(world: World, agent: Agent) -> None:
    status, body = await put(world, "freeze", {"unfreezeTimeout": "1m30s"})
    assert (status, body["status"], agent.frozen) == (200, "Success", True)
    assert body["message"] == (
        "The file systems of VirtualMachine default/vm are frozen (1), and thawed in 90 s at the latest."
    )
    told = await shown(world, frozen=True)
    assert (told["status"], told["reason"]) == ("True", "Frozen")
    status, body = await put(world, "unfreeze")
    assert (status, agent.frozen) == (200, False)
    assert body["message"] == "The file systems of VirtualMachine default/vm are thawed."
    await shown(world, frozen=False)
    status, body = await put(world, "unfreeze")
    assert (status, "not frozen" in body["message"]) == (200, True)


async def test_it_is_thawed_in_time_and_with_the_daemon(world: World, agent: Agent) -> None:
    assert (await put(world, "freeze", {"unfreezeTimeout": "300ms"}))[0] == 200
    await shown(world, frozen=True)
    await shown(world, frozen=False)
    assert not agent.frozen
    assert (await put(world, "freeze"))[0] == 200
    await shown(world, frozen=True)
    await world.restart()
    assert not agent.frozen
    await shown(world, frozen=False)


async def test_what_cannot_be_frozen_is_told(world: World, agent: Agent) -> None:
    assert (await put(world, "freeze", name="other"))[0] == 404
    for text, part in (("soon", "such as"), (5, "such as"), ("1h", "600s at most"), ("1h" * 40, "such as")):
        status, body = await put(world, "freeze", {"unfreezeTimeout": text})
        assert (status, part in body["message"]) == (400, True), text
    agent.there = False
    status, body = await put(world, "freeze")
    assert (status, body["reason"]) == (409, "Conflict")
    assert "start qemu-guest-agent in it" in body["message"]
    await world.operate("Stop", "stop")
    await world.phase("Stopped")
    status, body = await put(world, "freeze")
    assert (status, "is not Running" in body["message"]) == (400, True)
    assert not agent.frozen


def test_durations_are_gos() -> None:
    assert [duration(text) for text in ("0s", "0", "1m30s", "1.5h", "250ms", None)] == [0, 0, 90, 5400, 0.25, 0]
    odd: tuple[object, ...] = ("", "1", "-1s", "1s ", "٣s", "1d", [], {})
    for text in odd:
        with pytest.raises(BadRequest, match="unfreezeTimeout"):
            duration(text)
    assert 0 < USUAL_SECONDS <= LONGEST_SECONDS
