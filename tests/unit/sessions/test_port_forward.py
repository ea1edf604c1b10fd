"""Ports of machines through WebSockets, as the reference's clients open them for ssh, scp and others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import WSMsgType

from hyperd.resources.kinds.virtual_machine import VIRTUAL_MACHINE
from hyperd.resources.kinds.virtual_machine_ip_address_lease import VIRTUAL_MACHINE_IP_ADDRESS_LEASE
from hyperd.resources.schema.kind import Object
from tests.unit.sessions.conftest import PROTOCOL, Lab

ADDRESS = "127.0.0.2"


async def lease(lab: Lab, address: str, namespace: str = "default") -> None:
    body: Object = {
        "apiVersion": VIRTUAL_MACHINE_IP_ADDRESS_LEASE.api_version,
        "kind": "VirtualMachineIPAddressLease",
        "metadata": {"name": "ip-" + address.replace(".", "-")},
        "spec": {"virtualMachineIPAddressRef": {"name": "web", "namespace": namespace}},
    }
    await lab.store.create(VIRTUAL_MACHINE_IP_ADDRESS_LEASE, "", body)


async def addressed(lab: Lab, address: str = ADDRESS) -> None:
    vm = await lab.machine()
    vm["status"] = {"phase": "Running", "ipAddress": address}
    await lab.store.update(VIRTUAL_MACHINE, "default", "web", vm, subresource="status")


@pytest.fixture
async def guest() -> AsyncIterator[int]:
    """The port of a service that answers a line in capitals, and then ends."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.readline()).upper())
        writer.close()

    server = await asyncio.start_server(serve, ADDRESS)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def refused(lab: Lab, query: str) -> tuple[int, str]:
    status, body = await lab.get(f"portforward{query}")
    return status, body["message"]


async def test_a_connection_is_carried_to_its_end(lab: Lab, guest: int) -> None:
    await addressed(lab)
    await lease(lab, ADDRESS)
    async with asyncio.timeout(10), lab.connect("portforward", query=f"?port={guest}&protocol=tcp") as socket:
        assert socket.protocol == PROTOCOL
        await socket.send_bytes(b"hel")
        await socket.send_bytes(b"lo\n")
        assert await socket.receive_bytes() == b"HELLO\n"
        end = await socket.receive()
        assert (end.type, end.data) == (WSMsgType.CLOSE, 1000)


async def test_a_client_that_leaves_closes_the_connection(lab: Lab) -> None:
    gone = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        gone.set()
        writer.close()

    server = await asyncio.start_server(serve, ADDRESS)
    await addressed(lab)
    await lease(lab, ADDRESS)
    async with lab.connect("portforward", query=f"?port={server.sockets[0].getsockname()[1]}") as socket:
        await socket.send_bytes(b"x")
        await socket.close()
    await asyncio.wait_for(gone.wait(), 5)
    server.close()


async def test_datagrams_stay_apart(lab: Lab) -> None:
    class Echo(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            transport.sendto(data.upper(), addr)

    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Echo, local_addr=(ADDRESS, 0))
    port = transport.get_extra_info("sockname")[1]
    await addressed(lab)
    await lease(lab, ADDRESS)
    async with asyncio.timeout(10), lab.connect("portforward", query=f"?port={port}&protocol=udp") as socket:
        for word in (b"one", b"two"):
            await socket.send_bytes(word)
            assert await socket.receive_bytes() == word.upper()
    transport.close()


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", "port must be a number from 1 to 65535"),
        ("?port=65536", "port must be a number from 1 to 65535"),
        ("?port=x", "port='x' is not a number of 0 or more."),
        ("?port=22&protocol=sctp", "protocol='sctp' is neither tcp nor udp"),
        ("?port=22", "VirtualMachine default/web has no address yet"),
    ],
)
async def test_what_cannot_be_forwarded_is_said_before(lab: Lab, query: str, message: str) -> None:
    await lab.machine()
    assert await refused(lab, query) == (400, message)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.1.2", "127.0.0.2"])
async def test_only_the_namespaces_own_addresses_are_reached(lab: Lab, address: str) -> None:
    await addressed(lab, address)
    await lease(lab, address, "other" if address == ADDRESS else "default")
    status, message = await refused(lab, "?port=22")
    assert status == 400
    assert f"The address {address} of VirtualMachine default/web is not leased to its namespace" in message


async def test_a_port_where_nobody_listens_is_named(lab: Lab) -> None:
    await addressed(lab)
    await lease(lab, ADDRESS)
    headers = {"X-User": "alice", "Connection": "Upgrade", "Upgrade": "websocket"}
    headers |= {"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}
    async with lab.client.get("http://h/default/web/portforward?port=1", headers=headers) as response:
        assert response.status == 503
        told = (await response.json())["message"]
    assert told == "Port 1 of VirtualMachine default/web cannot be reached: Connection refused"


async def test_a_machine_that_is_off_has_no_ports(lab: Lab) -> None:
    await lab.machine(phase="Stopped")
    assert await refused(lab, "?port=22") == (400, "VirtualMachine default/web is not Running or Migrating")
