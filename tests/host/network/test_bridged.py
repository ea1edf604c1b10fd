"""Cards on bridges: what a guest may send there, whom it reaches, and that nothing of it is left."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator

import pytest

from hyperd import errors
from hyperd.network.interface import Link
from hyperd.network.kinds.bridged.network import BridgedNetwork
from hyperd.network.place import THIS_HOST
from hyperd.resources.kinds.virtual_machine import NetworkType
from hyperd.settings import NetworkSettings, Settings
from hyperd.settings.additional import AdditionalNetwork
from tests.host.network.lab import Guest, run

UIDS = ("6f1f4a5e-6c0b-4d3e-9d57-0c7f3f6a2b11", "aaaaaaaa-6c0b-4d3e-9d57-0c7f3f6a2b11")
MACS = ("5e:e6:19:22:0f:d8", "5e:e6:19:00:00:02")
HOST = "192.168.7.1"
Plug = Callable[..., Guest]


def link(number: int, name: str = "lan", namespace: str = "default") -> Link:
    uid, mac = UIDS[number], MACS[number]
    return Link(uid, "vm", None, NetworkType.CLUSTER_NETWORK, name, 1, namespace, mac)


def named(*networks: AdditionalNetwork, instance: str = "test") -> BridgedNetwork:
    settings = Settings(instance=instance, network=NetworkSettings(additional=networks))
    return BridgedNetwork(settings, THIS_HOST)


CONTROL = "88b5"
"""An EtherType for experiments, which nobody minds."""
AMONG_BRIDGES = ("0180c2000000@88b6", "0180c2000021@88b6", "01000ccccccc@88b6", "01000ccccccd@88b6")
"""What bridges and switches listen to."""
_SEND = """
import socket, sys
card = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
card.bind(("eth0", 0))
for one in sys.argv[2:]:
    to, _, kind = one.rpartition("@")
    # As ARP: an answer in another's name.
    body = bytes.fromhex("0001080006040002" + "5ee619000099" + "c0a80701" + "ff" * 6 + "c0a8070b")
    card.send(bytes.fromhex((to or "ff" * 6) + sys.argv[1].replace(":", "") + kind) + body.ljust(64, b"x"))
"""
_RECEIVE = """
import socket, sys
card = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.ntohs(3))
card.bind(("eth0", 3))
print("ready", flush=True)
while True:
    frame = card.recv(200)
    if frame[6:12].hex() == sys.argv[1].replace(":", "") and b"xxxx" in frame:
        print(frame[12:14].hex(), flush=True)
        if frame[12:14].hex() == sys.argv[2]:
            break
"""


def got_through(sender: Guest, receiver: Guest, kinds: tuple[str, ...]) -> list[str]:
    """The EtherTypes of the frames that arrive, of those that are sent in turn; the last is awaited.

    Each is given by its EtherType, after the address that it goes to where that is not all.
    """
    listening = receiver.start(sys.executable, "-c", _RECEIVE, MACS[0], kinds[-1])
    assert listening.stdout is not None
    assert listening.stdout.readline() == "ready\n"
    sender.run(sys.executable, "-c", _SEND, MACS[0], *kinds)
    told, _ = listening.communicate(timeout=20)
    return str(told).split()


LAN = AdditionalNetwork(name="lan", bridge="br0")
OPEN = AdditionalNetwork(name="lan", bridge="br0", reach_host=True)


@pytest.fixture(autouse=True)
def bridge(namespace: None) -> None:
    run("ip", "link", "add", "br0", "type", "bridge")
    # As a host's own card: a bridge without one takes what address comes first.
    run("ip", "link", "add", "uplink", "address", "02:00:00:00:00:01", "type", "veth", "peer", "name", "wire")
    run("ip", "link", "set", "uplink", "master", "br0", "up")
    run("ip", "address", "add", f"{HOST}/24", "dev", "br0")
    run("ip", "link", "set", "br0", "up")


@pytest.fixture
def plug() -> Iterator[Plug]:
    """A guest behind the tap of a link, with an address of its own choice."""
    guests: list[Guest] = []

    def _plug(network: BridgedNetwork, number: int) -> Guest:
        card = network.card(link(number))
        assert card is not None
        guest = Guest(card.tap, mac=card.mac)
        guests.append(guest)
        guest.configure(f"192.168.7.1{number}/24", HOST)
        return guest

    yield _plug
    for guest in guests:
        guest.close()


def address_of(device: str) -> str:
    return str(json.loads(run("ip", "-j", "link", "show", device).stdout)[0]["address"])


def traces() -> str:
    return run("nft", "list", "ruleset").stdout + run("ip", "-d", "link", "show", "type", "tun").stdout


async def test_guests_reach_each_other_and_nothing_of_the_host_s(plug: Plug) -> None:
    network = named(LAN)
    await network.start()
    for number in (0, 1):
        assert await network.lacks(link(number)) == ""
        for _ in range(2):
            await network.connect(link(number), starting=True)
    one, other = plug(network, 0), plug(network, 1)
    assert one.pings("192.168.7.11")
    assert not one.pings(HOST), "a LAN's guest reaches no service of the host by it"
    # Another address than the card's, in frames or in what ARP says, and a tag, do not get through.
    one.run("ip", "link", "set", "eth0", "address", "5e:e6:19:00:00:99")
    assert not one.pings("192.168.7.11")
    one.run("ip", "link", "set", "eth0", "address", MACS[0])
    assert one.pings("192.168.7.11")
    assert got_through(one, other, ("81000007", "88a80007", "0806", *AMONG_BRIDGES, CONTROL)) == [CONTROL]

    assert sorted(await network.inventory()) == sorted(UIDS)
    await network.disconnect(UIDS[0])
    await network.disconnect(UIDS[0])
    assert await network.inventory() == [UIDS[1]]
    assert MACS[0] not in traces()
    await network.disconnect(UIDS[1])
    assert traces() == ""


async def test_what_was_changed_by_others_is_mended_and_the_bridge_keeps_its_address(plug: Plug) -> None:
    before = address_of("br0")
    network = named(OPEN)
    await network.connect(link(0))
    guest = plug(network, 0)
    assert guest.pings(HOST), "this network is for that"
    card = network.card(link(0))
    assert card is not None
    run("nft", "flush", "ruleset")
    run("ip", "link", "set", card.tap, "nomaster")
    await network.connect(link(0))
    assert guest.pings(HOST)
    assert "root_block on" in run("ip", "-d", "link", "show", card.tap).stdout, "it leads no spanning tree"
    guest.run("ip", "link", "set", "eth0", "address", "5e:e6:19:00:00:99")
    assert not guest.pings(HOST)
    assert address_of("br0") == before
    await network.disconnect(UIDS[0])
    assert traces() == ""


async def test_a_daemon_that_was_killed_leaves_no_rule_without_its_tap() -> None:
    network = named(LAN)
    for number in (0, 1):
        await network.connect(link(number))
    for number, left in ((0, [MACS[1]]), (1, [])):
        card = network.card(link(number))
        assert card is not None
        run("ip", "link", "delete", card.tap)
        await named(LAN).start()
        assert [mac for mac in MACS if mac in traces()] == left
    assert traces() == ""


async def test_two_instances_leave_each_other_alone() -> None:
    ours, theirs = named(LAN), named(LAN, instance="other")
    await ours.connect(link(0))
    await theirs.connect(link(1))
    assert (await ours.inventory(), await theirs.inventory()) == ([UIDS[0]], [UIDS[1]])
    with pytest.raises(errors.PermanentError, match="not as a tap of VM"):
        await theirs.connect(link(0))
    await theirs.disconnect(UIDS[0])
    await theirs.disconnect(UIDS[1])
    assert await ours.inventory() == [UIDS[0]]
    assert MACS[0] in traces()


async def test_what_is_not_there_or_not_for_a_namespace_gets_no_card() -> None:
    network = named(
        LAN,
        AdditionalNetwork(name="gone", bridge="br9"),
        AdditionalNetwork(name="theirs", bridge="br0", namespaces=("shop",)),
        AdditionalNetwork(name="device", bridge="lo"),
    )
    told = {name: await network.lacks(link(0, name)) for name in ("none", "gone", "theirs", "device", "../br0")}
    assert told["none"].startswith('ClusterNetwork "none" does not exist on this node')
    assert "bridge br9, which is not on this node" in told["gone"]
    assert "bridge lo, which is not on this node" in told["device"]
    assert 'not for namespace "default"' in told["theirs"]
    assert "does not exist" in told["../br0"]
    assert await network.lacks(link(0, "theirs", "shop")) == ""
    for name in ("none", "theirs", "../br0"):
        assert network.card(link(0, name)) is None
        await network.connect(link(0, name))
    with pytest.raises(errors.TemporaryError, match="br9 is not on this node"):
        await network.connect(link(0, "gone"))
    await network.start()
    assert traces() == ""
