"""libvirtd dies, freezes and comes back; guests and the event loop do not notice."""

from __future__ import annotations

import asyncio
import signal
import time
import uuid
from dataclasses import replace

import pytest

from hyperd import errors
from hyperd.hypervisor.hypervisor import LibvirtHypervisor
from hyperd.hypervisor.spec import DomainSpec
from hyperd.hypervisor.state import DomainState, EventKind
from tests.host.hypervisor.conftest import Record, settings
from tests.host.node import Node
from tests.pace import paced


async def test_a_killed_libvirtd_is_found_again_with_its_guests_and_events(
    node: Node, hypervisor: LibvirtHypervisor, record: Record, spec: DomainSpec
) -> None:
    before = await hypervisor.define_and_start(spec)
    await asyncio.to_thread(node.kill_libvirtd, signal.SIGKILL)
    await record.until(lambda seen: seen.connections[-1:] == [False])
    assert not hypervisor.connected
    assert hypervisor.last_error
    assert hypervisor.last_known[spec.uid].state is DomainState.RUNNING
    with pytest.raises(errors.ServiceUnavailable, match="libvirt is not reachable"):
        await hypervisor.info(spec.uid)

    await asyncio.to_thread(node.start_libvirtd)
    await hypervisor.wait_connected(20)
    assert hypervisor.last_error == ""
    after = await hypervisor.info(spec.uid)
    assert after is not None
    assert (after.state, after.pid) == (DomainState.RUNNING, before.pid)
    record.events.clear()
    second = replace(spec, uid=str(uuid.uuid4()))
    await hypervisor.define(second)
    assert (await record.event("defined")).uid == second.uid


async def test_a_guest_that_ends_while_libvirtd_adopts_it_is_told(
    node: Node, hypervisor: LibvirtHypervisor, record: Record, spec: DomainSpec
) -> None:
    """libvirt 9.0 may have no STOPPED event for it; the listing after the connect finds it then."""
    await hypervisor.define_and_start(spec)
    await asyncio.to_thread(node.restart_libvirtd)
    await record.until(lambda seen: seen.connections[-2:] == [False, True])
    record.events.clear()
    await hypervisor.destroy(spec.uid)
    ends = {EventKind.STOPPED, EventKind.RESYNCED}
    await record.until(lambda seen: any(event.kind in ends for event in seen.events), timeout=5)
    after = await hypervisor.info(spec.uid)
    assert after is not None
    assert after.state is DomainState.SHUTOFF


async def test_what_happened_while_libvirt_was_away_is_told(
    node: Node, hypervisor: LibvirtHypervisor, record: Record, spec: DomainSpec
) -> None:
    info = await hypervisor.define_and_start(spec)
    await record.event("started")
    await asyncio.to_thread(node.kill_libvirtd, signal.SIGKILL)
    await record.until(lambda seen: seen.connections[-1:] == [False])
    node.exec(["kill", "-KILL", str(info.pid)])
    record.events.clear()
    await asyncio.to_thread(node.start_libvirtd)
    await record.until(lambda seen: any(event.uid == spec.uid for event in seen.events))
    after = await hypervisor.info(spec.uid)
    assert after is not None
    assert after.state in (DomainState.SHUTOFF, DomainState.CRASHED)


async def test_a_start_without_libvirt_waits_for_it(node: Node, libvirt_uri: str) -> None:
    await asyncio.to_thread(node.kill_libvirtd, signal.SIGKILL)
    hypervisor = LibvirtHypervisor(settings(node), instance="hyperd")
    await hypervisor.start()
    with pytest.raises(errors.ServiceUnavailable, match="libvirt is not reachable"):
        await hypervisor.wait_connected(0.3)
    await asyncio.to_thread(node.start_libvirtd)
    await hypervisor.wait_connected(20)
    assert await hypervisor.list_owned() == {}
    await hypervisor.close()


async def test_a_frozen_libvirtd_does_not_hold_the_loop_back(
    node: Node, hypervisor: LibvirtHypervisor, record: Record, spec: DomainSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    await hypervisor.define(spec)
    await hypervisor.info(spec.uid)
    monkeypatch.setattr("hyperd.hypervisor.hypervisor.READ_TIMEOUT", 1.0)
    node.freeze_libvirtd()
    began = time.monotonic()
    async with paced() as pace:
        calls = [hypervisor.info(spec.uid) for _ in range(40)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(answer) for answer in answers} == {errors.ServiceUnavailable}
        assert time.monotonic() - began < 10, "one after another they would take forty seconds"
        assert spec.uid in hypervisor.last_known
        await asyncio.sleep(2)
    # Half of the time limit: a call that the loop itself waits for would be missed for longer.
    assert pace.missed < 100 < pace.turns, pace
    node.thaw_libvirtd()
    async with asyncio.timeout(10):
        while True:
            try:
                assert await hypervisor.info(spec.uid) is not None
                break
            except errors.ServiceUnavailable:
                continue


async def test_a_libvirtd_frozen_from_the_start_is_named_and_waited_for(
    node: Node, libvirt_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hyperd.hypervisor.connection.connection.OPEN_PATIENCE", 0.1)
    node.freeze_libvirtd()
    hypervisor = LibvirtHypervisor(settings(node), instance="hyperd")
    await hypervisor.start()
    with pytest.raises(errors.ServiceUnavailable, match="libvirtd does not answer"):
        await hypervisor.wait_connected(0.5)
    node.thaw_libvirtd()
    await hypervisor.wait_connected(10)
    await hypervisor.close()


async def test_closing_does_not_wait_for_a_frozen_libvirtd(node: Node, libvirt_uri: str) -> None:
    hypervisor = LibvirtHypervisor(settings(node), instance="hyperd")
    await hypervisor.start()
    await hypervisor.wait_connected()
    node.freeze_libvirtd()
    async with asyncio.timeout(5):
        await hypervisor.close()
    node.thaw_libvirtd()


async def test_a_resync_tells_what_no_event_did(
    node: Node, libvirt_uri: str, spec: DomainSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hyperd.hypervisor.connection.events.EventSource.register", lambda *_: None)
    hypervisor = LibvirtHypervisor(settings(node, resync_seconds=0.2), instance="hyperd")
    record = Record(hypervisor)
    await hypervisor.start()
    await hypervisor.wait_connected()
    other = LibvirtHypervisor(settings(node), instance="hyperd")
    await other.start()
    await other.wait_connected()
    for step in (
        other.define(spec),
        other.define_and_start(replace(spec, generation=8)),
        other.destroy(spec.uid),
        other.undefine(spec.uid),
    ):
        record.events.clear()
        await step
        assert (await record.event("resynced")).uid == spec.uid
    # A look that began before the step, and ended after it, tells of the state before: the next one mends it.
    await record.until(lambda _: spec.uid not in hypervisor.last_known)
    await hypervisor.close()
    await other.close()


async def test_a_reading_that_was_overtaken_is_mended_by_the_next_look(
    node: Node, libvirt_uri: str, spec: DomainSpec
) -> None:
    hypervisor = LibvirtHypervisor(settings(node, resync_seconds=0.2), instance="hyperd")
    record = Record(hypervisor)
    await hypervisor.start()
    await hypervisor.wait_connected()
    old = await hypervisor.define_and_start(spec)
    await hypervisor.destroy(spec.uid)
    await record.event("resynced")
    record.events.clear()
    hypervisor._survey.note(old)
    await record.event("resynced")
    assert hypervisor.last_known[spec.uid].state is DomainState.SHUTOFF
    await hypervisor.close()
