"""Console, VNC and log on the wire, as the reference's clients expect them."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType

from hyperd.api.sessions.lease import SessionKind, client_name, lease_name
from hyperd.errors import NotFound, ServiceUnavailable
from hyperd.hypervisor.console.hub import ConsoleSession
from hyperd.hypervisor.console.vnc import GraphicsStream
from hyperd.resources.core.kinds import LEASE
from hyperd.resources.schema.kind import Object
from tests.unit.sessions.conftest import PROTOCOL, Lab

Socket = aiohttp.ClientWebSocketResponse


async def read(socket: Socket, size: int) -> bytes:
    data = b""
    async with asyncio.timeout(5):
        while len(data) < size:
            message = await socket.receive()
            assert message.type is WSMsgType.BINARY, message
            data += message.data
    return data


async def closed(socket: Socket) -> tuple[int, str]:
    """Code and reason of the close frame."""
    async with asyncio.timeout(5):
        while (message := await socket.receive()).type is WSMsgType.BINARY:
            continue
    assert message.type is WSMsgType.CLOSE, message
    return message.data, message.extra or ""


async def lease(lab: Lab, vm: Object, kind: SessionKind = SessionKind.CONSOLE) -> Object | None:
    try:
        found: Object | None = (await lab.store.get(LEASE, "default", lease_name(kind, vm))).object()
        return found
    except NotFound:
        return None


async def until(condition: Any) -> None:
    """Poll what the store's watch would be too much for."""
    async with asyncio.timeout(5):
        while not await condition():
            await asyncio.sleep(0.01)


async def refused(lab: Lab, what: str = "console", **kwargs: Any) -> int:
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        async with lab.connect(what, **kwargs):
            pass
    return caught.value.status


async def test_a_console_carries_raw_bytes_both_ways(lab: Lab) -> None:
    serial = await lab.serial(await lab.machine())
    async with lab.connect() as socket:
        assert socket.protocol == PROTOCOL
        await serial.say(b"login: \xff\x00")
        assert await read(socket, 9) == b"login: \xff\x00"
        await socket.send_bytes(b"root\r")
        assert await asyncio.wait_for(serial.typed.get(), 5) == b"root\r"
        await socket.send_str("ls\r")
        assert await asyncio.wait_for(serial.typed.get(), 5) == b"ls\r"


async def test_the_older_subprotocol_is_echoed_too(lab: Lab) -> None:
    await lab.serial(await lab.machine())
    async with lab.client.ws_connect(
        "http://h/default/web/console", protocols=("plain.kubevirt.io",), headers={"X-User": "a"}
    ) as socket:
        assert socket.protocol == "plain.kubevirt.io"


async def test_past_output_is_replayed_when_asked_for(lab: Lab) -> None:
    serial = await lab.serial(await lab.machine())
    async with lab.connect() as socket:
        await serial.say(b"earlier")
        await read(socket, 7)
    async with lab.connect(query="?replay=400&columns=100&rows=30") as socket:
        assert await read(socket, 12) == b"earlier\r\x1b[7C"
    assert await refused(lab, query="?replay=-1") == 400


async def test_a_polite_newcomer_is_refused_with_the_holder_s_name(lab: Lab) -> None:
    serial = await lab.serial(await lab.machine())
    async with lab.connect(user="alice", query="?session=a1&takeover=false") as first:
        assert await refused(lab, user="bob", query="?takeover=false") == 409
        await serial.say(b"mine")
        assert await read(first, 4) == b"mine"
        assert lab.events == []
        async with lab.connect(user="alice", query="?session=a1&takeover=false") as again:
            assert (await closed(first))[1] == '"alice", as whom you are here too, took over the session'
            await serial.say(b"hello")
            assert await read(again, 5) == b"hello"
    assert lab.events[0][2] == (
        'The console session of user "alice" was taken over by another session of the same user.'
    )
    async with lab.connect(user="bob", query="?takeover=false"):
        pass


@pytest.mark.parametrize("error", [ValueError("of a stream"), ServiceUnavailable("of a store")])
@pytest.mark.parametrize("what", ["console", "vnc"])
async def test_a_defect_in_a_session_is_logged_with_its_place_and_told_to_the_client(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, what: str, error: Exception
) -> None:
    async def broken(_: object) -> bytes:
        raise error

    await lab.serial(await lab.machine())
    monkeypatch.setattr(ConsoleSession, "read", broken)
    monkeypatch.setattr(GraphicsStream, "read", broken)
    async with lab.connect(what) as socket:
        assert await closed(socket) == (1011, "the daemon failed at it; its log says how")
    (record,) = (record for record in caplog.records if record.exc_info)
    assert record.exc_info is not None
    assert record.exc_info[1] is error


async def test_a_newcomer_displaces_the_holder_with_1001(lab: Lab) -> None:
    vm = await lab.machine()
    serial = await lab.serial(vm)
    async with lab.connect(user="alice") as first, lab.connect(user="bob") as second:
        assert await closed(first) == (1001, '"bob" took over the session')
        await serial.say(b"hello")
        assert await read(second, 5) == b"hello"
        assert lab.events == [
            (
                "Normal",
                "ConsoleSessionPreempted",
                'The console session of user "alice" was taken over by user "bob".',
            )
        ]
        assert (await lab.get("console?probe=true"))[1]["holder"] == "bob"
        await first.close()
        await asyncio.sleep(0.2)  # the displaced session must not take the newcomer's lease with it
        held = await lease(lab, vm)
        assert held is not None
        assert held["spec"]["holderIdentity"] == "bob"


async def test_a_holder_that_does_not_listen_cannot_keep_the_session(lab: Lab) -> None:
    vm = await lab.machine()
    serial = await lab.serial(vm)
    async with lab.connect(user="deaf") as deaf:
        assert deaf._response.connection is not None
        transport = deaf._response.connection.transport
        assert transport is not None
        transport.pause_reading()
        for _ in range(64):
            await serial.say(b"x" * 65536)
        async with asyncio.timeout(3), lab.connect(user="bob") as socket:
            await serial.say(b"!")
            assert await read(socket, 1)
        transport.abort()


async def test_the_guests_end_closes_with_1011_so_that_clients_come_again(lab: Lab) -> None:
    vm = await lab.machine()
    serial = await lab.serial(vm)
    async with lab.connect() as socket:
        await serial.say(b"going down")
        await serial.power_off()
        assert (await closed(socket))[0] == 1011
    assert await refused(lab) == 400
    await serial.start()
    serial.connected.clear()
    async with lab.connect() as socket:
        await serial.say(b"up")
        assert await read(socket, 2) == b"up"


async def test_a_stopping_daemon_closes_with_1011_and_removes_the_lease(lab: Lab) -> None:
    vm = await lab.machine()
    await lab.serial(vm)
    async with lab.connect() as socket:
        await until(lambda: lease(lab, vm))
        closing = asyncio.create_task(lab.sessions.close())
        assert await closed(socket) == (1011, "the daemon is stopping")
        await socket.close()
        await asyncio.wait_for(closing, 5)
        assert await lease(lab, vm) is None
    assert await refused(lab) == 400


async def test_a_leaving_client_is_answered_without_1000_and_frees_the_session(lab: Lab) -> None:
    vm = await lab.machine()
    await lab.serial(vm)
    async with lab.connect() as socket:
        await until(lambda: lease(lab, vm))
        assert socket._writer is not None
        await socket._writer.close(1000, b"")
        assert (await closed(socket))[0] == 1001

    async def free() -> bool:
        return await lease(lab, vm) is None

    await until(free)
    assert (await lab.get("console?probe=true"))[1]["holder"] == ""


async def test_a_vm_that_does_not_run_is_refused_before_the_upgrade(lab: Lab) -> None:
    vm = await lab.machine(phase="Stopped")
    status, body = await lab.get("console")
    assert status == 400
    assert body["kind"] == "Status"
    assert body["message"] == "VirtualMachine default/web is not Running or Migrating"
    await lab.set_phase(vm, "Migrating")
    await lab.serial(vm)
    async with lab.connect():
        pass


async def test_a_running_vm_whose_console_is_not_there_yet_makes_the_client_try_again(lab: Lab) -> None:
    await lab.machine()
    assert await refused(lab) == 400


async def test_a_missing_vm_is_404_for_all_three(lab: Lab) -> None:
    for what in ("console", "vnc", "log", "console?probe=true"):
        status, body = await lab.get(what)
        assert (status, body["reason"]) == (404, "NotFound")


async def test_a_plain_get_is_told_how_to_open_the_console(lab: Lab) -> None:
    vm = await lab.machine()
    await lab.serial(vm)
    status, body = await lab.get("console")
    assert status == 400
    assert "WebSocket" in body["message"]


async def test_a_page_of_another_site_may_not_open_a_console(lab: Lab) -> None:
    vm = await lab.machine()
    await lab.serial(vm)
    assert await refused(lab, headers={"Origin": "https://evil.example"}) == 403
    async with lab.connect(headers={"Origin": "http://h"}):
        pass


async def test_a_probe_names_the_holder_and_connects_to_nothing(lab: Lab) -> None:
    vm = await lab.machine(phase="Stopped")
    status, free = await lab.get("console?probe=true")
    assert status == 200
    assert free == {
        "kind": "VirtualMachineSession",
        "apiVersion": "subresources.virtualization.deckhouse.io/v1alpha2",
        "holder": "",
        "client": "",
    }
    await lab.set_phase(vm, "Running")
    serial = await lab.serial(vm)
    async with lab.connect(user="alice", headers={"User-Agent": "d8v/1.0"}):
        _, held = await lab.get("console?probe=true", user="bob")
        assert (held["holder"], held["client"]) == ("alice", "d8v/1.0")
        assert held["startTime"].endswith("Z")
        assert serial.connections == 1
        assert (await lab.get("vnc?probe=true"))[1]["holder"] == ""


async def test_vnc_is_spliced_and_held_apart_from_the_console(lab: Lab) -> None:
    vm = await lab.machine()
    await lab.serial(vm)
    async with lab.connect("vnc") as screen, lab.connect("console", user="bob"):
        peer = await lab.screens.peers.get()
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(peer, b"RFB 003.008\n")
        assert await read(screen, 12) == b"RFB 003.008\n"
        await screen.send_bytes(b"RFB 003.008\n")
        assert await asyncio.wait_for(loop.sock_recv(peer, 64), 5) == b"RFB 003.008\n"
        await until(lambda: lease(lab, vm, SessionKind.VNC))
        async with lab.connect("vnc", user="bob"):
            assert (await closed(screen))[0] == 1001
            assert lab.events[-1][1] == "VNCSessionPreempted"
        peer.close()


async def test_vnc_ends_with_1011_when_qemu_goes(lab: Lab) -> None:
    await lab.machine()
    async with lab.connect("vnc") as screen:
        (await lab.screens.peers.get()).close()
        assert (await closed(screen))[0] == 1011


async def test_the_log_is_read_and_followed_beside_a_session(lab: Lab) -> None:
    vm = await lab.machine()
    await lab.serial(vm)
    log = lab.settings.console_log_dir / f"{vm['metadata']['uid']}.log"
    log.write_bytes(b"one\ntwo\n")
    async with lab.connect() as socket:
        assert await lab.get("log") == (200, b"one\ntwo\n")
        assert await lab.get("log?tail=1") == (200, b"two\n")
        assert (await lab.get("log?tail=x"))[0] == 400
        async with lab.client.get(
            "http://h/default/web/log?follow=true&tail=1", headers={"X-User": "bob"}
        ) as follower:
            assert follower.headers["Content-Type"] == "text/plain; charset=utf-8"
            assert await asyncio.wait_for(follower.content.readline(), 5) == b"two\n"
            with log.open("ab") as writer:
                writer.write(b"three\n")
            assert await asyncio.wait_for(follower.content.readline(), 5) == b"three\n"
        assert not socket.closed
    assert lab.events == []


async def test_the_log_of_a_stopped_vm_is_there(lab: Lab) -> None:
    vm = await lab.machine(phase="Stopped")
    assert await lab.get("log") == (200, b"")
    (lab.settings.console_log_dir / f"{vm['metadata']['uid']}.log").write_bytes(b"powered off\n")
    assert await lab.get("log") == (200, b"powered off\n")


def test_a_user_agent_is_cut_and_cleaned() -> None:
    assert client_name("kubectl/v1\x1b[31m\r\n") == "kubectl/v1[31m"
    assert len(client_name("x" * 1000)) == 128
