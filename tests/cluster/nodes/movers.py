"""A machine that moves, and tells by what it counts whether it is the same guest still."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.cluster.nodes.hyperds import GUEST_URL, Hyperds
from tests.cluster.nodes.machines import get, make, make_machine, until
from tests.cluster.nodes.node import Node

SECONDS = 180.0
COUNTS = """#!/bin/sh
cp /state/count /www/before
nc -ll -p 7 -e cat &
nc -ll -p 9 -e sh &
keep() { echo $1 >/state/new; sync; mv /state/new /state/count; sync; }
(n=0; while :; do n=$((n+1)); echo $n >/www/count; keep $n; sleep 0.2; done) &
"""
"""It counts in memory and on its disk, where a power cut finds a whole number, echoes, and does as it is told."""
_BUSY = """dd if=/dev/urandom of=/busy bs=1M count=12 2>/dev/null
(while :; do cat /busy >/busier; done) >/dev/null 2>&1 &
echo $! >/busy.pid"""


def count(node: Node, address: str, of: str = "count") -> int:
    """What the guest has counted to; 0 where it does not answer."""
    said = node.run("curl", "-s", "-m", "2", f"http://{address}/{of}", rc=None).strip()
    return int(said) if said.isdigit() else 0


def tell(node: Node, address: str, command: str) -> str:
    """What a command says within the guest."""
    words = f'exec 3<>/dev/tcp/{address}/9; printf "%s\\nexit\\n" "$0" >&3; timeout 60 cat <&3'
    return node.run("bash", "-c", words, command).strip()


@contextmanager
def busy(node: Node, address: str) -> Iterator[None]:
    """While the block runs it changes its memory faster than that is sent; it is told on ``node``."""
    tell(node, address, _BUSY)
    try:
        yield
    finally:
        tell(node, address, "kill $(cat /busy.pid)")


def where(hyperds: Hyperds, name: str) -> Node:
    node = get(hyperds.bed, f"vm/{name}", "{.status.nodeName}")
    return next(each for each in hyperds.nodes if each.name == node)


def running_on(hyperds: Hyperds) -> list[str]:
    """The nodes on which a guest runs, each as often as there are."""
    return [
        node.name
        for node in hyperds.nodes
        for _ in node.run("virsh", "-q", "list", "--state-running", "--name").split()
    ]


@contextmanager
def moving(hyperds: Hyperds, **spec: object) -> Iterator[str]:
    """The address of a machine that counts; its name is mover."""
    bed = hyperds.bed
    make_machine(bed, "mover", provisioning={"type": "UserData", "userData": COUNTS}, **spec)
    source = {"type": "HTTP", "http": {"url": GUEST_URL}}
    make(bed, "VirtualDisk", "mover", persistentVolumeClaim={"size": "256Mi"}, dataSource=source)
    until(lambda: get(bed, "vm/mover", "{.status.phase}") == "Running", SECONDS)
    address = get(bed, "vm/mover", "{.status.ipAddress}")
    until(lambda: count(where(hyperds, "mover"), address), SECONDS)
    yield address
    bed.plane.kubectl("delete", "vm/mover", "vd/mover", "--ignore-not-found", "--timeout=60s")
