"""Machines' instances, as clients of the reference look for them beside its own kinds."""

from __future__ import annotations

import json
from hashlib import md5
from typing import Any

from hyperd.resources.all import CLUSTER_VIRTUAL_IMAGE, VIRTUAL_DISK, VIRTUAL_IMAGE, VIRTUAL_MACHINE
from hyperd.resources.schema.kind import Kind, Object
from hyperd.roles import Role
from hyperd.store.interface import PatchType
from tests.unit.api.conftest import Api, machine
from tests.unit.api.test_identity import bearer, token

GROUP = "/apis/internal.virtualization.deckhouse.io/v1"
INSTANCES = f"{GROUP}/namespaces/default/internalvirtualizationvirtualmachineinstances"
MACHINES = f"{GROUP}/namespaces/default/internalvirtualizationvirtualmachines"
TABLE = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
SINCE = "2026-12-01T00:00:00Z"


async def shown(api: Api, kind: Kind, name: str, status: Object) -> str:
    """The object has that status; its uid."""
    namespace = "default" if kind.namespaced else ""
    patch = {"status": status}
    item = await api.store.patch(kind, namespace, name, PatchType.MERGE, patch, subresource="status")
    return item.uid


async def made(api: Api, kind: Kind, name: str, spec: Object, status: Object) -> str:
    body = {"metadata": {"name": name}, "spec": spec}
    await api.store.create(kind, "default" if kind.namespaced else "", body)
    return await shown(api, kind, name, status)


def state(phase: str, *refs: Object, since: str = SINCE, **more: Any) -> Object:
    running: Object = {"type": "Running", "status": "True", "reason": "Running", "lastTransitionTime": since}
    running |= {"message": "", "observedGeneration": 1}
    return {"phase": phase, "nodeName": "n1", "conditions": [running], "blockDeviceRefs": [*refs], **more}


def ref(kind: str, name: str, *, attached: bool = True, **more: Any) -> Object:
    return {"kind": kind, "name": name, "size": "1Mi", "attached": attached, **more}


async def with_devices(api: Api, **spec: Any) -> tuple[str, str]:
    """A machine ``vm`` that runs with a disk, a plugged image, a CD, and another disk that it waits for."""
    http = {"type": "HTTP", "http": {"url": "http://h/image"}}
    registry = {"storage": "ContainerRegistry", "dataSource": http}
    blank = {"persistentVolumeClaim": {"size": "1Mi"}}
    disk = await made(api, VIRTUAL_DISK, "root", blank, {"target": {"persistentVolumeClaimName": "d8v-vd-1"}})
    await made(api, VIRTUAL_DISK, "late", blank, {})
    image = await made(api, VIRTUAL_IMAGE, "root", registry, {"cdrom": False})
    await made(api, CLUSTER_VIRTUAL_IMAGE, "root", {"dataSource": http}, {"cdrom": True})
    body = machine("vm")
    body["spec"] |= spec
    await api.store.create(VIRTUAL_MACHINE, "default", body)
    refs = (
        ref("VirtualDisk", "root", target="sda", bootOrder=1),
        ref("VirtualImage", "root", target="sdb", hotplugged=True),
        ref("ClusterVirtualImage", "root", target="sdc"),
        ref("VirtualDisk", "late", attached=False),
    )
    networks = [{"type": "Main", "macAddress": "02:00:00:00:00:01"}]
    await shown(api, VIRTUAL_MACHINE, "vm", state("Running", *refs, networks=networks))
    return disk, image


def serial(uid: str) -> str:
    return md5(uid.encode(), usedforsecurity=False).hexdigest()


async def test_its_devices_have_the_serials_that_the_guest_reads(api: Api) -> None:
    disk, image = await with_devices(api)
    status, found = await api.call("GET", f"{INSTANCES}/vm")
    assert status == 200
    assert (found["apiVersion"], found["kind"]) == (
        "internal.virtualization.deckhouse.io/v1",
        "InternalVirtualizationVirtualMachineInstance",
    )
    assert found["spec"]["domain"]["devices"] == {
        "disks": [
            {"name": "vd-root", "bootOrder": 1, "serial": serial(disk), "disk": {"bus": "scsi"}},
            {"name": "vi-root", "serial": serial(image), "disk": {"bus": "scsi", "readonly": True}},
            {"name": "cvi-root", "cdrom": {"bus": "scsi", "readonly": True}},
        ],
        "interfaces": [{"name": "default", "macAddress": "02:00:00:00:00:01", "model": "virtio"}],
    }
    assert found["spec"]["volumes"] == [
        {"name": "vd-root", "persistentVolumeClaim": {"claimName": "d8v-vd-1"}},
        {"name": "vi-root", "containerDisk": {"hotpluggable": True}},
        {"name": "cvi-root", "containerDisk": {}},
    ]
    assert [volume["target"] for volume in found["status"]["volumeStatus"]] == ["sda", "sdb", "sdc"]
    assert (found["status"]["phase"], found["status"]["nodeName"]) == ("Running", "n1")
    _, table = await api.call("GET", INSTANCES, headers=TABLE)
    assert table["rows"][0]["cells"][:3] == ["vm", "Running", "n1"]


async def test_a_disk_of_that_name_that_is_made_anew_is_another(api: Api) -> None:
    disk, _ = await with_devices(api)
    _, first = await api.call("GET", f"{INSTANCES}/vm")
    free: Object = {"metadata": {"finalizers": []}}
    await api.store.patch(VIRTUAL_DISK, "default", "root", PatchType.MERGE, free)
    await api.store.delete(VIRTUAL_DISK, "default", "root")
    _, without = await api.call("GET", f"{INSTANCES}/vm")
    assert [one["name"] for one in without["spec"]["domain"]["devices"]["disks"]] == ["vi-root", "cvi-root"]
    other = await made(api, VIRTUAL_DISK, "root", {"persistentVolumeClaim": {"size": "1Mi"}}, {})
    _, again = await api.call("GET", f"{INSTANCES}/vm")
    assert first["spec"]["domain"]["devices"]["disks"][0]["serial"] == serial(disk)
    assert again["spec"]["domain"]["devices"]["disks"][0]["serial"] == serial(other) != serial(disk)


async def test_it_comes_and_goes_with_the_machine_and_is_another_with_each_start(api: Api) -> None:
    await with_devices(api)
    _, listed = await api.call("GET", INSTANCES)
    (first,) = listed["items"]
    query = f"watch=1&resourceVersion={listed['metadata']['resourceVersion']}"
    async with api.client.get(f"http://h{INSTANCES}?{query}") as answer:
        await shown(api, VIRTUAL_MACHINE, "vm", state("Stopping"))
        await shown(api, VIRTUAL_MACHINE, "vm", state("Stopped"))
        told = [json.loads(await answer.content.readline())["type"] for _ in range(2)]
    assert told[1] == "DELETED"
    assert (await api.call("GET", f"{INSTANCES}/vm"))[0] == 404
    await shown(api, VIRTUAL_MACHINE, "vm", state("Starting", since="2026-12-01T00:01:00Z"))
    _, second = await api.call("GET", f"{INSTANCES}/vm")
    assert second["status"]["phase"] == "Scheduling"
    assert second["metadata"]["uid"] != first["metadata"]["uid"]


async def test_without_paravirtualization_only_what_is_plugged_is_on_scsi(api: Api) -> None:
    await with_devices(api, enableParavirtualization=False)
    _, found = await api.call("GET", f"{INSTANCES}/vm")
    devices = found["spec"]["domain"]["devices"]
    buses = [(disk.get("disk") or disk["cdrom"])["bus"] for disk in devices["disks"]]
    assert buses == ["sata", "scsi", "sata"]
    assert devices["interfaces"][0]["model"] == "e1000"


async def test_the_disk_that_provisions_is_there_until_the_guest_lets_go_of_it(api: Api) -> None:
    await with_devices(api, provisioning={"type": "UserData", "userData": "#cloud-config\n"})

    async def volumes() -> list[str]:
        _, found = await api.call("GET", f"{INSTANCES}/vm")
        assert [one["name"] for one in found["spec"]["domain"]["devices"]["disks"]] == [
            one["name"] for one in found["spec"]["volumes"]
        ]
        return [one["name"] for one in found["spec"]["volumes"]]

    assert (await volumes())[-1] == "cloudinit"
    _, found = await api.call("GET", f"{INSTANCES}/vm")
    own = serial(f"{found['metadata']['ownerReferences'][0]['uid']}/cloudinit")
    seed = {"name": "cloudinit", "serial": own, "disk": {"bus": "scsi", "readonly": True}}
    assert found["spec"]["domain"]["devices"]["disks"][-1] == seed
    gone = {"spec": {"provisioning": None}}
    await api.store.patch(VIRTUAL_MACHINE, "default", "vm", PatchType.MERGE, gone)
    assert await volumes() == ["vd-root", "vi-root", "cvi-root"]
    current = {"type": "SysprepRef", "sysprepRef": {"kind": "Secret", "name": "s"}}
    change = {"operation": "remove", "path": "provisioning", "currentValue": current}
    await shown(api, VIRTUAL_MACHINE, "vm", {"restartAwaitingChanges": [change]})
    assert (await volumes())[-1] == "sysprep"
    _, found = await api.call("GET", f"{INSTANCES}/vm")
    disc = {"name": "sysprep", "cdrom": {"bus": "scsi", "readonly": True}}
    assert found["spec"]["domain"]["devices"]["disks"][-1] == disc


async def test_the_machine_beside_it_has_the_same_volumes_and_is_there_when_it_is_off(api: Api) -> None:
    await with_devices(api, nodeSelector={"zone": "a"}, provisioning={"type": "UserData", "userData": "#!/bin/sh"})
    _, instance = await api.call("GET", f"{INSTANCES}/vm")
    status, found = await api.call("GET", f"{MACHINES}/vm")
    assert (status, found["kind"]) == (200, "InternalVirtualizationVirtualMachine")
    assert found["spec"]["template"]["spec"] == instance["spec"]
    assert found["spec"]["template"]["spec"]["nodeSelector"] == {"zone": "a"}
    assert found["metadata"]["uid"] != instance["metadata"]["uid"]
    assert found["status"] == {"created": True, "ready": True, "printableStatus": "Running"}
    off = state("Stopped", ref("VirtualDisk", "root", attached=False), ref("VirtualDisk", "late", attached=False))
    await shown(api, VIRTUAL_MACHINE, "vm", {**off, "nodeName": None})
    _, again = await api.call("GET", f"{MACHINES}/vm")
    named = [volume["name"] for volume in again["spec"]["template"]["spec"]["volumes"]]
    assert named == ["vd-root", "vd-late", "cloudinit"]
    assert again["status"] == {"created": False, "ready": False, "printableStatus": "Stopped"}
    assert again["metadata"]["uid"] == found["metadata"]["uid"]
    _, table = await api.call("GET", MACHINES, headers=TABLE)
    assert table["rows"][0]["cells"][:3] == ["vm", "Stopped", False]


async def test_nobody_writes_it_and_only_who_may_read_the_namespace_reads_it(api: Api) -> None:
    await with_devices(api)
    status, refused = await api.call("DELETE", f"{INSTANCES}/vm")
    assert (status, refused["reason"]) == (405, "MethodNotAllowed")
    other = bearer(await token(api, "guest", Role.VIEWER, "elsewhere"))
    assert (await api.call("GET", f"{INSTANCES}/vm", headers=other))[0] == 403
    own = bearer(await token(api, "reader", Role.VIEWER, "default"))
    assert (await api.call("GET", f"{INSTANCES}/vm", headers=own))[0] == 200
