"""Hardware addresses: one lease each, whoever asks at once and whenever a daemon dies."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperd.controllers.macaddress import hardware
from hyperd.errors import HyperdError, Invalid
from hyperd.resources.all import VIRTUAL_MACHINE_MAC_ADDRESS, VIRTUAL_MACHINE_MAC_ADDRESS_LEASE
from hyperd.resources.schema.kind import Kind, Object
from hyperd.resources.values.conditions import find_condition
from hyperd.store.embedded.store import EmbeddedStore
from hyperd.store.interface import PatchType
from tests.unit.controllers.world import World, running

MAC, LEASE = VIRTUAL_MACHINE_MAC_ADDRESS, VIRTUAL_MACHINE_MAC_ADDRESS_LEASE
WANTED = "5E:E6:19:22:0f:d8"


def address(name: str, wanted: str = "", namespace: str = "default") -> Object:
    return {"metadata": {"namespace": namespace, "name": name}, "spec": {"address": wanted} if wanted else {}}


async def bound(world: World, name: str) -> str:
    return str((await world.phase("Bound", MAC, name))["status"]["address"])


async def leases(world: World) -> dict[str, str]:
    found = await world.store.find_all(LEASE)
    return {one["metadata"]["name"]: one["spec"]["virtualMachineMACAddressRef"]["name"] for one in found}


@given(st.text(max_size=40))
def test_generated_addresses_are_local_cards_and_no_main_network_s(instance: str) -> None:
    made = hardware.generate(instance)
    assert hardware.parsed(made) == made
    assert made[1] in "26ae"
    assert not made.startswith("52:54")
    assert made[:8] == hardware.generate(instance)[:8]


@pytest.mark.loop_seconds(0.5, "the first daemon of a process imports what it is made of")
async def test_an_address_is_leased_once_and_comes_back_with_its_object() -> None:
    async with running() as world:
        await world.store.create(MAC, "default", address("made"))
        await world.store.create(MAC, "default", address("given", WANTED))
        made, given_ = await bound(world, "made"), await bound(world, "given")
        assert given_ == WANTED.lower()
        name = f"mac-{made.replace(':', '-')}"
        assert re.fullmatch("mac(-[0-9a-f]{2}){6}", name)
        assert await leases(world) == {"mac-5e-e6-19-22-0f-d8": "given", name: "made"}
        shown = await world.until(lambda one: one.get("status", {}).get("phase") == "Bound", LEASE, name)
        assert (find_condition(shown, "Bound") or {})["status"] == "True"
        with pytest.raises(HyperdError, match='it is leased to VirtualMachineMACAddress "given"'):
            await world.store.create(MAC, "default", address("second", WANTED.lower()))
        with pytest.raises(HyperdError, match="is bound"):
            await world.store.patch(MAC, "default", "made", PatchType.MERGE, {"spec": {"address": WANTED}})
        # A lease that somebody removes is made again.
        await world.store.delete(LEASE, "", name)
        await world.until(lambda one: True, LEASE, name)
        for one in ("made", "given"):
            await world.store.delete(MAC, "default", one)
            await world.gone(MAC, one)
        assert await leases(world) == {}


async def test_a_look_at_one_address_does_not_ask_for_all_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running() as world:
        await world.store.create(MAC, "default", address("made"))
        await bound(world, "made")
        await world.settled()
        asked: list[Kind] = []
        list_ = EmbeddedStore.list

        async def counted(self: EmbeddedStore, kind: Kind, *args: Any, **more: Any) -> Any:
            asked.append(kind)
            return await list_(self, kind, *args, **more)

        monkeypatch.setattr(EmbeddedStore, "list", counted)
        world.look_at(MAC, "made")
        await world.settled()
        assert LEASE not in asked


async def test_of_many_that_ask_at_once_one_gets_it() -> None:
    async with running() as world:
        for odd in ("01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00"):
            with pytest.raises(HyperdError, match="no card can have it"):
                await world.store.create(MAC, "default", address("odd", odd))
        asked = [world.store.create(MAC, "default", address(f"m{n}", WANTED)) for n in range(5)]
        made = [
            one for one in await asyncio.gather(*asked, return_exceptions=True) if not isinstance(one, Invalid)
        ]
        assert made
        await world.settled()
        phases = [one["status"]["phase"] for one in await world.store.find_all(MAC, "default")]
        assert sorted(phases) == ["Bound", *["Pending"] * (len(made) - 1)]
        assert list(await leases(world)) == ["mac-5e-e6-19-22-0f-d8"]


async def test_a_daemon_that_dies_between_lease_and_status_takes_no_second_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running() as world:
        update, died = EmbeddedStore.update, asyncio.Event()

        async def dies(self: EmbeddedStore, kind: Kind, *args: object, **more: object) -> object:
            if kind is MAC and not died.is_set():
                died.set()
                raise HyperdError("killed before the address is shown")
            return await update(self, kind, *args, **more)  # type: ignore[arg-type]

        monkeypatch.setattr(EmbeddedStore, "update", dies)
        await world.store.create(MAC, "default", address("made"))
        await died.wait()
        (before,) = await leases(world)
        await world.restart()
        assert f"mac-{(await bound(world, 'made')).replace(':', '-')}" == before
        assert list(await leases(world)) == [before]
