"""``hv disk backup`` and ``restore``, into a registry that is not hyperd's and from there into another hyperd."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from hyperd.client.chunks import CHUNK_BYTES
from hyperd.resources.all import VIRTUAL_DISK, VIRTUAL_DISK_SNAPSHOT
from tests.unit.cli.registry import registry
from tests.unit.cli.test_disk import Hv, exporting
from tests.unit.controllers.exporting import EXPECTED, MIB, SIZE, Exporting, write
from tests.unit.controllers.world import running

pytestmark = [
    pytest.mark.skipif(shutil.which("docker-registry") is None, reason="needs a registry"),
    pytest.mark.loop_seconds(1, "the tests pack, hash and compare whole disks"),
]
PLAIN = "--plain-http"


async def manifest(host: str, tag: str, name: str = "b/vm") -> Any:
    accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
    url = f"http://{host}/v2/{name}/manifests/{tag}"
    async with aiohttp.ClientSession() as client, client.get(url, headers=accept) as answer:
        return json.loads(await answer.read()) if answer.status == 200 else None


async def content(hv: Hv, name: str) -> bytes:
    await hv("disk", "export", f"vd/{name}", "-o", f"{name}.check")
    path = hv.folder / f"{name}.check"
    found = path.read_bytes()
    path.unlink()
    return found


async def test_any_of_several_backups_comes_back_in_another_hyperd_after_the_first_is_gone(tmp_path: Path) -> None:
    async with registry(tmp_path) as host:
        async with exporting(tmp_path) as (lab, hv):
            path = await lab.disk()
            first = await hv("disk", "backup", "vd/vm", f"{host}/b/vm:one", PLAIN)
            # Of 48 MiB the first 4 and the last 4 hold something.
            assert "48.0 MiB, 8.0 MiB of it sent. Digest sha256:" in first.out
            again = await hv("disk", "backup", "vd/vm", f"{host}/b/vm:same", PLAIN)
            assert "48.0 MiB, 0 B of it sent" in again.out
            await asyncio.to_thread(write, path, "write -q -P 6 20M 64k")
            changed = await hv("disk", "backup", "vd/vm", f"{host}/b/vm", PLAIN)
            assert "48.0 MiB, 4.0 MiB of it sent" in changed.out
            tag = changed.out.partition("b/vm:")[2].partition(":")[0]
        shutil.rmtree(lab.world.state_dir, ignore_errors=True)
        one, two = await manifest(host, "one"), await manifest(host, tag)
        assert two == await manifest(host, "latest")
        assert [layer["digest"] for layer in two["layers"][1:]][:1] == [one["layers"][1]["digest"]]
        later = bytearray(EXPECTED)
        later[20 * MIB : 20 * MIB + 65536] = b"\6" * 65536
        async with whole(tmp_path) as (lab, hv):
            said = await hv("disk", "restore", f"{host}/b/vm:one", "vd/back", PLAIN)
            assert said.out.splitlines()[-1] == "virtualdisk/back is Ready"
            assert await content(hv, "back") == EXPECTED
            await hv("disk", "restore", f"{host}/b/vm:{tag}", "vd/later", PLAIN)
            assert await content(hv, "later") == later
            disk = await lab.world.phase("Ready", VIRTUAL_DISK, "later")
            assert disk["status"]["capacity"] == "48Mi"


@asynccontextmanager
async def whole(tmp_path: Path) -> AsyncIterator[tuple[Exporting, Hv]]:
    """A daemon with a registry of its own, through which disks are restored."""
    async with running(registry={}) as world:
        connector = aiohttp.UnixConnector(path=str(world._settings.socket_path))
        async with aiohttp.ClientSession(connector=connector) as client:
            yield Exporting(world, client), Hv(world._settings.socket_path, tmp_path)


async def test_a_deleted_backup_takes_nothing_from_the_others(tmp_path: Path) -> None:
    async with registry(tmp_path) as host, whole(tmp_path) as (lab, hv):
        path = await lab.disk()
        await hv("disk", "backup", "vd/vm", f"{host}/b/vm:one", PLAIN)
        digest = (await hv("disk", "backup", "vd/vm", f"{host}/b/vm:one", PLAIN)).out.split()[-1]
        await asyncio.to_thread(write, path, "write -q -P 6 20M 64k")
        await hv("disk", "backup", "vd/vm", f"{host}/b/vm:two", PLAIN)
        assert len((await manifest(host, "two"))["layers"]) == 3, "index, what the first has, what is new"
        async with (
            aiohttp.ClientSession() as client,
            client.delete(f"http://{host}/v2/b/vm/manifests/{digest}") as answer,
        ):
            assert answer.status == 202
        collect = ["docker-registry", "garbage-collect", "-m", f"{tmp_path}/registry.yml"]
        await asyncio.to_thread(lambda: subprocess.run(collect, check=True, capture_output=True))
        assert await manifest(host, "one") is None
        await hv("disk", "restore", f"{host}/b/vm:two", "vd/back", PLAIN)
        expected = bytearray(EXPECTED)
        expected[20 * MIB : 20 * MIB + 65536] = b"\6" * 65536
        assert await content(hv, "back") == expected
        said = await hv("disk", "backup", "vd/vm", f"{host}/b/vm:full", PLAIN, "--full")
        assert "12.0 MiB of it sent" in said.out


async def test_a_tag_of_something_else_is_not_taken_for_the_last_backup(tmp_path: Path) -> None:
    async with registry(tmp_path) as host, exporting(tmp_path) as (lab, hv):
        await lab.disk()
        await hv("image", "push", "vd/vm", f"{host}/b/vm:latest", PLAIN)
        before = await manifest(host, "latest")
        for full in ((), ("--full",)):
            said = await hv("disk", "backup", "vd/vm", f"{host}/b/vm:one", PLAIN, *full, code=1)
            assert said.err.endswith("hv: What is there is no backup of a disk.\n")
        assert await manifest(host, "latest") == before


async def test_a_backup_of_a_snapshot_of_a_running_disk(tmp_path: Path) -> None:
    async with registry(tmp_path) as host, exporting(tmp_path) as (lab, hv):
        await lab.disk()
        body = {"metadata": {"namespace": "default", "name": "night"}, "spec": {"virtualDiskName": "vm"}}
        await lab.world.store.create(VIRTUAL_DISK_SNAPSHOT, "default", body)
        await lab.world.phase("Ready", VIRTUAL_DISK_SNAPSHOT, "night")
        await lab.world.make_machine()
        await lab.world.phase("Running")
        refused = await hv("disk", "backup", "vd/vm", f"{host}/b/vm:one", PLAIN, code=1)
        assert "make a VirtualDiskSnapshot of the disk and export that" in refused.err
        assert await manifest(host, "one") is None
        assert "Backed up" in (await hv("disk", "backup", "vds/night", f"{host}/b/vm:one", PLAIN)).out


async def damaged(tmp_path: Path, host: str, what: int) -> None:
    """Another content in the registry's files, under the same digest."""
    digest = (await manifest(host, "one"))["layers"][what]["digest"].partition(":")[2]
    blob = tmp_path / "registry/docker/registry/v2/blobs/sha256" / digest[:2] / digest / "data"
    whole = bytearray(blob.read_bytes())
    whole[len(whole) // 2] ^= 1
    blob.write_bytes(whole)


@pytest.mark.parametrize(
    ("what", "sentence"), [(0, "sends something else than sha256:"), (1, "is damaged in the")]
)
async def test_what_is_damaged_in_the_registry_is_told_and_makes_no_disk(
    tmp_path: Path, what: int, sentence: str
) -> None:
    async with registry(tmp_path) as host, whole(tmp_path) as (lab, hv):
        await lab.disk()
        await hv("disk", "backup", "vd/vm", f"{host}/b/vm:one", PLAIN)
        await damaged(tmp_path, host, what)
        said = await hv("disk", "restore", f"{host}/b/vm:one", "vd/back", PLAIN, code=1)
        assert sentence in said.err
        if what:
            await lab.world.phase("WaitForUserUpload", VIRTUAL_DISK, "back")
        else:
            assert await lab.world.store.find(VIRTUAL_DISK, "default", "back") is None


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("backup", "vd/vm"), "Say where to: hv disk backup vd/root REGISTRY/REPOSITORY[:TAG]"),
        (("restore", "127.0.0.1:9/a:1"), "Say what to make of it: hv disk restore"),
        (("restore", "{host}/b/vm:none", "vd/back"), "/b/vm:none is not there."),
        (("restore", "{host}/b/vm:none", "vi/back"), "a disk is restored to a disk"),
        (("restore", "{host}/disks/vm:1", "vd/back"), "What is there is no backup of a disk."),
    ],
)
async def test_what_cannot_be_is_told(tmp_path: Path, arguments: tuple[str, ...], sentence: str) -> None:
    async with registry(tmp_path) as host, exporting(tmp_path) as (lab, hv):
        await lab.disk()
        await hv("image", "push", "vd/vm", f"{host}/disks/vm:1", PLAIN)
        words = [word.format(host=host) for word in arguments]
        assert sentence in (await hv("disk", *words, PLAIN, code=1)).err


def test_the_disk_of_the_tests_is_several_chunks() -> None:
    assert SIZE > 4 * CHUNK_BYTES
