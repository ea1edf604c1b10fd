"""Images stay what they were made from; disks grow and never shrink."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from hyperd.admission.context import Policy
from hyperd.resources.schema.kind import Object
from hyperd.settings import ClassRules
from hyperd.store.interface import SYSTEM
from tests.unit.admission.world import World, changed, make, stored, told

URL = {"type": "HTTP", "http": {"url": "https://example.com/a.qcow2"}}
OTHER = {"type": "HTTP", "http": {"url": "https://example.com/b.qcow2"}}
STORAGE_CLASS: Object = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {"name": "local"},
    "provisioner": "hyperd.local/directory",
}


def image(kind: str = "VirtualImage", name: str = "debian", **parts: Any) -> Object:
    return make(kind, name, spec={"dataSource": copy.deepcopy(URL)}, **parts)


def on_volume(**spec: Any) -> Object:
    return changed(image(), storage="PersistentVolumeClaim", **spec)


def disk(size: object = "10Gi", **parts: Any) -> Object:
    claim = {} if size is None else {"size": size}
    return make("VirtualDisk", "root", spec={"persistentVolumeClaim": claim}, **parts)


@pytest.mark.parametrize("obj", [image(name="a.b"), image("ClusterVirtualImage", "a.b")], ids=["vi", "cvi"])
async def test_a_dot_in_a_name_is_refused_at_first_and_warned_of_later(obj: Object) -> None:
    assert told(await World().create(obj)) == [
        f'metadata.name: Invalid value: "a.b": the name of a {obj["kind"]} must not contain "."'
    ]
    response = await World().update(stored(obj), changed(obj, dataSource=OTHER))
    assert response.causes == []
    assert 'must not contain "."' in response.warnings[0]


async def test_a_disk_has_no_dot_in_its_name() -> None:
    obj = disk()
    obj["metadata"]["name"] = "a.b"
    assert told(await World().create(obj)) == [
        'metadata.name: Invalid value: "a.b": the name of a VirtualDisk must not contain "."'
    ]


@pytest.mark.parametrize(
    ("obj", "finalizer"),
    [(image(), "vi-cleanup"), (image("ClusterVirtualImage"), "cvi-cleanup"), (disk(), "vd-cleanup")],
    ids=["vi", "cvi", "vd"],
)
async def test_objects_are_born_with_their_finalizer(obj: Object, finalizer: str) -> None:
    response = await World().create(obj)
    assert response.causes == []
    assert response.object is not None
    assert response.object["metadata"]["finalizers"] == [f"virtualization.deckhouse.io/{finalizer}"]


async def test_a_source_has_a_type() -> None:
    obj = changed(image(), dataSource={})
    assert told(await World().create(obj)) == [
        "spec.dataSource.type: Required value: one of HTTP, ContainerImage, ObjectRef, Upload"
    ]


@pytest.mark.parametrize("phase", ["Ready", "ImageLost", "PVCLost"])
async def test_an_image_that_is_there_keeps_its_source(phase: str) -> None:
    old = stored(image(status={"phase": phase}))
    assert told(await World().update(old, changed(old, dataSource=OTHER))) == [
        "spec.dataSource: Forbidden: data source cannot be changed: the VirtualImage has already been provisioned"
    ]
    claim = {"storageClassName": "local"}
    lines = told(await World([STORAGE_CLASS]).update(old, changed(old, persistentVolumeClaim=claim)))
    assert "storage class cannot be changed" in lines[0]


async def test_before_that_the_source_may_change() -> None:
    old = stored(image(status={"phase": "Failed"}))
    assert told(await World().update(old, changed(old, dataSource=OTHER))) == []


@pytest.mark.parametrize("obj", [image(), disk(), image("ClusterVirtualImage")], ids=["vi", "vd", "cvi"])
async def test_what_is_being_deleted_keeps_its_spec(obj: Object) -> None:
    old = stored(obj)
    old["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    new = changed(old, dataSource=OTHER)
    assert told(await World().update(old, new)) == [
        "spec: Forbidden: the object is being deleted, its specification cannot be changed"
    ]


async def test_a_finalizer_is_taken_off_by_a_client_that_adds_empty_blocks() -> None:
    old = stored(image())
    old["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    new = changed(old, persistentVolumeClaim={})
    new["metadata"]["finalizers"] = []
    assert told(await World().update(old, new)) == []


async def test_a_cluster_image_that_is_there_keeps_its_spec() -> None:
    old = stored(image("ClusterVirtualImage", status={"phase": "Ready"}))
    assert told(await World().update(old, changed(old, dataSource=OTHER))) == [
        "spec: Forbidden: ClusterVirtualImage is in a Ready state: configuration changes are not available"
    ]


async def test_a_missing_storage_class_is_refused() -> None:
    claim = {"size": "1Gi", "storageClassName": "fast"}
    line = 'spec.persistentVolumeClaim.storageClassName: Invalid value: "fast": StorageClass "fast" does not exist'
    assert told(await World([STORAGE_CLASS]).create(changed(disk(), persistentVolumeClaim=claim))) == [line]
    fast = {"storageClassName": "fast"}
    assert told(await World([STORAGE_CLASS]).create(on_volume(persistentVolumeClaim=fast))) == [line]
    assert told(await World([STORAGE_CLASS]).create(changed(image(), persistentVolumeClaim=fast))) == []
    claim["storageClassName"] = "local"
    assert told(await World([STORAGE_CLASS]).create(changed(disk(), persistentVolumeClaim=claim))) == []


async def test_the_old_name_of_a_storage_is_told() -> None:
    response = await World().create(changed(image(), storage="Kubernetes"))
    assert "spec.storage: Kubernetes is an old name: use PersistentVolumeClaim" in response.warnings


async def test_a_storage_class_that_the_settings_do_not_allow_is_refused() -> None:
    rules = ClassRules(allowed_storage_classes=("slow", "other"))
    policy = Policy(disk_classes=rules, image_classes=rules)
    claim = {"size": "1Gi", "storageClassName": "local"}
    for obj, of in ((disk(), "disks"), (on_volume(), "images")):
        world = World([STORAGE_CLASS], policy=policy)
        one = {**claim} if of == "disks" else {"storageClassName": "local"}
        assert told(await world.create(changed(obj, persistentVolumeClaim=one))) == [
            "spec.persistentVolumeClaim.storageClassName: Forbidden: "
            f'StorageClass "local" is not allowed for {of} here; use slow or other.'
        ]


async def test_an_image_on_a_volume_needs_a_class_and_stays_on_its_volume() -> None:
    (line,) = told(await World([STORAGE_CLASS]).create(on_volume()))
    assert line.startswith(
        "spec.persistentVolumeClaim.storageClassName: Required value: There is no default StorageClass"
    )
    local = {"storageClassName": "local"}
    assert told(await World([STORAGE_CLASS]).create(on_volume(persistentVolumeClaim=local))) == []
    rules = Policy(image_classes=ClassRules(default_storage_class="local"))
    assert told(await World([STORAGE_CLASS], policy=rules).create(on_volume())) == []
    marked = {"name": "local", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}
    world = World([{**STORAGE_CLASS, "metadata": marked}])
    assert told(await world.create(on_volume())) == []
    there = {"phase": "Ready", "target": {"persistentVolumeClaimName": "d8v-vi-uid"}}
    old = stored({**on_volume(), "status": there})
    assert told(await world.update(old, changed(old, storage="Kubernetes"))) == []
    assert told(await world.update(old, changed(old, storage="ContainerRegistry"))) == [
        "spec.storage: Forbidden: storage cannot be changed: the VirtualImage has already been provisioned"
    ]


@pytest.mark.parametrize("kind", ["VirtualDiskSnapshot", "VirtualImage"])
async def test_a_disk_of_what_is_on_a_volume_is_of_its_provisioner(kind: str) -> None:
    spec: Object = {"virtualDiskName": "root"} if kind == "VirtualDiskSnapshot" else on_volume()["spec"]
    status: Object = {"phase": "Ready", "source": {"uid": "u", "size": "1Gi", "storageClassName": "local"}}
    if kind == "VirtualImage":
        status = {"phase": "Ready", "storageClassName": "local"}
    other = {**STORAGE_CLASS, "metadata": {"name": "fast"}, "provisioner": "hyperd.local/reflink"}
    same = {**STORAGE_CLASS, "metadata": {"name": "alike"}}
    world = World([STORAGE_CLASS, other, same, make(kind, "one", spec=spec, status=status)])
    source = {"type": "ObjectRef", "objectRef": {"kind": kind, "name": "one"}}

    async def answer(class_: str) -> list[str]:
        claim = {"size": "1Gi", "storageClassName": class_}
        return told(await world.create(changed(disk(), dataSource=source, persistentVolumeClaim=claim)))

    assert await answer("local") == await answer("alike") == []
    (line,) = await answer("fast")
    assert 'is of StorageClass "local", whose provisioner is another one' in line


@pytest.mark.parametrize("kind", ["VirtualDiskSnapshot", "VirtualImage", "VirtualDisk"])
async def test_an_image_on_a_volume_is_of_the_provisioner_of_what_it_is_made_of(kind: str) -> None:
    spec: Object = {"virtualDiskName": "root"} if kind == "VirtualDiskSnapshot" else on_volume()["spec"]
    status: Object = {"phase": "Ready", "storageClassName": "local"}
    if kind == "VirtualDiskSnapshot":
        status = {"phase": "Ready", "source": {"uid": "u", "size": "1Gi", "storageClassName": "local"}}
    other = {**STORAGE_CLASS, "metadata": {"name": "fast"}, "provisioner": "hyperd.local/reflink"}
    world = World([STORAGE_CLASS, other, make(kind, "one", spec=spec, status=status)])
    source = {"type": "ObjectRef", "objectRef": {"kind": kind, "name": "one"}}

    async def answer(class_: str, name: str = "one") -> list[str]:
        claim = {"storageClassName": class_}
        named = {**source, "objectRef": {"kind": kind, "name": name}}
        return told(await world.create(on_volume(dataSource=named, persistentVolumeClaim=claim)))

    assert await answer("local") == await answer("fast", "later") == []
    (line,) = await answer("fast")
    assert f'{kind} "one" is of StorageClass "local", whose provisioner is another one than that of "fast"' in line
    assert told(await world.create(changed(image(), dataSource=source))) == [], (
        "the registry takes it from anywhere"
    )


async def test_a_blank_disk_needs_a_size() -> None:
    assert told(await World().create(disk(None))) == [
        "spec.persistentVolumeClaim.size: Required value: a blank disk needs a size, such as 10Gi"
    ]


@pytest.mark.parametrize("size", ["0", "-1Gi", "8Ei", "1e9999", 0])
async def test_a_size_is_a_sensible_quantity(size: object) -> None:
    (line,) = told(await World().create(disk(size)))
    assert line.startswith("spec.persistentVolumeClaim.size: Invalid value: ")


@pytest.mark.parametrize("phase", ["", "Pending", "Ready"])
async def test_a_disk_grows_and_never_shrinks(phase: str) -> None:
    old = stored(disk(status={"phase": phase} if phase else {}))
    assert told(await World().update(old, changed(old, persistentVolumeClaim={"size": "20Gi"}))) == []
    assert told(await World().update(old, changed(old, persistentVolumeClaim={"size": "10240Mi"}))) == []
    assert told(await World().update(old, changed(old, persistentVolumeClaim={"size": "5Gi"}))) == [
        'spec.persistentVolumeClaim.size: Invalid value: "5Gi": a disk cannot shrink: its size is 10Gi'
    ]
    assert told(await World().update(old, changed(old, persistentVolumeClaim={}))) == [
        "spec.persistentVolumeClaim.size: Forbidden: the size cannot be removed once it is set"
    ]


async def test_a_migrating_disk_does_not_grow() -> None:
    old = stored(disk(status={"phase": "Migrating"}))
    lines = told(await World().update(old, changed(old, persistentVolumeClaim={"size": "20Gi"})))
    assert "cannot be changed while the disk is migrating" in lines[0]


async def test_a_disk_that_is_there_keeps_its_source() -> None:
    old = stored(disk(status={"phase": "Ready", "storageClassName": "local"}))
    assert told(await World().update(old, changed(old, dataSource=URL))) == [
        "spec.dataSource: Forbidden: data source cannot be changed: the VirtualDisk has already been provisioned",
    ]


def in_class(obj: Object, name: str | None) -> Object:
    claim = {"size": "10Gi"} if name is None else {"size": "10Gi", "storageClassName": name}
    return changed(obj, persistentVolumeClaim=claim)


async def test_a_disk_that_is_there_moves_to_a_class_that_there_is() -> None:
    fast = {**STORAGE_CLASS, "metadata": {"name": "fast"}}
    world = World([STORAGE_CLASS, fast])
    old = stored(disk(status={"phase": "Ready", "storageClassName": "local"}))
    for name in (None, "local", "fast"):
        assert told(await world.update(old, in_class(old, name))) == []
    path = "spec.persistentVolumeClaim.storageClassName"
    assert told(await world.update(old, in_class(old, "none"))) == [
        f'{path}: Invalid value: "none": StorageClass "none" does not exist'
    ]
    policy = Policy(disk_classes=ClassRules(allowed_storage_classes=("local",)))
    (line,) = told(await World([STORAGE_CLASS, fast], policy=policy).update(old, in_class(old, "fast")))
    assert "not allowed for disks here" in line
    lost = stored(disk(status={"phase": "PVCLost", "storageClassName": "local"}))
    (line,) = told(await world.update(lost, in_class(lost, "fast")))
    assert "there is nothing to move" in line


async def test_a_disk_on_its_way_may_only_be_sent_back() -> None:
    classes = [{**STORAGE_CLASS, "metadata": {"name": name}} for name in ("local", "fast", "other")]
    old = stored(in_class(disk(status={"phase": "Migrating", "storageClassName": "local"}), "fast"))
    for name in (None, "local"):
        assert told(await World(classes).update(old, in_class(old, name))) == []
    assert told(await World(classes).update(old, in_class(old, "other"))) == [
        'spec.persistentVolumeClaim.storageClassName: Forbidden: the disk is being moved to StorageClass "fast": '
        'until that is done it may only be set back to "local"'
    ]


async def test_what_will_fail_is_told_before() -> None:
    status = {"phase": "Ready", "cdrom": True, "size": {"unpackedBytes": str(3 << 30)}}
    source = {"type": "ObjectRef", "objectRef": {"kind": "VirtualImage", "name": "debian"}}
    response = await World([image(status=status)]).create(changed(disk("2Gi"), dataSource=source))
    assert response.causes == []
    assert response.warnings == [
        'VirtualImage "debian" is an ISO image: a disk cannot be made from it',
        "spec.persistentVolumeClaim.size: smaller than the image, which unpacks to 3Gi: the disk will fail to be "
        "provisioned",
    ]


async def test_an_image_that_is_not_there_yet_is_waited_for() -> None:
    source = {"type": "ObjectRef", "objectRef": {"kind": "ClusterVirtualImage", "name": "later"}}
    response = await World().create(changed(disk(None), dataSource=source))
    assert response.causes == []
    assert response.warnings == []


async def test_a_disk_stays_on_the_node_that_keeps_it() -> None:
    annotation = "volume.kubernetes.io/selected-node"
    bound = disk()
    bound["metadata"]["annotations"] = {annotation: "a"}
    moved = changed(bound, persistentVolumeClaim={"size": "20Gi"})
    moved["metadata"]["annotations"] = {annotation: "b"}
    assert told(await World().update(stored(bound), moved)) == [
        f"metadata.annotations[{annotation}]: Forbidden: the disk is on node a and cannot be moved"
    ]
    claims = Policy(claims=True)
    ours = await World(policy=claims, user=SYSTEM).update(stored(bound), moved)
    assert ours.causes == [], "a claim goes with its machine's Pod"
    assert told(await World(policy=claims).update(stored(bound), moved)) != []
    silent = changed(bound, persistentVolumeClaim={"size": "20Gi"})
    del silent["metadata"]["annotations"]
    response = await World().update(stored(bound), silent)
    assert response.causes == []
    assert response.object is not None
    assert response.object["metadata"]["annotations"] == {annotation: "a"}
