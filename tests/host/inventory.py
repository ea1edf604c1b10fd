"""What one daemon holds on its node, and what of it has no owner in the store.

Looked at from outside: virsh, ip, files. None of the daemon's own code is asked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from tests.host.running import Hyperd


def leftovers(daemon: Hyperd) -> list[str]:
    """Sentences, one for each thing without an owner; empty when all is well."""
    return list(_leftovers(daemon))


def _leftovers(daemon: Hyperd) -> Iterator[str]:
    machines = {vm["metadata"]["uid"]: vm for vm in daemon.list("vm")}
    disks = {vd["metadata"]["uid"] for vd in daemon.list("vd")}
    alive = {
        uid for uid, vm in machines.items() if vm.get("status", {}).get("phase") not in ("Stopped", "Pending")
    }
    for name in domains(daemon):
        if name.removeprefix(f"{daemon.instance}-") not in machines:
            yield f"domain {name}"
    snapshots = {vds["metadata"]["uid"] for vds in daemon.list("vds")}
    for name in names(daemon.state_dir / "volumes"):
        layer, _, mark = name.partition("@")
        if mark and mark.partition(".")[0] not in snapshots:
            yield f"mark {name} of a snapshot"
        elif not mark and layer.partition(".")[0] not in disks and not marked(daemon, layer):
            yield f"volume {name}"
    for folder in ("seeds", "nvram"):
        for uid in files(daemon.state_dir / folder):
            if uid not in machines:
                yield f"{folder} file {uid}"
    for consoles in (daemon.dir / "r" / "c", daemon.dir / "l" / "consoles"):
        for uid in files(consoles):
            if uid not in machines:
                yield f"console file {uid}"
    for path in (daemon.state_dir / "images").rglob("*"):
        if "part" in path.name:
            yield f"half an image {path.name}"
    for uid in taps(daemon):
        if uid not in alive:
            yield f"tap of {uid}"
    addresses = {vm["status"].get("ipAddress") for uid, vm in machines.items() if uid in alive}
    for route in routes(daemon):
        if route not in addresses:
            yield f"route to {route}"
    yield from _registry(daemon)
    claims = {vmip["metadata"]["uid"] for vmip in daemon.list("vmip")}
    for lease in daemon.list("vmipl"):
        if (
            lease["metadata"].get("labels", {}).get("virtualization.deckhouse.io/virtual-machine-ip-address-uid")
            not in claims
        ):
            yield f"lease {lease['metadata']['name']}"


def domains(daemon: Hyperd) -> list[str]:
    """Names of this daemon's domains."""
    return [n for n in daemon.node.virsh("list", "--all", "--name").split() if n.startswith(f"{daemon.instance}-")]


def files(folder: Path) -> list[str]:
    """uids that the files of a folder are named for."""
    return sorted(
        {p.name.partition(".")[0] for p in folder.iterdir() if not p.name.startswith(".")}
        if folder.is_dir()
        else ()
    )


def names(folder: Path) -> list[str]:
    """The files of a folder that are not hidden."""
    return sorted(path.name for path in folder.iterdir() if path.name[0] != ".") if folder.is_dir() else []


def marked(daemon: Hyperd, layer: str) -> bool:
    """Whether a layer of the pool is a snapshot's."""
    return any((daemon.state_dir / "volumes").glob(f"{layer.removesuffix('.qcow2')}@*.snapshot"))


def taps(daemon: Hyperd) -> list[str]:
    """uids of this daemon's taps."""
    mark = f"hyperd:{daemon.instance}:"
    links = json.loads(daemon.node.exec(["ip", "-j", "link"]).stdout)
    return [link["ifalias"].removeprefix(mark) for link in links if link.get("ifalias", "").startswith(mark)]


def routes(daemon: Hyperd) -> list[str]:
    """Addresses with a host route through one of this daemon's taps."""
    mark = f"hyperd:{daemon.instance}:"
    links = json.loads(daemon.node.exec(["ip", "-j", "link"]).stdout)
    ours = {link["ifname"] for link in links if link.get("ifalias", "").startswith(mark)}
    text = daemon.node.exec(["ip", "-j", "route", "show", "table", "all"], check=False).stdout
    found = json.loads(text or "[]")
    return [r["dst"] for r in found if r.get("dev") in ours and r.get("protocol") not in ("kernel", None)]


def repositories(daemon: Hyperd) -> dict[str, list[str]]:
    """Repository → tags, from the registry's files."""
    root = daemon.state_dir / "registry"
    found: dict[str, list[str]] = {}
    for manifests in root.rglob("_manifests"):
        repository = str(manifests.parent.relative_to(root)).rpartition("repositories/")[2]
        tags = manifests / "tags"
        found[repository] = sorted(p.name for p in tags.iterdir()) if tags.is_dir() else []
    return found


def _registry(daemon: Hyperd) -> Iterator[str]:
    owned = {obj["metadata"]["uid"] for word in ("vi", "cvi", "vd") for obj in daemon.list(word)}
    for repository, tags in repositories(daemon).items():
        for tag in tags:
            if tag not in owned:
                yield f"image {repository}:{tag}"
    for uploads in (daemon.state_dir / "registry").rglob("_uploads"):
        for upload in uploads.iterdir():
            yield f"upload {upload.name}"
