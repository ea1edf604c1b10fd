"""Images and disks of every kind of source on their way to Ready: nothing that a watching client may not see."""

from __future__ import annotations

from pathlib import Path

from tests.host.node import Node
from tests.host.registry.moods import Moody
from tests.host.registry.watching import Watcher
from tests.host.running import Hyperd, Object, disk, image


def of(obj: Object, kind: str, name: str) -> Object:
    """``obj``, made of another object."""
    obj["spec"]["dataSource"] = {"type": "ObjectRef", "objectRef": {"kind": kind, "name": name}}
    return obj


def on_volume(obj: Object) -> Object:
    obj["spec"] |= {"storage": "PersistentVolumeClaim", "persistentVolumeClaim": {}}
    return obj


def for_all(obj: Object) -> Object:
    """As a ClusterVirtualImage."""
    del obj["metadata"]["namespace"], obj["spec"]["storage"]
    return obj | {"kind": "ClusterVirtualImage"}


def test_what_a_client_sees_of_images_and_disks_goes_forward(node: Node, tmp_path: Path) -> None:
    moody = Moody(node, tmp_path / "asked")
    snapshot: Object = {
        "apiVersion": "virtualization.deckhouse.io/v1alpha2",
        "kind": "VirtualDiskSnapshot",
        "metadata": {"name": "snapshot", "namespace": "default"},
        "spec": {"virtualDiskName": "from-http", "requiredConsistency": True},
    }
    from_http = disk("from-http")
    from_http["spec"]["dataSource"] = image("", moody.url("steady"))["spec"]["dataSource"]
    try:
        with Hyperd(node, settings={"hypervisor.uri": "test:///default"}) as daemon:
            watcher = Watcher(daemon)
            first = [
                image("steady", moody.url("steady")),
                on_volume(image("volume", moody.url("steady"))),
                for_all(image("all", moody.url("good"))),
                from_http,
                disk("of-a-later-image", image="steady"),
                disk("blank", size="16Mi"),
            ]
            then = [
                snapshot,
                of(image("from-disk", ""), "VirtualDisk", "from-http"),
                of(on_volume(image("volume-from-all", "")), "ClusterVirtualImage", "all"),
                of(image("from-volume", ""), "VirtualImage", "volume"),
                of(disk("of-a-volume"), "VirtualImage", "volume"),
            ]
            last = [
                of(image("from-snapshot", ""), "VirtualDiskSnapshot", "snapshot"),
                of(disk("of-a-snapshot"), "VirtualDiskSnapshot", "snapshot"),
            ]
            for round_ in (first, then, last):
                for obj in round_:
                    daemon.create(obj)
                for obj in round_:
                    daemon.wait_phase(obj["kind"], obj["metadata"]["name"], "Ready", timeout=120)
        watcher.join()
    finally:
        moody.close()
    assert not watcher.broken
