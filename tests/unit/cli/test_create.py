"""A machine in one line: what is made of it, what is refused, and what is not left over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.tui.world import World
from tests.unit.cli.conftest import Hv

KEY = 'ssh-ed25519 AAAAC3Nza test@host: "quoted" # no comment'


async def made(hv: Hv, kind: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((await hv("get", kind, name, "-n", "shop", "-o", "json")).out)
    return found


async def test_a_machine_gets_a_disk_of_the_image_and_keys(hv: Hv, tmp_path: Path) -> None:
    key = tmp_path / "id.pub"
    key.write_text(f"{KEY}\n")
    told = await hv(
        "create", "vm", "web", "--image", "debian-12", "--cpu", "2", "--core-fraction", "50%", "--memory", "2Gi",
        "--disk", "40Gi", "--ssh-key", str(key), "--ssh-key", "ssh-rsa AAAA b", "--attach", "vd/data",
        "--label", "app=web", "-n", "shop",
    )  # fmt: skip
    assert told.out.splitlines() == ["virtualdisk/web-root created", "virtualmachine/web created"]
    root, machine = await made(hv, "vd", "web-root"), await made(hv, "vm", "web")
    assert root["spec"]["dataSource"]["objectRef"] == {"kind": "VirtualImage", "name": "debian-12"}
    assert root["spec"]["persistentVolumeClaim"]["size"] == "40Gi"
    spec = machine["spec"]
    assert [device["name"] for device in spec["blockDeviceRefs"]] == ["web-root", "data"]
    assert (spec["cpu"]["cores"], spec["cpu"]["coreFraction"], spec["memory"]["size"]) == (2, "50%", "2Gi")
    assert machine["metadata"]["labels"] == {"app": "web"}
    text = spec["provisioning"]["userData"]
    assert text.startswith("#cloud-config\n")
    assert yaml.safe_load(text) == {"ssh_authorized_keys": [KEY, "ssh-rsa AAAA b"]}


async def test_what_cannot_be_made_leaves_nothing_over(hv: Hv, world: World) -> None:
    await hv("create", "vm", "web-7", "--image", "debian-12", "-n", "shop", code=1)
    await hv("create", "vm", "new", "--image", "debian-12", "--memory", "much", "-n", "shop", code=1)
    assert not {"new-root"} & set(await world.names("virtualdisks"))
    refused = await hv("create", "vm", "new", "--image", "nosuch", "-n", "shop", code=1)
    assert "no image nosuch" in refused.err
    assert "needs a disk" in (await hv("create", "vm", "new", "-n", "shop", code=1)).err
    assert "--cpu is nothing of a disk" in (await hv("create", "disk", "d", "--cpu", "2", code=1)).err
    assert "--size" in (await hv("create", "disk", "d", code=1)).err
    assert "not pod" in (await hv("create", "pod", "d", code=1)).err


async def test_a_private_key_is_not_put_into_a_machine(hv: Hv, world: World, tmp_path: Path) -> None:
    key = tmp_path / "id"
    key.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nsecret\n")
    refused = await hv("create", "vm", "new", "--image", "debian-12", "--ssh-key", str(key), "-n", "shop", code=1)
    assert "no public key" in refused.err
    assert "secret" not in refused.err
    assert "new" not in await world.names("virtualmachines")


async def test_a_dry_run_prints_a_manifest_that_apply_takes(hv: Hv, world: World) -> None:
    planned = await hv("create", "vm", "web", "--image", "vi/debian-12", "--dry-run", "-o", "yaml", "-n", "shop")
    assert "web" not in await world.names("virtualmachines")
    await hv("apply", "-f", "-", stdin=planned.out)
    assert "web" in await world.names("virtualmachines")


async def test_disks_images_and_namespaces_too(hv: Hv, world: World) -> None:
    await hv("create", "namespace", "new")
    await hv("create", "disk", "data", "--size", "8Gi", "-n", "shop")
    await hv("create", "image", "alpine", "--url", "https://images.example/a.qcow2", "-n", "shop")
    await hv("create", "cvi", "alpine", "--url", "https://images.example/a.qcow2")
    assert (await made(hv, "vd", "data"))["spec"]["persistentVolumeClaim"]["size"] == "8Gi"
    assert (await made(hv, "vi", "alpine"))["spec"]["storage"] == "ContainerRegistry"
    assert "alpine" in await world.names("clustervirtualimages")


@pytest.mark.parametrize("size", [2000, 3000])
async def test_user_data_fits_or_is_refused_in_words(hv: Hv, tmp_path: Path, size: int) -> None:
    file = tmp_path / "user-data"
    file.write_text("#cloud-config\n" + "#" * size)
    code = 0 if size < 2048 else 1
    told = await hv(
        "create", "vm", "web", "--image", "debian-12", "--user-data", str(file), "-n", "shop", code=code
    )
    assert code == 0 or "Secret" in told.err


async def test_a_pool_has_a_disk_of_the_image_for_each_machine(hv: Hv) -> None:
    told = await hv(
        "create", "pool", "build", "--image", "debian-12", "--replicas", "0", "--cpu", "4", "--disk", "40Gi",
        "--scale-down", "OldestFirst", "-n", "shop",
    )  # fmt: skip
    assert told.out == "virtualmachinepool/build created\n"
    spec = (await made(hv, "vmpool", "build"))["spec"]
    assert (spec["replicas"], spec["scaleDownPolicy"]) == (0, "OldestFirst")
    (root,) = spec["virtualDiskTemplates"]
    assert root["spec"]["dataSource"]["objectRef"] == {"kind": "VirtualImage", "name": "debian-12"}
    assert root["spec"]["persistentVolumeClaim"]["size"] == "40Gi"
    machine = spec["virtualMachineTemplate"]["spec"]
    assert [device["name"] for device in machine["blockDeviceRefs"]] == [root["name"]]
    assert machine["cpu"]["cores"] == 4
    for words in (
        ["pool", "p"],
        ["pool", "p", "--image", "debian-12", "--ip", "x"],
        ["vm", "p", "--replicas", "2"],
    ):
        await hv("create", *words, "-n", "shop", code=1)
    assert "hv wait" in (await hv("create", "pool", "p", "--image", "debian-12", "--wait", code=1)).err
