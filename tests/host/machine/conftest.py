"""One daemon with one imported image for all tests of a machine's life."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.contract.volumes import loops, xfs
from tests.host.clustered import on_cluster
from tests.host.node import Node
from tests.host.running import Hyperd, ImageServer, image

MIB = 1 << 20
GUEST = Path(__file__).parents[2] / "guest" / "build"


@pytest.fixture(scope="session")
def guest_image() -> Path:
    """The small guest, built once per machine."""
    built = subprocess.run([GUEST, "--qcow2"], check=True, capture_output=True, text=True)
    return Path(built.stdout.strip().splitlines()[-1])


@pytest.fixture(scope="session")
def images(node: Node, guest_image: Path) -> Iterator[ImageServer]:
    """An HTTP server in the node with ``guest.qcow2``."""
    folder = node.make_dir()
    shutil.copy(guest_image, folder / "guest.qcow2")
    server = ImageServer(node, folder)
    yield server
    server.close()


@pytest.fixture(scope="module")
def agents(node: Node) -> Iterator[ImageServer]:
    """Another one, whose guest has QEMU's agent."""
    built = subprocess.run([GUEST, "--qcow2", "--agent"], check=True, capture_output=True, text=True)
    folder = node.make_dir()
    shutil.copy(Path(built.stdout.strip().splitlines()[-1]), folder / "guest.qcow2")
    server = ImageServer(node, folder, port=8098)
    yield server
    server.close()


@pytest.fixture(scope="module")
def block_disk(node: Node) -> Iterator[Path]:
    """One that holds nothing, as the node sees it: its partitions come and go there by themselves."""
    folder = node.make_dir("disk")
    with loops.disk(folder / "disk.img", 400 * MIB) as device:
        node.exec(["mkdir", "-p", "/dev/disks"])
        node.exec(["mount", "-t", "devtmpfs", "devtmpfs", "/dev/disks"])
        try:
            yield Path("/dev/disks") / device.name
        finally:
            node.exec(["umount", "--lazy", "/dev/disks"], check=False)


@pytest.fixture(scope="module")
def shared_blocks(node: Node) -> Iterator[xfs.InNode]:
    """A file system that shares blocks, as the node sees it."""
    with xfs.in_node(node, node.make_dir("busy")) as made:
        yield made


@pytest.fixture(scope="package")
def hyperd(request: pytest.FixtureRequest, node: Node, images: ImageServer) -> Iterator[Hyperd]:
    """A daemon with the VirtualImage ``guest`` Ready; its home is the parameter's, the embedded one without."""
    node.ensure_libvirtd()
    if getattr(request, "param", "embedded") == "embedded":
        home: AbstractContextManager[Hyperd] = Hyperd(node)
    else:
        home = on_cluster(node, request.getfixturevalue("control_plane"))
    with home as daemon:
        daemon.create(image("guest", f"{images.url}/guest.qcow2"))
        daemon.wait_phase("vi", "guest", "Ready")
        yield daemon
    node.remove_domains()


both_homes = pytest.mark.parametrize(
    "hyperd", ["embedded", pytest.param("kubernetes", marks=pytest.mark.cluster)], indirect=True, scope="package"
)
"""For tests that must pass wherever the objects are."""
on_kubernetes = pytest.mark.parametrize("hyperd", ["kubernetes"], indirect=True, scope="package")
"""For tests of what only a cluster can do to a daemon."""
