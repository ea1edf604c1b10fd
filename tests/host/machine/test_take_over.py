"""Today's daemon takes over the folders and the guests of each one that was released, and nobody notices."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import apsw
import orjson
import pytest

from tests.host.inventory import domains, files, leftovers, repositories, routes, taps
from tests.host.machine.test_restore import hv
from tests.host.node import Node, wait_until
from tests.host.running import Console, Hyperd, condition, disk, forwarded, operation
from tests.released import world
from tests.released.rebuild import RECORDED, Left, rebuild

Object = dict[str, Any]
Key = tuple[str, str, str]


@pytest.fixture
def own_node(node: Node) -> Iterator[Node]:
    """A host of its own: the routes that were recorded are nobody else's. ``node`` tells who may not have one."""
    with Node() as fresh:
        yield fresh


@pytest.mark.timeout(600)
@pytest.mark.parametrize("recorded", RECORDED, ids=lambda path: path.name)
def test_todays_daemon_takes_over_what_a_released_one_left(
    own_node: Node, guest_image: Path, recorded: Path
) -> None:
    daemon = Hyperd(own_node, settings=world.daemon_settings())
    daemon.instance = world.INSTANCE
    left = rebuild(daemon, recorded, guest_image)
    told = stored(daemon)
    certificates = {path.name: path.read_bytes() for path in (daemon.state_dir / "pki").iterdir()}
    pid = qemu_pid(daemon, left.running)
    with daemon:
        nobody_notices(daemon, left, told, pid)
        assert {path.name: path.read_bytes() for path in (daemon.state_dir / "pki").iterdir()} == certificates
        every_record_is_read(daemon, left, pid)
        nothing_is_left_behind(daemon)


def nobody_notices(daemon: Hyperd, left: Left, told: dict[Key, Object], pid: int) -> None:
    web = told["virtualmachines", "default", "web"]
    uid = web["metadata"]["uid"]
    # A round of everything: the guest has its address only once the daemon has looked at it.
    daemon.wait_console(web, f"IP={world.ADDRESS}")
    daemon.wait("vm", "waiting", lambda vm: "nodeSelector" in condition(vm, "Running").get("message", ""))
    for (plural, namespace, name), before in told.items():
        if plural == "events":
            continue
        group, _, version = before["apiVersion"].rpartition("/")
        now = daemon.find(f"{plural}.{version}.{group}" if group else plural, name, namespace)
        assert now is not None, f"{plural} {namespace}/{name} is lost"
        assert now["metadata"]["uid"] == before["metadata"]["uid"]
        assert now.get("spec") == before.get("spec"), f"{plural} {name} has another spec"
        phases = [(obj.get("status") or {}).get("phase") for obj in (before, now)]
        assert phases[0] == phases[1], f"{plural} {name} was {phases[0]}, and is {phases[1]}"
    now = daemon.get("vm", "web")
    for field in ("ipAddress", "virtualMachineIPAddressName", "nodeName", "blockDeviceRefs", "resources",
                  "restartAwaitingChanges"):  # fmt: skip
        assert now["status"][field] == web["status"][field], field
    assert stats(now) == stats(web)
    assert conditions(now) == conditions(web)
    assert [event["message"] for event in daemon.events("web") if event["lastTimestamp"] > last_event(told)] == []
    assert qemu_pid(daemon, left.running) == pid
    assert set(domains(daemon)) == set(left.domains)
    assert (taps(daemon), routes(daemon)) == ([uid], [world.ADDRESS])
    assert daemon.node.exec(["ping", "-c", "1", "-W", "5", world.ADDRESS]).returncode == 0
    answer, code = forwarded(daemon, "web", 80, b"GET / HTTP/1.0\r\n\r\n")
    assert (answer.startswith(b"HTTP/1.1 200 OK"), code) == (True, 1000)
    with Console(daemon, "web") as console:
        console.log_in()
        assert left.boot in console.run("cat /proc/sys/kernel/random/boot_id")
    assert leftovers(daemon) == []


def every_record_is_read(daemon: Hyperd, left: Left, pid: int) -> None:
    # What waited for the restart comes with it, and each device keeps its place.
    complete(daemon, "Restart", "web")
    web = daemon.wait("vm", "web", lambda vm: vm["status"]["phase"] == "Running")
    assert qemu_pid(daemon, left.running) not in (0, pid)
    assert "restartAwaitingChanges" not in web["status"]
    assert web["status"]["resources"]["memory"]["size"] == "160Mi"
    assert web["status"]["ipAddress"] == world.ADDRESS
    assert places(daemon.node.virsh("dumpxml", "--inactive", left.running)) == places(left.domains[left.running])
    # What was off starts with the variables of its firmware.
    (off,) = set(left.domains) - {left.running}
    variables = daemon.state_dir / "nvram" / f"{daemon.get('vm', 'off')['metadata']['uid']}.fd"
    inode = variables.stat().st_ino
    complete(daemon, "Start", "off")
    assert places(daemon.node.virsh("dumpxml", "--inactive", off)) == places(left.domains[off])
    assert variables.stat().st_ino == inode
    complete(daemon, "Stop", "off")
    # The start that was under way gives way to a stop.
    (start,) = [op["metadata"]["name"] for op in daemon.list("vmop") if op["status"]["phase"] == "InProgress"]
    complete(daemon, "Stop", "waiting")
    daemon.wait_phase("vmop", start, "Superseded")
    # Volumes and images: one grows, one more is made of the image in the registry.
    daemon.patch("vd", "data", {"spec": {"persistentVolumeClaim": {"size": "16Mi"}}})
    daemon.wait("vd", "data", lambda vd: vd["status"]["capacity"] == "16Mi")
    daemon.create(disk("more", image="tiny"))
    daemon.wait_phase("vd", "more", "Ready")
    used = daemon.get("resourcequotas", "bound")["status"]["used"]["requests.storage"]
    assert used not in ("", "0")


def nothing_is_left_behind(daemon: Hyperd) -> None:
    for word in ("vmop", "vm", "vd", "vi", "vmip", "resourcequotas", "secrets"):
        for obj in daemon.list(word):
            if daemon.find(word, obj["metadata"]["name"]) is not None:
                daemon.delete(word, obj["metadata"]["name"])
        for obj in daemon.list(word):
            daemon.wait_gone(word, obj["metadata"]["name"])
    daemon.delete("vmclass", "small")
    daemon.wait_gone("vmclass", "small")
    for word in ("vmip", "vmipl"):
        wait_until(partial(none_left, daemon, word), what=f"the end of every {word}")
    # What was deleted goes from the registry with its collection, and there is nothing but that.
    hv(daemon, "gc")
    try:
        wait_until(lambda: leftovers(daemon) == [], timeout=60, what="an empty node")
    except TimeoutError:
        assert leftovers(daemon) == []
        raise
    assert hv(daemon, "gc") == "node: nothing to remove\n"
    assert domains(daemon) == taps(daemon) == routes(daemon) == []
    folders = [daemon.state_dir / name for name in ("volumes", "seeds", "nvram")]
    assert [files(folder) for folder in (*folders, daemon.dir / "l" / "consoles", daemon.dir / "r" / "c")] == [
        []
    ] * 5
    assert not any(repositories(daemon).values())
    wait_until(lambda: files(daemon.state_dir / "images") == [], timeout=30, what="an empty cache")
    marks = [path for path in daemon.state_dir.rglob("*") if path.suffix in (".orphan", ".lost", ".part")]
    assert marks == []


def none_left(daemon: Hyperd, word: str) -> bool:
    return daemon.list(word) == []


def stored(daemon: Hyperd) -> dict[Key, Object]:
    """Every object of the store's file, which no daemon has open."""
    database = apsw.Connection(str(daemon.state_dir / "store.db"))
    rows = list(database.execute("SELECT plural, ns, name, body FROM obj"))
    database.close()
    return {(plural, ns, name): orjson.loads(body) for plural, ns, name, body in rows}


def complete(daemon: Hyperd, type_: str, vm: str) -> None:
    asked = daemon.create(operation(type_, vm, **({"force": True} if type_ == "Restart" else {})))
    daemon.wait_phase("vmop", asked["metadata"]["name"], "Completed", timeout=90)


def conditions(vm: Object) -> list[Object]:
    """All that is said of the machine and since when, but the generation that it is said of."""
    return [
        {key: value for key, value in one.items() if key != "observedGeneration"}
        for one in sorted(vm["status"]["conditions"], key=lambda one: str(one["type"]))
    ]


def stats(vm: Object) -> Object:
    """All but the notes of our own clocks, which are written anew on another boot."""
    return {key: value for key, value in vm["status"]["stats"].items() if not key.endswith("Timer")}


def last_event(told: dict[Key, Object]) -> str:
    return max(str(obj["lastTimestamp"]) for (plural, _, _), obj in told.items() if plural == "events")


def qemu_pid(daemon: Hyperd, domain: str) -> int:
    """The pid of a domain's QEMU; 0 while it has none."""
    return int(daemon.node.exec(["cat", f"/run/libvirt/qemu/{domain}.pid"], check=False).stdout or 0)


def places(domain: str) -> list[tuple[str, ...]]:
    """Each device with its target, serial and address, as the guest sees them."""
    found = []
    devices = ElementTree.fromstring(domain).find("devices")
    assert devices is not None
    for device in devices:
        address, target, source = device.find("address"), device.find("target"), device.find("source")
        if address is None:
            continue
        parts = [device.tag, device.get("model", ""), device.findtext("serial", "")]
        parts += [f"{key}={value}" for key, value in sorted(address.items())]
        parts += [] if target is None else [target.get("dev", "")]
        parts += [] if source is None else [source.get("file", "")]
        found.append(tuple(parts))
    return sorted(found)
