"""Nothing of a user's goes because its owner is absent; what was seen deleted goes, and what is ours."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from hyperd.controllers.address.taken import taken_addresses
from hyperd.controllers.host import sweep
from hyperd.controllers.host.quarantine import Quarantine
from hyperd.errors import Conflict, NotFound, ServiceUnavailable
from hyperd.resources.all import VIRTUAL_DISK, VIRTUAL_MACHINE
from hyperd.resources.schema.kind import Kind
from hyperd.resources.values import names
from tests.unit.controllers.sweeping import Host, host


@pytest.fixture
async def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Host]:
    monkeypatch.setattr(sweep, "AGAIN_SECONDS", 0.0)
    async with host(tmp_path) as made:
        yield made


async def lose(node: Host, name: str) -> None:
    node.objects.drop(VIRTUAL_MACHINE, name)
    node.objects.drop(VIRTUAL_DISK, name)
    await node.sync()


async def test_what_has_an_owner_is_neither_touched_nor_noted(node: Host) -> None:
    await node.make("web")
    before = await node.held()
    await node.sweeper.sweep()
    assert await node.held() == before
    assert node.noted() == set()


@pytest.mark.parametrize("restarted", [False, True])
async def test_what_lost_its_owner_stays_in_place_until_it_returns(node: Host, restarted: bool) -> None:
    machine, disk = await node.make("web")
    before = await node.held()
    await node.sync()
    await lose(node, "web")
    if restarted:
        node.begin()
        await node.start()
    await node.sweeper.sweep()
    await node.sweeper.sweep()
    assert await node.held() == before
    assert node.noted() == {machine, disk}
    sentence = next(kept for kept in node.quarantine.all() if kept.uid == machine).sentence()
    assert sentence.startswith(
        "Running guest, provisioning seed, firmware variables, console log of VirtualMachine"
    )
    assert f"default/web (uid {machine})" in sentence
    assert [reason for reason, _ in node.told.events] == ["OwnerAbsent", "OwnerAbsent"]
    # A restart of the daemon forgets nothing, and the note is as old as it was.
    since = [kept.since for kept in node.quarantine.all()]
    node.begin()
    await node.start()
    assert [kept.since for kept in node.quarantine.all()] == since
    # Its link and DHCP go on, and its address is nobody else's.
    assert machine in node.network.served
    assert await taken_addresses(node.context.store) == {IPv4Address("10.66.10.2")}
    node.objects.put(VIRTUAL_MACHINE, "web", machine)
    node.objects.put(VIRTUAL_DISK, "web", disk)
    await node.sync()
    await node.sweeper.sweep()
    assert node.noted() == set()
    assert await node.held() == before
    assert node.told.events[-1][0] == "OwnerReturned"
    assert await taken_addresses(node.context.store) == set()


@pytest.mark.parametrize("short", [1, 2, 5, 20])
async def test_a_list_that_is_short_for_a_while_harms_nothing(node: Host, short: int) -> None:
    await node.make("web")
    await node.make("db")
    before = await node.held()
    node.objects.short = short
    for _ in range(12):
        await node.sweeper.sweep()
    assert await node.held() == before
    assert node.noted() == set()
    told = {reason for reason, _ in node.told.events}
    assert told in (set(), {"OwnerAbsent", "OwnerReturned"})


async def test_informers_that_see_nothing_for_a_while_harm_nothing(node: Host) -> None:
    """A relist that is short tells of deletions that nobody made."""
    await node.make("web")
    await node.sync()
    before = await node.held()
    node.objects.short = 2
    await node.sync()
    await node.sweeper.sweep()
    assert await node.held() == before
    await node.sync()
    await node.sweeper.sweep()
    assert (await node.held(), node.noted()) == (before, set())


async def test_what_was_seen_deleted_goes_at_once(node: Host) -> None:
    machine, disk = await node.make("web")
    kept, kept_disk = await node.make("db")
    node.objects.mark_deleted(VIRTUAL_MACHINE, "web")
    node.objects.mark_deleted(VIRTUAL_DISK, "web")
    await node.sync()
    await node.sweeper.sweep()
    files, _, domains, _ = await node.held()
    assert machine in str(domains)
    assert disk in str(files)
    await lose(node, "web")
    await node.sweeper.sweep()
    held = str(await node.held())
    assert machine not in held
    assert disk not in held
    assert kept in held
    assert kept_disk in held
    assert node.noted() == set()


async def test_a_deletion_that_a_restored_store_does_not_know_counts_no_more(node: Host) -> None:
    machine, disk = await node.make("web")
    node.objects.mark_deleted(VIRTUAL_MACHINE, "web")
    node.objects.mark_deleted(VIRTUAL_DISK, "web")
    await node.sync()
    node.objects.put(VIRTUAL_MACHINE, "web", machine)
    node.objects.put(VIRTUAL_DISK, "web", disk)
    await node.sync()
    before = await node.held()
    await lose(node, "web")
    await node.sweeper.sweep()
    assert (await node.held(), node.noted()) == (before, {machine, disk})


async def test_links_and_sockets_of_nothing_that_runs_go(node: Host) -> None:
    machine, _ = await node.make("web")
    gone = "00000000-0000-4000-8000-000000000000"
    await node.network.connect(replace(node.network.links[machine], uid=gone))
    path = node.settings.console_dir / "00000000-0000-4000-8000-000000000001"
    # By its descriptor, as a socket's path may be no longer than 107 bytes.
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(f"/proc/self/fd/{folder}/{path.name}")
    os.close(folder)
    assert path.is_socket()
    await node.sweeper.sweep()
    assert list(node.network.links) == [machine]
    assert not path.exists()
    assert node.noted() == set()


async def test_a_store_that_is_behind_is_swept_by_nobody_until_it_is_accepted(node: Host) -> None:
    machine, disk = await node.make("web")
    await node.sweeper.sweep()
    node.objects.mark_deleted(VIRTUAL_MACHINE, "web")
    node.objects.mark_deleted(VIRTUAL_DISK, "web")
    await node.sync()
    node.objects.version -= 50
    await lose(node, "web")
    before = await node.held()
    await node.sweeper.sweep()
    assert await node.held() == before
    assert "behind" in node.context.witness.sentence()
    with pytest.raises(Conflict, match="hv gc accept"):
        await node.sweeper.empty([machine])
    # It catches up by itself, and the daemon is restarted: neither is an administrator's word.
    node.objects.version += 100
    node.begin()
    await node.start()
    assert node.context.witness.waits
    await node.sweeper.accept()
    assert not node.context.witness.waits
    assert (await node.held(), node.noted()) == (before, {machine, disk})


async def test_another_store_is_swept_by_nobody_until_it_is_accepted(node: Host) -> None:
    await node.make("web")
    await node.sweeper.sweep()
    node.objects.id = "store-2"
    node.begin()
    await node.start()
    assert "another one (store-2)" in node.context.witness.sentence()
    await node.sweeper.accept()
    node.begin()
    await node.start()
    assert not node.context.witness.waits


async def test_only_what_is_asked_for_is_emptied(node: Host) -> None:
    machine, disk = await node.make("web")
    other, other_disk = await node.make("db")
    owned, owned_disk = await node.make("mail")
    for name in ("web", "db"):
        await lose(node, name)
    await node.sweeper.sweep()
    assert node.noted() == {machine, disk, other, other_disk}
    for uid in (owned, "nothing"):
        with pytest.raises(NotFound):
            await node.sweeper.empty([uid])
    await node.sweeper.empty([machine])
    held = str(await node.held())
    assert machine not in held
    assert all(uid in held for uid in (disk, other, other_disk, owned, owned_disk))
    node.objects.put(VIRTUAL_DISK, "db", other_disk)
    await node.sync()
    with pytest.raises(NotFound):
        await node.sweeper.empty([other_disk])
    await node.sweeper.empty([disk, other])
    held = str(await node.held())
    assert all(uid not in held for uid in (machine, disk, other))
    assert all(uid in held for uid in (other_disk, owned, owned_disk))
    assert node.noted() == set()


async def test_what_is_bound_to_another_node_is_kept_and_named(node: Host) -> None:
    machine, disk = await node.make("web")
    selected = {names.SELECTED_NODE_ANNOTATION: "other"}
    node.objects.put(VIRTUAL_MACHINE, "web", machine, status={"nodeName": "other"})
    node.objects.put(VIRTUAL_DISK, "web", disk)
    (await node.objects.patch(VIRTUAL_DISK, "default", "web", None, {"metadata": {"annotations": selected}}))  # type: ignore[arg-type]
    await node.sync()
    before = await node.held()
    await node.sweeper.sweep()
    assert await node.held() == before
    assert {kept.why for kept in node.quarantine.all()} == {"its owner is bound to node other"}


@pytest.mark.parametrize("kind", [VIRTUAL_MACHINE, VIRTUAL_DISK])
async def test_an_owner_that_is_back_is_met_though_the_sweep_was_put_off(
    node: Host, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine, disk = await node.make("web")
    uid = machine if kind is VIRTUAL_MACHINE else disk
    await lose(node, "web")
    await node.sweeper.sweep()
    before = await node.held()

    async def unseen() -> None:
        raise ServiceUnavailable("libvirt does not answer.")

    monkeypatch.setattr(node.sweeper, "_remains", unseen)
    monkeypatch.setattr(node.sweeper, "_volumes", unseen)
    node.objects.put(kind, "web", uid)
    assert uid in node.noted()
    with pytest.raises(Conflict, match="is back in the store"):
        await node.sweeper.empty([uid])
    assert await node.held() == before
    assert uid not in node.noted()


async def test_nothing_is_emptied_while_the_store_does_not_answer(
    node: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine, disk = await node.make("web")
    await lose(node, "web")
    await node.sweeper.sweep()
    before = await node.held()

    async def silent(*_: object, **__: object) -> None:
        raise ServiceUnavailable("The store does not answer.")

    monkeypatch.setattr(node.objects, "list", silent)
    with pytest.raises(ServiceUnavailable):
        await node.sweeper.empty([machine, disk])
    assert await node.held() == before


async def test_notes_of_one_owner_that_come_at_once_are_whole(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The sweep marks volumes while the registry's collection marks images."""
    kept = Quarantine(tmp_path / "quarantine")
    await kept.begin()
    for turn in range(4):
        await asyncio.gather(
            *(kept.mark("u1", kind="VirtualDisk", why="w", things=[f"{turn}.{number}"]) for number in range(5)),
            kept.mark("u1", kind="VirtualDisk", why="w", images=[("vi/a", str(turn))]),
        )
    assert not caplog.records
    again = Quarantine(tmp_path / "quarantine")
    await again.begin()
    assert again.get("u1") == kept.get("u1")
