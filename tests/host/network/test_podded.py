"""A machine in a Pod: the Pod's address is the guest's too, and nothing else comes from the guest's card."""

from __future__ import annotations

import asyncio
import socket
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from pyroute2.netlink.nfnetlink.nfctsocket import NFCTSocket

from hyperd.network import conntrack, nft
from hyperd.network.addresses import mac_for
from hyperd.network.connections import Connection
from hyperd.network.dhcp.server import DhcpServer
from hyperd.network.filters import OPEN, SHUT, Direction, Filter, Grant, Protocol
from hyperd.network.kinds.routed.host import HostNetwork, TapSpec
from hyperd.network.place import Place
from hyperd.network.spans import EVERY
from hyperd.settings import NetworkSettings
from tests.host.network.lab import Guest, held_namespace, run
from tests.host.network.test_dhcp import lease
from tests.host.network.test_host import spec

POD, NODE = "10.244.1.5", "10.244.1.1"
MACHINE, OTHER = "10.66.10.2", "10.66.10.3"
_SEND = """
import socket, sys
card = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
card.bind(("eth0", 0))
for frame in sys.argv[1:]:
    card.send(bytes.fromhex(frame))
"""
_SAYS = """
import socket
said, _ = socket.create_server(("", 7)).accept()
said.send(b"first")
while True:
    said.send(input().encode())
"""


@pytest.fixture
def pod(namespace: None) -> Iterator[Place]:
    """A Pod's network, as a bridge and a CNI make it, on a node that lets every source address in."""
    with held_namespace() as pid:
        run("ip", "link", "add", "veth", "type", "veth", "peer", "name", "eth0", "netns", str(pid))
        run("ip", "address", "add", f"{NODE}/24", "dev", "veth")
        run("ip", "link", "set", "veth", "up")
        inside = ("nsenter", f"--net=/proc/{pid}/ns/net", "--")
        run(*inside, "ip", "address", "add", f"{POD}/24", "dev", "eth0")
        run(*inside, "ip", "link", "set", "eth0", "up")
        run(*inside, "ip", "route", "add", "default", "via", NODE)
        run(*inside, "sysctl", "-w", "net.ipv4.conf.all.rp_filter=2")
        yield Place(Path(f"/proc/{pid}/ns/net"), IPv4Address(POD))


@pytest.fixture
async def guest(network: HostNetwork, pod: Place, tmp_path: Path) -> AsyncIterator[Guest]:
    """A guest that has asked for its address by DHCP."""
    tap, server = spec(), DhcpServer()
    await network.prepare(tap, None)
    await network.meet(frozenset({IPv4Address(POD)}))
    for _ in range(2):
        await network.ensure_in_pod(tap, pod, OPEN)
    await server.serve(tap.name, lease(tap), pod)
    guest = await pod.run(_plug_in, tap)
    told = await asyncio.to_thread(guest.dhcp, tmp_path)
    assert told["ip"] == MACHINE
    yield guest
    guest.close()
    await server.close()


def _plug_in(tap: TapSpec) -> Guest:
    return Guest(tap.name, mac=mac_for(tap.uid, 0))


def frame(source: str, sender: str, receiver: str, payload: str, *, ports: tuple[int, int] = (9, 9)) -> str:
    """A UDP packet by hand, to whatever is behind the gateway."""
    data = payload.encode()
    udp = struct.pack(">HHHH", *ports, 8 + len(data), 0) + data
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0)
    ends = socket.inet_aton(sender) + socket.inet_aton(receiver)
    sums = sum(struct.unpack(">10H", head + ends))
    while sums >> 16:
        sums = (sums >> 16) + (sums & 0xFFFF)
    head = head[:10] + struct.pack(">H", ~sums & 0xFFFF)
    return "02a9fe000001" + source.replace(":", "") + "0800" + (head + ends + udp).hex()


async def test_who_asks_the_pods_address_asks_the_guest(guest: Guest) -> None:
    for address in (POD, MACHINE):
        with socket.create_server(("", 0)) as unused:
            port = str(unused.getsockname()[1])
        serving = guest.start("busybox", "nc", "-l", "-p", port, "-e", "echo", "the guest")
        try:
            async with asyncio.timeout(10):
                while True:
                    argv = ("busybox", "nc", "-w", "2", address, port)
                    if "the guest" in (await asyncio.to_thread(run, *argv, check=False)).stdout:
                        break
        finally:
            serving.kill()
            serving.wait()
    # Its own Service leads a guest to itself.
    run("sysctl", "-w", "net.ipv4.ip_forward=1")
    assert await asyncio.to_thread(guest.pings, POD)
    assert await asyncio.to_thread(guest.pings, NODE)


async def test_a_guest_sends_under_its_own_addresses_alone(network: HostNetwork, guest: Guest, pod: Place) -> None:
    (tap,) = await network.inventory(pod)
    own = mac_for(tap.uid, 0)
    hostile = [
        frame(own, OTHER, NODE, "hostile: another machine's address"),
        frame(own, POD, NODE, "hostile: the Pod's address"),
        frame(own, "10.244.1.9", NODE, "hostile: another Pod's address"),
        frame("52:54:00:00:00:99", MACHINE, NODE, "hostile: another card's address"),
        frame(own, MACHINE, NODE, "hostile: a DHCP server's word", ports=(67, 68)),
    ]
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as wire:
        wire.bind(("veth", 3))
        wire.settimeout(10)
        await asyncio.to_thread(guest.run, sys.executable, "-c", _SEND, *hostile, frame(own, MACHINE, NODE, "own"))
        heard = b""
        while b"own" not in heard:
            heard = await asyncio.to_thread(wire.recv, 2048)
            assert b"hostile" not in heard


async def test_a_guest_answers_no_arp_but_its_own_and_advertises_no_router(
    network: HostNetwork, guest: Guest, pod: Place
) -> None:
    (tap,) = await network.inventory(pod)
    own = mac_for(tap.uid, 0).replace(":", "")
    gateway = socket.inet_aton("10.66.10.1").hex()

    def request(mac: str, address: str) -> str:
        sender = mac + socket.inet_aton(address).hex()
        return f"ffffffffffff{own}08060001080006040001{sender}{'0' * 12}{gateway}"

    advertisement = (
        # To all nodes, from a link-local address.
        f"333300000001{own}86dd6000000000103afffe80{'0' * 27}1ff02{'0' * 27}18600000040000708{'0' * 16}"
    )
    forged = [advertisement, request(own, OTHER), request("525400000099", MACHINE)]
    arp, ipv6 = await pod.run(lambda: [_hearing(tap.name, protocol) for protocol in (0x0806, 0x86DD)])
    with arp, ipv6:
        await asyncio.to_thread(guest.run, sys.executable, "-c", _SEND, *forged, request(own, MACHINE))
        heard = await asyncio.to_thread(arp.recv, 2048)
        assert heard.hex().startswith(request(own, MACHINE))
        ipv6.setblocking(False)
        with pytest.raises(BlockingIOError):
            ipv6.recv(2048)


FRIEND, STRANGER = "10.1.0.1", "10.2.0.1"


@pytest.fixture
def others(pod: Place) -> Iterator[Place]:
    """Another place behind the node."""
    with held_namespace() as pid:
        run("ip", "link", "add", "street", "type", "veth", "peer", "name", "eth0", "netns", str(pid))
        run("ip", "address", "add", "10.3.0.1/24", "dev", "street")
        run("ip", "link", "set", "street", "up")
        run("sysctl", "-w", "net.ipv4.ip_forward=1")
        inside = ("nsenter", f"--net=/proc/{pid}/ns/net", "--")
        for one in (FRIEND, STRANGER):
            run(*inside, "ip", "address", "add", f"{one}/32", "dev", "lo")
        run(*inside, "ip", "address", "add", "10.3.0.2/24", "dev", "eth0")
        run(*inside, "ip", "link", "set", "eth0", "up")
        run(*inside, "ip", "route", "add", "default", "via", "10.3.0.1")
        for one in (FRIEND, STRANGER):
            run("ip", "route", "add", one, "via", "10.3.0.2")
        run("ip", "route", "add", MACHINE, "via", POD)
        yield Place(Path(f"/proc/{pid}/ns/net"))


def _asks(source: str, target: str) -> bool:
    """Whether the guest, on whose port 9 nobody is, says so."""
    with socket.socket() as asking:
        asking.bind((source, 0))
        asking.settimeout(0.3)
        try:
            asking.connect((target, 9))
        except ConnectionRefusedError:
            return True
        except TimeoutError:
            return False
    raise AssertionError("somebody listens")


def _only(*addresses: str) -> tuple[tuple[int, int], ...]:
    return tuple((int(IPv4Address(one)), int(IPv4Address(one))) for one in addresses)


async def _tap(network: HostNetwork, pod: Place) -> TapSpec:
    (owned,) = await network.inventory(pod)
    return TapSpec(owned.uid, owned.name, IPv4Address(MACHINE), IPv4Address("10.66.10.1"), 1450)


async def test_only_what_is_let_through_comes_to_a_guest(
    network: HostNetwork, guest: Guest, pod: Place, others: Place
) -> None:
    tap = await _tap(network, pod)
    for grants, expected in (
        (None, {FRIEND, STRANGER}),
        ([], set()),
        ([Grant(_only(FRIEND), Protocol.TCP, 9, 10)], {FRIEND}),
        ([Grant(_only(FRIEND), Protocol.TCP, 8, 8), Grant(EVERY, Protocol.UDP)], set()),
        ([Grant(_only(FRIEND)), Grant(_only(STRANGER), Protocol.TCP, 10)], {FRIEND}),
        ([Grant(EVERY, Protocol.TCP)], {FRIEND, STRANGER}),
    ):
        allowed = OPEN if grants is None else Filter(Direction.of(grants), None)
        await network.ensure_in_pod(tap, pod, allowed)
        for address in (MACHINE, POD):
            found = {one for one in (FRIEND, STRANGER) if await others.run(_asks, one, address)}
            assert found == expected, (grants, address)
            assert await asyncio.to_thread(_asks, NODE, address), "its node always reaches it"


async def test_whoever_asks_by_the_node_is_not_taken_for_the_node(
    network: HostNetwork, guest: Guest, pod: Place, others: Place
) -> None:
    """As kube-proxy has those who ask by a node's port ask under the node's address."""
    run("nft", "add", "table", "ip", "services")
    run("nft", "add", "chain", "ip", "services", "asked", "{ type nat hook postrouting priority srcnat; }")
    run("nft", "add", "rule", "ip", "services", "asked", "oifname", "veth", "masquerade")
    tap = await _tap(network, pod)
    await network.ensure_in_pod(tap, pod, Filter(Direction.of([Grant(_only(FRIEND))]), None))
    for address in (MACHINE, POD):
        assert await others.run(_asks, FRIEND, address)
        assert not await others.run(_asks, STRANGER, address)
        assert await asyncio.to_thread(_asks, NODE, address)


async def test_only_what_is_let_through_leaves_a_guest(
    network: HostNetwork, guest: Guest, pod: Place, others: Place
) -> None:
    tap = await _tap(network, pod)
    for grants, reached in (([Grant(_only(FRIEND))], {FRIEND}), ([], set()), (None, {FRIEND, STRANGER})):
        allowed = OPEN if grants is None else Filter(SHUT, Direction.of(grants))
        await network.ensure_in_pod(tap, pod, allowed)
        found = {one for one in (FRIEND, STRANGER) if await asyncio.to_thread(guest.pings, one)}
        assert found == reached
    # An address that leads to another one is judged by that.
    service = (int(IPv4Address(FRIEND)), Protocol.TCP, 80)
    for lets in (True, False):
        grants = [] if lets else [Grant(EVERY, Protocol.TCP, 80, 81)]
        leaving = replace(Direction.of(grants), targets={service: lets})
        await network.ensure_in_pod(tap, pod, Filter(None, leaving))
        for port, refused in ((80, lets), (81, not lets)):
            ask = f"busybox nc -w 1 {FRIEND} {port} 2>&1"
            said = (await asyncio.to_thread(guest.run, "sh", "-c", ask, check=False)).stdout
            assert ("refused" in said) is refused, (lets, port, said)


async def test_what_is_flushed_is_mended_and_nothing_comes_before_it_is_known(
    network: HostNetwork, guest: Guest, pod: Place, others: Place
) -> None:
    tap = await _tap(network, pod)
    shut = Filter(SHUT, None)
    await network.ensure_in_pod(tap, pod, shut)
    before = await pod.run(nft.generation)
    await network.ensure_in_pod(tap, pod, shut)
    assert await pod.run(nft.generation) == before, "what is right is not touched"
    await pod.run(run, "nft", "flush", "ruleset")
    await network.ensure_in_pod(tap, pod, shut)
    assert not await others.run(_asks, FRIEND, MACHINE)
    # A daemon that begins anew keeps what was, until it knows better.
    anew = HostNetwork(NetworkSettings(), instance="test")
    await anew.ensure_in_pod(tap, pod, None)
    assert not await others.run(_asks, FRIEND, MACHINE)
    await pod.run(run, "ip", "link", "set", tap.name, "down")
    await anew.ensure_in_pod(tap, pod, None)
    assert "state DOWN" in (await pod.run(run, "ip", "link", "show", tap.name)).stdout
    await anew.ensure_in_pod(tap, pod, OPEN)
    assert await others.run(_asks, FRIEND, MACHINE)


async def test_what_was_begun_goes_on_where_the_kernel_did_not_see_it(
    network: HostNetwork, guest: Guest, pod: Place, others: Place
) -> None:
    tap = await _tap(network, pod)
    only = Filter(Direction.of([Grant(_only(FRIEND), Protocol.TCP, 7)]), SHUT)
    await network.ensure_in_pod(tap, pod, only)
    serving = guest.start(sys.executable, "-uc", _SAYS, stdin=subprocess.PIPE)
    assert serving.stdin is not None
    try:
        asking = await others.run(_connected, FRIEND, (MACHINE, 7))
        assert await asyncio.to_thread(asking.recv, 9) == b"first"
        (known,) = await pod.run(conntrack.known, IPv4Address(MACHINE))
        assert (known.source, known.target, known.target_port) == (IPv4Address(FRIEND), IPv4Address(MACHINE), 7)
        await pod.run(lambda: NFCTSocket().flush())
        serving.stdin.write("next\n")
        serving.stdin.flush()
        asking.settimeout(1)
        with pytest.raises(TimeoutError):
            await asyncio.to_thread(asking.recv, 9)
        for _ in range(2):
            await pod.run(conntrack.learn, [Connection.decode(known.encode())])
        asking.settimeout(10)
        assert await asyncio.to_thread(asking.recv, 9) == b"next"
    finally:
        serving.kill()
        serving.wait()


def _connected(source: str, target: tuple[str, int]) -> socket.socket:
    deadline = time.monotonic() + 10
    while True:
        try:
            return socket.create_connection(target, 1, (source, 0))
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def _hearing(device: str, protocol: int) -> socket.socket:
    """Hears what of a protocol has passed the filters of the device."""
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(protocol))
    opened.bind((device, protocol))
    opened.settimeout(10)
    return opened
