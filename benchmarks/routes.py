"""Ways to machines on other nodes: ten thousand of them against ``ip -batch``, repair against a bare echo.

In a network namespace of its own; needs root. Rounds alternate, so that a busy machine meets both; medians are
compared. A repair is counted from the deletion until the kernel tells of the route that came back; the echo is a
process that does nothing but answer the kernel's word of a deletion with the route.
"""

from __future__ import annotations

import asyncio
import select
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv4Network

from benchmarks.report import report
from hyperd.network.kinds.routed import far
from hyperd.network.kinds.routed.host import HostNetwork
from hyperd.network.place import THIS_HOST
from hyperd.network.routes import messages
from hyperd.network.routes.channel import Channel
from hyperd.network.routes.messages import Hop, Kind
from hyperd.network.routes.table import Ranges, WayTable
from hyperd.settings import NetworkSettings
from tests.host.network.lab import fresh_namespace, run

ROUNDS = 5
ROUTES = 10_000
REPAIRS = 200
GOAL_OF_ALL, GOAL_OF_REPAIR = 0.5, 3.0
SETTINGS = NetworkSettings(virtual_machine_cidrs=(IPv4Network("10.66.0.0/16"),))
FIRST, NODE = IPv4Address("10.66.0.2"), IPv4Address("192.168.126.12")
TABLE, PROTOCOL = SETTINGS.route_table, SETTINGS.far_route_protocol
_SECONDS = 30.0


def ways(count: int) -> dict[bytes, bytes]:
    return {(FIRST + number).packed: NODE.packed for number in range(count)}


def make_all() -> float:
    """Seconds for all of them by our own hands."""
    with Channel() as channel:
        table = WayTable(channel, table=TABLE, protocol=PROTOCOL, ranges=Ranges([(0, 0xFFFFFFFF)]))
        began = time.perf_counter()
        table.look(ways(ROUTES))
        return time.perf_counter() - began


def batch() -> float:
    """Seconds for the same by iproute2, whose input is there already."""
    lines = (
        f"route replace {FIRST + number}/32 via {NODE} dev wire table {TABLE} proto {PROTOCOL} metric 50 onlink\n"
        for number in range(ROUTES)
    )
    script = "".join(lines).encode()
    began = time.perf_counter()
    subprocess.run(["ip", "-batch", "-"], input=script, check=True)
    return time.perf_counter() - began


@contextmanager
def repairing(how: str) -> Iterator[None]:
    argv = [sys.executable, "-m", "benchmarks.routes", how]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield
        process.kill()


def repair(how: str) -> float:
    """Seconds until a route is back, the median of many."""
    taken = []
    with repairing(how), Channel() as channel:
        for number in range(REPAIRS):
            address = (FIRST + number).packed
            channel.heard()
            began = time.perf_counter()
            channel.change(Kind.DELETE_ROUTE, [(address, None)], table=TABLE, protocol=PROTOCOL, priority=50)
            while not _is_back(channel, address):
                assert time.perf_counter() - began < _SECONDS, f"{how} does not repair"
                select.select([channel.hearing], [], [], 1.0)
            taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def _is_back(channel: Channel, address: bytes) -> bool:
    found = (messages.route(one.body) for one in channel.heard() or () if one.kind == Kind.NEW_ROUTE)
    return any(route is not None and route.destination == address for route in found)


async def keep() -> None:
    """As in a daemon, whose loop is idle."""
    keeper = far.keeper(SETTINGS, THIS_HOST, HostNetwork(SETTINGS, instance="bench").mend_ranges)
    keeper.want(ways(REPAIRS))
    while len(run("ip", "route", "show", "table", str(TABLE)).stdout.splitlines()) <= REPAIRS:
        await asyncio.sleep(0.05)
    print("ready", flush=True)
    await asyncio.Event().wait()


def echo() -> None:
    """Nothing but the kernel's word and the answer to it."""
    hearing = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    hearing.bind((0, 0x40))
    hop = Hop(NODE.packed, socket.if_nametoindex("wire"))
    with Channel() as channel:
        all_ = [(address, hop) for address in ways(REPAIRS)]
        channel.change(Kind.NEW_ROUTE, all_, table=TABLE, protocol=PROTOCOL, priority=50)
        print("ready", flush=True)
        sending = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
        while True:
            for message in messages.read(hearing.recv(65536)):
                route = messages.route(message.body)
                if message.kind == Kind.DELETE_ROUTE and route is not None:
                    sending.send(
                        messages.change(
                            Kind.NEW_ROUTE,
                            route.destination,
                            hop,
                            table=TABLE,
                            protocol=PROTOCOL,
                            priority=50,
                            sequence=1,
                            acknowledge=False,
                        )
                    )


def main() -> None:
    """Print both figures."""
    with fresh_namespace():
        run("ip", "link", "add", "wire", "type", "veth", "peer", "name", "switch")
        run("ip", "address", "add", "192.168.126.11/24", "dev", "wire")
        for end in ("wire", "switch"):
            run("ip", "link", "set", end, "up")
        ours: list[float] = []
        theirs: list[float] = []
        for _ in range(ROUNDS):
            for took, do in ((ours, make_all), (theirs, batch)):
                run("ip", "route", "flush", "table", str(TABLE), check=False)
                took.append(do())
        value, base = statistics.median(ours), statistics.median(theirs)
        goal = f"<= {GOAL_OF_ALL} of it"
        report("ways_10000", value, "s", "ip -batch", base, goal, value <= GOAL_OF_ALL * base)
        run("ip", "route", "flush", "table", str(TABLE))
        kept, echoed = [], []
        for _ in range(ROUNDS):
            kept.append(repair("keep"))
            echoed.append(repair("echo"))
        value, base = 1000 * statistics.median(kept), 1000 * statistics.median(echoed)
        goal = f"<= {GOAL_OF_REPAIR:.0f} times it"
        report("way_repair", value, "ms", "a bare netlink echo", base, goal, value <= GOAL_OF_REPAIR * base)


if __name__ == "__main__":
    if sys.argv[1:] == ["keep"]:
        asyncio.run(keep())
    elif sys.argv[1:] == ["echo"]:
        echo()
    else:
        main()
