"""Disks, snapshots and images are read out of a whole daemon, over its socket."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from hyperd.api.sessions import exports, sending
from hyperd.resources.all import VIRTUAL_DISK, VIRTUAL_DISK_SNAPSHOT, VIRTUAL_IMAGE
from hyperd.resources.schema.kind import Kind, Object
from hyperd.resources.values.conditions import find_condition
from hyperd.shares import Shares
from hyperd.store.interface import PatchType
from tests.unit.controllers.exporting import (
    DISK,
    EXPECTED,
    MIB,
    SIZE,
    SUBRESOURCES,
    Exporting,
    address,
    in_use,
    lab,
    write,
)

__all__ = ["lab"]
pytestmark = pytest.mark.loop_seconds(1, "the tests hash and compare whole disks")


def readers() -> list[int]:
    """Processes of this one that read volumes."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if any(word.endswith(b"qemu-nbd") for word in words) and is_below(int(entry.name)):
                found.append(int(entry.name))
    return found


def is_below(pid: int) -> bool:
    """Whether the process is one of this one's."""
    try:
        while pid not in (0, os.getpid()):
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return False
    return pid != 0


async def test_a_disk_is_read_raw_with_its_length_and_its_checksum(lab: Exporting) -> None:
    await lab.disk()
    digest = hashlib.sha256(EXPECTED).hexdigest()
    async with lab.get() as answer:
        assert (answer.status, answer.headers["Content-Length"]) == (200, str(SIZE))
        assert answer.headers["Content-Disposition"] == 'attachment; filename="vm.img"'
        assert "Repr-Digest" not in answer.headers, "it is not known yet"
        assert await answer.read() == EXPECTED
        etag = answer.headers["ETag"]
    async with lab.get(f"{DISK}?checksum=sha256") as answer:
        assert await answer.text() == f"{digest}  vm.img\n"
    async with lab.client.head(f"{SUBRESOURCES}/{DISK}/export") as answer:
        assert (answer.status, answer.headers["Content-Length"], answer.headers["ETag"]) == (200, str(SIZE), etag)
        assert answer.headers["Repr-Digest"].startswith("sha-256=:")
    disk = await lab.free()
    assert disk["status"]["phase"] == "Ready"


async def test_a_disk_is_read_as_a_qcow2_without_its_holes(lab: Exporting, tmp_path: Path) -> None:
    await lab.disk()
    async with lab.get(f"{DISK}?format=qcow2") as answer:
        assert answer.headers["Content-Disposition"] == 'attachment; filename="vm.qcow2"'
        image = await answer.read()
        assert int(answer.headers["Content-Length"]) == len(image) < 5 * MIB
    (tmp_path / "image").write_bytes(image)
    convert = ["qemu-img", "convert", "-f", "qcow2", "-O", "raw", f"{tmp_path}/image", f"{tmp_path}/raw"]
    await asyncio.to_thread(lambda: subprocess.run(convert, check=True))
    assert (tmp_path / "raw").read_bytes() == EXPECTED
    async with lab.get(f"{DISK}?format=qcow2&checksum=sha256") as answer:
        assert (await answer.text()).startswith(hashlib.sha256(image).hexdigest())
    assert await lab.read(f"{DISK}?format=qcow2", Range="bytes=70000-4000000") == (206, image[70000:4000001])


async def test_a_transfer_goes_on_where_it_broke_unless_the_disk_is_another(lab: Exporting) -> None:
    path = await lab.disk()
    async with lab.get(headers={"Range": "bytes=0-99"}) as answer:
        assert (answer.status, answer.headers["Content-Range"]) == (206, f"bytes 0-99/{SIZE}")
        etag = answer.headers["ETag"]
    rest = {"Range": f"bytes={3 * MIB - 10}-", "If-Range": etag}
    assert await lab.read(**rest) == (206, EXPECTED[3 * MIB - 10 :])
    assert (await lab.read(Range="bytes=-1048577"))[1] == b"\0" + b"\7" * MIB
    status, why = await lab.refusal(Range=f"bytes={SIZE}-")
    assert (status, why.startswith(f"The file has {SIZE} bytes")) == (416, True)
    await asyncio.to_thread(write, path, "write -q -P 6 0 64k")
    assert await lab.read(**rest) == (200, b"\6" * 65536 + EXPECTED[65536:])


async def test_the_checksum_of_what_nobody_has_read_yet_is_computed(lab: Exporting) -> None:
    await lab.disk()
    async with lab.get(f"{DISK}?checksum=sha256") as answer:
        lines = (await answer.text()).splitlines()
    assert lines[-1] == f"{hashlib.sha256(EXPECTED).hexdigest()}  vm.img"
    assert all(re.fullmatch(r"# \d+ %", line) for line in lines[:-1])


@pytest.mark.parametrize(
    ("query", "why"),
    [("format=vmdk", "format='vmdk' is neither raw nor qcow2."), ("checksum=md5", "checksum='md5' is not known")],
)
async def test_what_is_not_offered_is_told(lab: Exporting, query: str, why: str) -> None:
    status, message = await lab.refusal(f"{DISK}?{query}")
    assert (status, message.startswith(why)) == (400, True)
    assert (await lab.refusal())[0] == 404


async def test_a_disk_of_a_running_machine_is_refused_and_its_snapshot_is_read_meanwhile(lab: Exporting) -> None:
    path = await lab.disk()
    body: Object = {"metadata": {"namespace": "default", "name": "one"}, "spec": {"virtualDiskName": "vm"}}
    await lab.world.store.create(VIRTUAL_DISK_SNAPSHOT, "default", body)
    await lab.world.phase("Ready", VIRTUAL_DISK_SNAPSHOT, "one")
    top = next(one for one in path.parent.glob("*.qcow2") if one != path)
    await asyncio.to_thread(write, top, "write -q -P 6 0 1M")
    await lab.world.make_machine()
    await lab.world.phase("Running")
    status, why = await lab.refusal()
    assert status == 409
    assert why == (
        'VirtualDisk default/vm cannot be exported now: VirtualMachine "vm" uses it. Stop the machine, or make a '
        "VirtualDiskSnapshot of the disk and export that."
    )
    assert await lab.read("virtualdisksnapshots/one") == (200, EXPECTED)
    await lab.world.operate("Stop", "stop")
    await lab.world.phase("Stopped")
    assert await lab.read() == (200, b"\6" * MIB + EXPECTED[MIB:])


async def test_an_image_is_read_from_the_registry(lab: Exporting) -> None:
    await lab.disk()
    body: Object = {
        "metadata": {"name": "golden", "namespace": "default"},
        "spec": {
            "storage": "ContainerRegistry",
            "dataSource": {"type": "ObjectRef", "objectRef": {"kind": "VirtualDisk", "name": "vm"}},
        },
    }
    await lab.world.store.create(VIRTUAL_IMAGE, "default", body)
    await lab.world.phase("Ready", VIRTUAL_IMAGE, "golden")
    assert await lab.read("virtualimages/golden") == (200, EXPECTED)


class Reader:
    """One that has begun to read the disk, and reads no further."""

    def __init__(self, lab: Exporting) -> None:
        self._lab = lab

    async def __aenter__(self) -> Any:
        self._answer = await self._lab.get()
        await self._answer.content.readexactly(MIB)
        return self._answer

    async def __aexit__(self, *_: object) -> None:
        self._answer.close()


async def test_while_a_disk_is_exported_it_shows_so_and_is_nobodys_to_change(lab: Exporting) -> None:
    await lab.disk()
    world = lab.world
    async with Reader(lab) as answer:
        disk = await world.phase("Exporting", VIRTUAL_DISK)
        ready = find_condition(disk, "Ready")
        assert ready is not None
        assert (ready["status"], ready["reason"], in_use(disk)) == ("False", "Exporting", "UsedForDataExport")
        await world.make_machine()
        vm = await world.phase("Pending")
        waits = find_condition(vm, "BlockDevicesReady")
        assert waits is not None
        assert 'VirtualDisk "vm" is Exporting' in waits["message"]
        grown = {"spec": {"persistentVolumeClaim": {"size": "64Mi"}}}
        await world.store.patch(VIRTUAL_DISK, "default", "vm", PatchType.MERGE, grown)
        await world.until(
            lambda found: "grows after that" in (find_condition(found, "Resizing") or {}).get("message", ""),
            VIRTUAL_DISK,
            "vm",
        )
        assert (await answer.read())[: 2 * MIB] == b"\5" * (2 * MIB)
    await world.phase("Running")
    await world.until(lambda found: found["status"]["capacity"] == "64Mi", VIRTUAL_DISK, "vm")


async def test_a_disk_that_is_deleted_meanwhile_is_read_to_its_end_and_then_goes(lab: Exporting) -> None:
    path = await lab.disk()
    async with Reader(lab) as answer:
        await lab.world.store.delete(VIRTUAL_DISK, "default", "vm")
        going = await lab.world.phase("Terminating", VIRTUAL_DISK)
        held = find_condition(going, "Terminating")
        assert held is not None
        assert held["message"] == "The disk is being exported; wait for that, or end it."
        assert path.exists()
        status, why = await lab.refusal()
        assert (status, why) == (409, "VirtualDisk default/vm is being deleted.")
        assert await answer.read() == EXPECTED[MIB:]
    await lab.world.gone(VIRTUAL_DISK)
    assert not path.exists()


async def test_a_client_that_leaves_in_the_middle_leaves_nothing(lab: Exporting) -> None:
    await lab.disk()
    before = readers()
    async with Reader(lab):
        await lab.world.phase("Exporting", VIRTUAL_DISK)
        assert len(readers()) > len(before)
    await lab.free()
    assert readers() == before


async def test_a_client_that_hangs_loses_its_place(lab: Exporting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "SLOW_READER_SECONDS", 0.3)
    await lab.disk()
    async with Reader(lab):
        await lab.free()


async def test_one_answer_takes_a_day_at_most(lab: Exporting, monkeypatch: pytest.MonkeyPatch) -> None:
    await lab.disk()
    async with Reader(lab) as answer:
        monkeypatch.setattr(sending, "LONGEST_SECONDS", 0.0)
        with pytest.raises(aiohttp.ClientError):
            await answer.read()
    monkeypatch.undo()
    assert await lab.read() == (200, EXPECTED)


async def test_who_finds_no_place_is_told_to_come_again(lab: Exporting, monkeypatch: pytest.MonkeyPatch) -> None:
    places = Shares[str]("exports", 1, waiting=0, retry_after_seconds=10)
    monkeypatch.setattr(lab.world._daemon._exports, "_places", places)
    await lab.disk()
    async with Reader(lab), lab.get() as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (429, "10")
    await lab.free()
    assert (await lab.read())[0] == 200


async def test_two_read_a_disk_at_once(lab: Exporting) -> None:
    await lab.disk()
    async with Reader(lab) as one:
        assert await lab.read() == (200, EXPECTED)
        assert await one.read() == EXPECTED[MIB:]
    await lab.free()


async def test_a_damaged_disk_is_told_and_one_that_is_damaged_further_on_is_cut_and_then_told(
    lab: Exporting, tmp_path: Path
) -> None:
    path = await lab.disk()
    await asyncio.to_thread(damage_last_cluster, path, tmp_path / "compressed")
    async with lab.get() as answer:
        assert answer.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
    status, why = await lab.refusal(Range=f"bytes={47 * MIB}-")
    assert (status, why) == (500, f"The volume cannot be read at byte {47 * MIB}: Input/output error.")
    await lab.free()
    with path.open("r+b") as file:
        file.write(b"QFI\xfb" + b"\xff" * 4)
    status, why = await lab.refusal()
    assert (status, why) == (500, "The volume cannot be read: Unsupported qcow2 version 4294967295.")
    with path.open("r+b") as file:
        file.write(b"QFI\xfb" + b"\xff" * 60)
    status, why = await lab.refusal()
    assert (status, why.endswith("is no qcow2 image; restore it from a backup or delete it.")) == (500, True)


@pytest.mark.parametrize("lent", [False, True], ids=["login", "address"])
async def test_a_checksum_that_fails_is_told_or_cut_but_never_two_answers(
    lab: Exporting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lent: bool
) -> None:
    path = await lab.disk()
    await asyncio.to_thread(damage_last_cluster, path, tmp_path / "compressed")
    url = await address(lab) if lent else f"{SUBRESOURCES}/{DISK}/export"
    async with lab.client.get(f"{url}?checksum=sha256") as answer:
        assert answer.status == 500
        assert f"The volume cannot be read at byte {47 * MIB}: Input/output error." in await answer.text()
    monkeypatch.setattr(exports, "_TOLD_SECONDS", 0.0)
    reader, writer = await asyncio.open_unix_connection(str(lab.world._settings.socket_path))
    writer.write(f"GET {url.removeprefix('http://h')}?checksum=sha256 HTTP/1.1\r\nHost: h\r\n\r\n".encode())
    said = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    assert said.startswith(b"HTTP/1.1 200 OK")
    assert b"# 95 %" in said
    assert f"# The volume cannot be read at byte {47 * MIB}: Input/output error.\n".encode() in said
    assert (said.count(b"HTTP/1.1"), said.count(b"\r\n0\r\n")) == (1, 0)
    await lab.free()


def damage_last_cluster(path: Path, made: Path) -> None:
    """One that is compressed: its place is known without its content."""
    write(path, "write -q -P 7 47M 1M")
    subprocess.run(["qemu-img", "convert", "-c", "-f", "qcow2", "-O", "qcow2", path, made], check=True)
    with made.open("r+b") as file:
        l1 = int.from_bytes(os.pread(file.fileno(), 8, 40), "big")
        l2 = int.from_bytes(os.pread(file.fileno(), 8, l1), "big") & ~(1 << 63)
        entry = int.from_bytes(os.pread(file.fileno(), 8, l2 + 8 * (47 * MIB // 65536)), "big")
        os.pwrite(file.fileno(), b"\xff" * 16, entry & ((1 << 54) - 1))
    path.write_bytes(made.read_bytes())


@pytest.mark.parametrize("kind", [VIRTUAL_DISK, VIRTUAL_IMAGE], ids=lambda kind: kind.plural)
async def test_what_is_not_ready_is_refused_with_its_phase(lab: Exporting, kind: Kind) -> None:
    spec: Object = {"dataSource": {"type": "Upload"}}
    if kind is VIRTUAL_IMAGE:
        spec["storage"] = "ContainerRegistry"
    await lab.world.store.create(kind, "default", {"metadata": {"name": "up"}, "spec": spec})
    await lab.world.phase("WaitForUserUpload", kind, "up")
    status, why = await lab.refusal(f"{kind.plural}/up")
    assert status == 409
    assert why.endswith("is WaitForUserUpload, not Ready.")
