"""Bring back what a released daemon left: its folders, its links and routes, and its domains with a guest in one.

No daemon answers DHCP meanwhile, so the guest asks until today's answers with the lease that it finds recorded.
"""

from __future__ import annotations

import json
import subprocess
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.host.node import wait_until
from tests.host.running import BOOT_SECONDS, Hyperd
from tests.released import world

RECORDED = sorted(path.parent for path in Path(__file__).parent.glob("*/about.json"))


@dataclass(frozen=True)
class Left:
    """What is there before today's daemon starts."""

    domains: Mapping[str, str]
    """The recorded XML of each domain, by name."""
    running: str
    """The one domain that runs."""
    boot: str
    """The id of its guest's boot."""


def rebuild(daemon: Hyperd, recorded: Path, guest: Path) -> Left:
    """Make ``daemon``'s folders, which is not running, and the host what ``recorded`` tells."""
    about = json.loads((recorded / "about.json").read_text())
    with tarfile.open(recorded / "folders.tar.xz") as tar:
        tar.extractall(daemon.dir, filter="fully_trusted")
    for volume in (daemon.state_dir / "volumes").glob("*.qcow2"):
        info = subprocess.run(
            ["qemu-img", "info", "--output=json", volume], check=True, capture_output=True, text=True
        )
        if backing := json.loads(info.stdout).get("backing-filename"):
            here = daemon.state_dir / "images" / Path(backing).name
            subprocess.run(["qemu-img", "rebase", "-u", "-F", "qcow2", "-b", here, volume], check=True)
    world.install_guest(guest, daemon.dir / about["guest"])
    daemon.node.exec(["sh", "-e", recorded / "network.sh"])
    found = {}
    for file in sorted(recorded.glob("*.xml")):
        xml = daemon.dir / file.name
        xml.write_text(file.read_text().replace(world.HOST_DIR, str(daemon.dir)))
        daemon.node.virsh("define", str(xml))
        found[file.stem] = xml.read_text()
        xml.unlink()
    (name,) = about["running"]
    log = daemon.dir / "l" / "consoles" / f"{name.removeprefix(world.INSTANCE + '-')}.log"
    log.write_text("")
    daemon.node.virsh("start", name)

    def said() -> str:
        return log.read_text(errors="replace")

    try:
        wait_until(lambda: "READY=" in said(), timeout=2 * BOOT_SECONDS, what="the guest's boot")
    except TimeoutError as err:
        raise TimeoutError(f"{err}: {said()[-2000:]}") from err
    return Left(found, name, said().partition(world.BOOTED)[2].split()[0])
