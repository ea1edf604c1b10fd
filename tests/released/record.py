"""Record what the daemon of a commit leaves to its successor: ``python -m tests.released.record COMMIT`` (root).

Needed once a release, and never by a test: the daemon runs from a ``git worktree`` of its own in a private node,
and what it wrote goes byte for byte to ``tests/released/<commit>/``: its folders (``folders.tar.xz``, without
sockets and without what the guest wrote on its disk), its domains as libvirt has them, and its links and routes as
commands.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.host.inventory import domains, taps
from tests.host.node import Node
from tests.host.running import Hyperd, ImageServer
from tests.released import world

RELEASED = Path(__file__).parent
CHECKOUT = RELEASED.parents[1]


class OldDaemon(Hyperd):
    """A daemon of another checkout, asked by today's client."""

    def __init__(self, node: Node, checkout: Path) -> None:
        super().__init__(node, name="recorded", settings=world.daemon_settings())
        self.instance, self.checkout = world.INSTANCE, checkout


def record(commit: str) -> Path:
    """The folder that is written, named for the commit. Raises CalledProcessError where git knows no such one."""
    short = _git("rev-parse", "--short=7", commit)
    target = RELEASED / short
    with tempfile.TemporaryDirectory(prefix="hyperd-released-") as scratch:
        checkout = Path(scratch) / "checkout"
        _git("worktree", "add", "--detach", str(checkout), commit)
        try:
            with Node() as node:
                shutil.rmtree(target, ignore_errors=True)
                target.mkdir()
                _record(node, checkout, target, short)
        finally:
            _git("worktree", "remove", "--force", str(checkout))
    return target


def _record(node: Node, checkout: Path, target: Path, commit: str) -> None:
    built = subprocess.run(
        [CHECKOUT / "tests/guest/build", "--qcow2"], check=True, capture_output=True, text=True
    ).stdout
    guest = Path(built.strip().splitlines()[-1])
    www, kept = node.make_dir("www"), node.make_dir()
    world.tiny_image(www / "tiny.qcow2", guest)
    server = ImageServer(node, www)
    daemon = OldDaemon(node, checkout)
    with daemon:
        world.make_disks(daemon, f"{server.url}/tiny.qcow2")
        uid = daemon.get("vd", "root")["metadata"]["uid"]
        volume = daemon.state_dir / "volumes" / f"{uid}.qcow2"
        shutil.copy2(volume, kept / volume.name)
        world.install_guest(guest, volume)
        world.make_machines(daemon)
        running = node.virsh("list", "--name").split()
        for name in domains(daemon):
            xml = node.virsh("dumpxml", "--inactive", "--security-info", name)
            (target / f"{name}.xml").write_text(xml.replace(str(daemon.dir), world.HOST_DIR))
        (target / "network.sh").write_text("".join(f"{shlex.join(line)}\n" for line in _network(daemon)))
    owner = volume.stat()
    shutil.copy2(kept / volume.name, volume)
    shutil.chown(volume, owner.st_uid, owner.st_gid)
    with tarfile.open(target / "folders.tar.xz", "w:xz") as tar:
        for folder in ("s", "l", "r"):
            tar.add(daemon.dir / folder, folder)
    told = {"commit": commit, "running": running, "guest": str(volume.relative_to(daemon.dir))}
    (target / "about.json").write_text(json.dumps(told, indent=1) + "\n")
    node.remove_domains()
    server.close()


def _network(daemon: Hyperd) -> Iterator[list[str]]:
    """Commands that make the daemon's taps, addresses, rules and routes again."""
    links = [one for one in _ip(daemon, "-d", "address") if one["ifname"] != "lo"]
    assert len(links) == len(taps(daemon))
    for link in links:
        name = link["ifname"]
        yield ["ip", "tuntap", "add", "dev", name, "mode", "tap", "user", "0", "vnet_hdr"]
        yield ["ip", "link", "set", name, "address", link["address"], "mtu", str(link["mtu"])]
        yield ["ip", "link", "set", name, "alias", link["ifalias"]]
        for kind, like in (("ipv4/conf", "default"), ("ipv4/neigh", "lo"), ("ipv6/conf", "default")):
            folder, new = f"/proc/sys/net/{kind}/{name}", f"/proc/sys/net/{kind}/{like}"
            values, before = (
                daemon.node.exec(["grep", "-rs", "", one], check=False).stdout.splitlines()
                for one in (folder, new)
            )
            for line in sorted(set(values) - {line.replace(new, folder, 1) for line in before}):
                path, _, value = line.partition(":")
                yield ["sysctl", "-qw", f"{path.removeprefix('/proc/sys/')}={value}"]
        for address in link["addr_info"]:
            if address["family"] == "inet":
                yield ["ip", "address", "add", f"{address['local']}/{address['prefixlen']}", "dev", name]
        yield ["ip", "link", "set", name, "up"]
    for rule in _ip(daemon, "rule"):
        if rule.get("protocol", "kernel") != "kernel":
            to = f"{rule['dst']}/{rule.get('dstlen', 32)}"
            yield ["ip", "rule", "add", "to", to, "lookup", rule["table"], "priority", str(rule["priority"]),
                   "protocol", rule["protocol"]]  # fmt: skip
    for route in _ip(daemon, "route", "show", "table", "all"):
        if route["protocol"] == "kernel" or "table" not in route:
            continue
        yield ["ip", "route", "add", *([route["type"]] if "type" in route else []), route["dst"],
               *(["dev", route["dev"], "scope", route["scope"]] if "dev" in route else []),
               *(["metric", str(route["metric"])] if "metric" in route else []),
               "table", route["table"], "proto", route["protocol"]]  # fmt: skip


def _ip(daemon: Hyperd, *arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(daemon.node.exec(["ip", "-j", *arguments]).stdout)
    return found


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", CHECKOUT, *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("commit", help="the released commit")
    print(record(parser.parse_args().commit))
    return 0


if __name__ == "__main__":
    sys.exit(main())
