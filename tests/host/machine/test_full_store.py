"""The file system of the store is really full: reads go on, writes are refused in time, and space heals it."""

from __future__ import annotations

import time
from typing import Any

from hyperd.client import paths
from hyperd.errors import ServiceUnavailable
from hyperd.resources.values.conditions import find_condition, is_true
from tests.host.node import Node, wait_until
from tests.host.running import Hyperd, resource

MAPS = resource("configmaps")


def config_map(name: str, size: int) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "default"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"text": "x" * size}}


def test_a_full_file_system_refuses_writes_and_heals_by_itself(node: Node) -> None:
    state = node.make_dir()
    node.exec(["mount", "-t", "tmpfs", "-o", "size=64m,mode=711", "tmpfs", state])
    settings = {"state_dir": state, "hypervisor.uri": "test:///default", "registry.url": "http://127.0.0.1:9"}
    try:
        with Hyperd(node, settings=settings) as daemon:
            serves(daemon, 1)
            daemon.client.create(MAPS, "default", config_map("first", 10))
            node.exec(["sh", "-c", f"head -c $(($(stat -fc %a*%S {state}) - 5000000)) /dev/zero > {state}/much"])
            under_pressure(daemon, True)
            node.exec(["sh", "-c", f"cat /dev/zero > {state}/filler"], check=False)
            held = ["first", *fill(daemon)]
            # The blocks that are held for the store took these.
            assert len(held) > 20
            assert names(daemon) == sorted(held)
            # Not even a crash keeps it from serving what there is.
            daemon.kill()
            daemon.start()
            serves(daemon, 2)
            assert names(daemon) == sorted(held)
            node.exec(["rm", f"{state}/filler", f"{state}/much"])
            daemon.client.create(MAPS, "default", config_map("healed", 100_000))
            daemon.kill()
            daemon.start()
            assert names(daemon) == sorted([*held, "healed"])
            under_pressure(daemon, False)
    finally:
        node.exec(["umount", "-l", state], check=False)


def under_pressure(daemon: Hyperd, pressed: bool) -> None:
    """Wait until the node says whether its disk is short of space."""
    node = daemon.wait("nodes", "node", lambda obj: is_true(obj, "DiskPressure") is pressed, timeout=30)
    told = find_condition(node, "DiskPressure") or {}
    assert ("are free at" in told["message"]) is pressed


def fill(daemon: Hyperd) -> list[str]:
    """Write until a write is refused, which must be in time; the names that were acknowledged."""
    held = []
    for number in range(400):
        name = f"c{number:03}"
        started = time.monotonic()
        try:
            daemon.client.create(MAPS, "default", config_map(name, 100_000))
        except ServiceUnavailable as err:
            refusal = err.message
            break
        finally:
            assert time.monotonic() - started < 20
        held.append(name)
    assert "is full; nothing was changed. Free some space" in refusal
    return held


def serves(daemon: Hyperd, starts: int) -> None:
    """Wait until all of the daemon has started, not only its API."""
    wait_until(lambda: daemon.log().count("serves node") == starts, timeout=30, what="the end of the start")


def names(daemon: Hyperd) -> list[str]:
    listed = daemon.client.call("GET", paths.collection(MAPS, "default"))
    return [item["metadata"]["name"] for item in listed["items"]]
