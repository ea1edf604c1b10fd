"""A status that somebody forged leads to nothing that its object does not own."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from hyperd.client import paths
from tests.host.machine.test_addresses import Object, address
from tests.host.node import Node
from tests.host.running import Hyperd, ImageServer, disk, image, machine, resource

SMALL = 4 << 20


@pytest.fixture
def name(hyperd: Hyperd) -> Iterator[str]:
    """A fresh name; what has it is removed afterwards."""
    fresh = f"forged{time.monotonic_ns() % 10**8}"
    yield fresh
    for word in ("vm", "vd", "vi", "vmip"):
        for each in (fresh, f"{fresh}-2"):
            if hyperd.find(word, each) is not None:
                hyperd.delete(word, each)
                hyperd.wait_gone(word, each)


@pytest.fixture
def small(node: Node, images: ImageServer, name: str) -> Iterator[str]:
    """URL of another image than ``guest``, and of another size."""
    folder = node.make_dir(f"www-{name}")
    content = bytearray(SMALL)
    content[510:512] = b"\x55\xaa"  # a boot sector
    (folder / "small.img").write_bytes(content)
    server = ImageServer(node, folder, port=8098)
    yield f"{server.url}/small.img"
    server.close()


def forge(hyperd: Hyperd, word: str, name: str, status: Object) -> None:
    """As whoever could write a status once; root may."""
    path = f"{paths.single(resource(word), 'default', name)}/status"
    hyperd.client.call("PATCH", path, body={"status": status}, content_type="application/merge-patch+json")


def test_a_disk_is_made_of_the_image_that_it_names(hyperd: Hyperd, small: str, name: str) -> None:
    hyperd.create(image(name, small))
    true = hyperd.wait_phase("vi", name, "Ready")["status"]["target"]["registryURL"]
    stolen = hyperd.get("vi", "guest")["status"]["target"]["registryURL"]
    assert stolen != true
    forge(hyperd, "vi", name, {"target": {"registryURL": stolen}})
    hyperd.create(disk(name, image=name))
    made = hyperd.wait_phase("vd", name, "Ready")
    assert made["status"]["capacity"] == "4Mi"
    refs = [{"kind": kind, "name": name} for kind in ("VirtualDisk", "VirtualImage")]
    hyperd.create(machine(name, blockDeviceRefs=refs))
    vm = hyperd.wait_phase("vm", name, "Running")
    assert [ref["size"] for ref in vm["status"]["blockDeviceRefs"]] == ["4Mi", "4Mi"]


def test_a_machine_has_no_address_that_is_leased_to_another(hyperd: Hyperd, small: str, name: str) -> None:
    for each in (name, f"{name}-2"):
        hyperd.create(address(each))
        hyperd.wait_phase("vmip", each, "Bound")
    taken = hyperd.get("vmip", name)["status"]["address"]
    hyperd.create(disk(name, size="1Mi"))
    hyperd.wait_phase("vd", name, "Ready")
    forge(hyperd, "vmip", f"{name}-2", {"address": taken})
    hyperd.create(machine(name, name, virtualMachineIPAddressName=f"{name}-2"))
    vm = hyperd.wait_phase("vm", name, "Pending")
    conditions = {one["type"]: one for one in vm["status"]["conditions"]}
    assert conditions["VirtualMachineIPAddressReady"]["status"] == "False"
    assert not vm["status"].get("ipAddress")
