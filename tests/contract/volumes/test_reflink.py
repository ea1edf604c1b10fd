"""Pools of an administrator: of a file system that shares blocks, and their StorageClasses."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from hyperd.controllers.disk import keeping
from hyperd.controllers.snapshot import disk as snapshots
from hyperd.controllers.snapshot.taking import Part, Taking
from hyperd.errors import PermanentError, TemporaryError
from hyperd.imagefile.handle import DiskFormat, FileHandle
from hyperd.loading import load
from hyperd.resources.all import (
    KINDS,
    PERSISTENT_VOLUME,
    STORAGE_CLASS,
    VIRTUAL_DISK,
    VIRTUAL_DISK_SNAPSHOT,
    VIRTUAL_MACHINE,
)
from hyperd.resources.schema.kind import Object
from hyperd.resources.values.conditions import find_condition
from hyperd.settings import PoolKind, PoolSettings, Settings, StorageSettings
from hyperd.storage import poolmark
from hyperd.storage.backends.reflink.backend import ReflinkBackend
from hyperd.storage.backends.reflink.pool import Pool
from hyperd.store.embedded.derived import derived_of
from tests.contract.volumes import guest, xfs
from tests.unit.controllers.world import running

MIB = 1 << 20


def made(folder: Path, pool: Path) -> ReflinkBackend:
    one = PoolSettings(name="fast", kind=PoolKind.REFLINK, path=pool)
    storage = StorageSettings(pools=(one,), reserve_bytes=0, overcommit_ratio=0)
    return ReflinkBackend(Settings(state_dir=folder / "state", storage=storage), one)


def used(pool: Path) -> int:
    """Bytes that the file system has given away, once all is on the disk."""
    os.sync()
    found = os.statvfs(pool)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


async def test_the_second_volume_of_an_image_takes_no_space_and_neither_does_a_snapshot(
    shared_blocks: Path, tmp_path: Path
) -> None:
    pool = shared_blocks / tmp_path.name
    backend = made(tmp_path, pool)
    images = tmp_path / "state" / "images"
    images.mkdir(parents=True)
    content = os.urandom(32 * MIB)
    image = guest.image(images / ("a" * 64 + ".qcow2"), DiskFormat.QCOW2, content)
    await backend.start()
    volumes = backend.provisioner
    await volumes.create_from_image("u1", 32 * MIB, image=image)
    before = used(pool)
    for number in range(2, 6):
        await volumes.create_from_image(f"u{number}", 64 * MIB, image=image)
    await volumes.prepare_snapshot("u2", snapshot="s1", op_uid="o", in_use=False)
    await volumes.commit_snapshot("u2", snapshot="s1", op_uid="o")
    await volumes.clone("u9", source="u2", op_uid="o")
    assert used(pool) - before < MIB
    assert guest.read(await backend.attacher.attach("u9")) == content + bytes(32 * MIB)

    for path in images.iterdir():
        path.unlink()
    await backend.start()
    for uid in [volume.uid for volume in await volumes.inventory()]:
        await volumes.delete(uid)
    await volumes.delete_snapshot("s1")
    assert os.listdir(pool) == [poolmark.FILE], "the image's copy goes with the image"


@pytest.mark.parametrize("shares", [True, False], ids=["no XFS", "XFS without reflink"])
async def test_a_file_system_that_shares_no_blocks_is_refused_in_words(tmp_path: Path, shares: bool) -> None:
    if shares:
        await _refused(tmp_path, tmp_path / "pool")
        return
    with xfs.mounted(tmp_path, reflink=False) as folder:
        await _refused(tmp_path, folder / "pool")


async def _refused(tmp_path: Path, pool: Path) -> None:
    backend = made(tmp_path, pool)
    await backend.start()
    with pytest.raises(
        TemporaryError, match=r"pool fast in .* cannot be used: its file system cannot share blocks"
    ):
        await backend.provisioner.create_blank("u1", MIB)
    with pytest.raises(TemporaryError):
        await backend.provisioner.find("u1")
    assert await backend.provisioner.inventory() == []


def pools(path: Path) -> Object:
    return {"reserve_bytes": 0, "pools": [{"name": "fast", "kind": "reflink", "path": str(path)}]}


async def test_a_pool_of_the_settings_has_a_class_and_disks_live_there(
    shared_blocks: Path, tmp_path: Path
) -> None:
    pool = shared_blocks / tmp_path.name
    async with running(storage=pools(pool)) as world:
        class_ = (await world.store.get(STORAGE_CLASS, "", "fast")).object()
        assert (class_["provisioner"], class_["volumeBindingMode"]) == ("hyperd.local/fast", "Immediate")
        await world.wait_for_disk()
        await world.give_disk(storageClassName="fast")
        await world.phase("Running")
        uid = (await world.store.get(VIRTUAL_DISK, "default", "vm")).uid
        assert sorted(os.listdir(pool)) == [poolmark.FILE, f"{uid}.raw"]
        derived = derived_of(world.store, KINDS)[PERSISTENT_VOLUME]
        (volume,) = await derived.find_all(PERSISTENT_VOLUME)
        assert volume["metadata"]["annotations"] == {"pv.kubernetes.io/provisioned-by": "hyperd.local/fast"}
        assert volume["spec"]["csi"]["driver"] == "hyperd.local/fast"
        await world.store.delete(VIRTUAL_MACHINE, "default", "vm")
        await world.gone()
        await world.store.delete(VIRTUAL_DISK, "default", "vm")
        await world.gone(VIRTUAL_DISK)
        assert os.listdir(pool) == [poolmark.FILE]


async def test_a_snapshot_is_of_the_moment_when_it_is_taken_and_not_of_its_preparation(
    shared_blocks: Path, tmp_path: Path
) -> None:
    async with running(storage=pools(shared_blocks / tmp_path.name)) as world:
        await world.give_disk(storageClassName="fast")
        disk = (await world.store.get(VIRTUAL_DISK, "default", "vm")).uid
        context = world._daemon._context

        async def parts() -> Sequence[Part]:
            return [Part("default", "vm", disk, "s")]

        await context.volumes.prepare_snapshot(disk, snapshot="s", op_uid="o", in_use=True)
        guest.fill(FileHandle(shared_blocks / tmp_path.name / f"{disk}.raw", DiskFormat.RAW), 2, 4096)
        taking = Taking(context, parts, "o", required=True)
        await taking.pivot()
        await taking.commit()
        async with context.volumes.reading("s") as handle:
            assert guest.read(handle)[:4096] == bytes([2]) * 4096
        assert taking.consistent, "the guest has gone meanwhile"


async def test_a_pool_that_cannot_be_used_keeps_no_other_disk_from_anything(tmp_path: Path) -> None:
    async with running(storage=pools(tmp_path / "ext4")) as world:
        await world.make()
        fast = {"size": "1Mi", "storageClassName": "fast"}
        body: Object = {
            "metadata": {"namespace": "default", "name": "lost"},
            "spec": {"persistentVolumeClaim": fast},
        }
        await world.store.create(VIRTUAL_DISK, "default", body)

        def told(disk: Object) -> bool:
            conditions = (disk.get("status") or {}).get("conditions") or ()
            return any("its file system cannot share blocks" in each["message"] for each in conditions)

        await world.until(told, VIRTUAL_DISK, "lost")
        await world.store.delete(VIRTUAL_MACHINE, "default", "vm")
        await world.gone()
        await world.store.delete(VIRTUAL_DISK, "default", "vm")
        await world.gone(VIRTUAL_DISK)


async def test_a_pool_that_cannot_be_used_keeps_no_snapshot_of_other_disks_from_anything(tmp_path: Path) -> None:
    async with running(storage=pools(tmp_path / "ext4")) as world:
        await world.give_disk()
        disk = (await world.store.get(VIRTUAL_DISK, "default", "vm")).uid
        body: Object = {"metadata": {"namespace": "default", "name": "one"}, "spec": {"virtualDiskName": "vm"}}
        await world.store.create(VIRTUAL_DISK_SNAPSHOT, "default", body)
        await world.phase("Ready", VIRTUAL_DISK_SNAPSHOT, "one")
        volumes = world._daemon._context.volumes
        await volumes.attach(disk)
        assert len(await volumes.layers(disk)) == 2
        await volumes.detach(disk)
        await world.store.delete(VIRTUAL_DISK_SNAPSHOT, "default", "one")
        await world.gone(VIRTUAL_DISK_SNAPSHOT, "one")


async def test_a_pool_that_is_not_mounted_is_told_from_an_empty_one(shared_blocks: Path, tmp_path: Path) -> None:
    pool, away = shared_blocks / tmp_path.name, shared_blocks / f"{tmp_path.name}-away"
    backend = made(tmp_path, pool)
    await backend.start()
    await backend.provisioner.create_blank("u1", MIB)
    pool.rename(away)
    pool.mkdir()  # the mount point, on a file system that shares blocks as well
    for now in (backend, made(tmp_path, pool)):
        await now.start()
        volumes = now.provisioner
        for call in (
            volumes.create_blank("u2", MIB),
            volumes.find("u1"),
            volumes.delete("u1"),
            now.attacher.attach("u1"),
        ):
            with pytest.raises(TemporaryError, match=r"pool fast in .* cannot be used: its file .* is not there"):
                await call
        assert (await volumes.inventory(), await volumes.snapshots(), os.listdir(pool)) == ([], [], [])
    other = made(tmp_path / "other", pool)
    await other.start()
    await other.provisioner.create_blank("u1", MIB)
    with pytest.raises(TemporaryError, match="is another pool's"):
        await backend.provisioner.create_blank("u2", MIB)
    await other.provisioner.delete("u1")
    (pool / poolmark.FILE).unlink()
    pool.rmdir()
    away.rename(pool)
    assert [volume.uid for volume in await backend.provisioner.inventory()] == ["u1"]
    await backend.provisioner.create_blank("u2", MIB)


async def test_a_pool_of_an_earlier_release_that_is_mounted_late_has_its_volumes(
    shared_blocks: Path, tmp_path: Path
) -> None:
    pool, away = shared_blocks / tmp_path.name, shared_blocks / f"{tmp_path.name}-away"
    backend = made(tmp_path / "before", pool)
    await backend.start()
    await backend.provisioner.create_blank("u1", MIB)
    (pool / poolmark.FILE).unlink()  # that release had none
    pool.rename(away)
    pool.mkdir()  # the mount point, on a file system that shares blocks as well
    later = made(tmp_path, pool)
    await later.start()
    assert await later.provisioner.inventory() == []
    assert os.listdir(pool) == []
    pool.rmdir()
    away.rename(pool)
    assert [volume.uid for volume in await later.provisioner.inventory()] == ["u1"]
    assert (pool / poolmark.FILE).exists()
    pool.rename(away)
    pool.mkdir()
    with pytest.raises(TemporaryError, match="is not there"):
        await later.provisioner.create_blank("u2", MIB)


async def test_a_pool_that_hangs_keeps_no_thread_and_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answers = list[str](), threading.Event()

    def hang(_: Pool) -> None:
        asked.append(threading.current_thread().name)
        answers.wait()

    monkeypatch.setattr(Pool, "require", hang)
    monkeypatch.setattr("hyperd.storage.asking._LIMIT_SECONDS", 0.1)
    backend = made(tmp_path, tmp_path / "pool")
    await backend.start()
    volumes = backend.provisioner
    try:
        calls = [volumes.find("u1") for _ in range(100)] + [backend.attacher.attach("u1")]
        told = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(each) for each in told} == {TemporaryError}
        assert "it has not answered" in str(told[0])
        assert await volumes.inventory() == []
        assert asked == ["pool fast"]
    finally:
        answers.set()
    async with asyncio.timeout(10):
        while True:
            with suppress(TemporaryError):
                assert await volumes.find("u1") is None
                break


async def test_a_pool_that_is_full_at_the_start_has_its_volumes(
    shared_blocks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = shared_blocks / tmp_path.name
    first = made(tmp_path, pool)
    await first.start()
    await first.provisioner.create_blank("u1", MIB)

    def full(_: Pool) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Pool, "_probe", full)
    later = made(tmp_path, pool)
    await later.start()
    assert await later.provisioner.find("u1") is not None
    assert [volume.uid for volume in await later.provisioner.inventory()] == ["u1"]


async def test_a_pool_of_a_later_format_is_left_alone(shared_blocks: Path, tmp_path: Path) -> None:
    pool = shared_blocks / tmp_path.name
    backend = made(tmp_path, pool)
    await backend.start()
    await backend.provisioner.create_blank("u1", MIB)
    mark = poolmark.read(pool / poolmark.FILE)
    assert mark is not None
    poolmark.write(pool / poolmark.FILE, replace(mark, format=99))
    with pytest.raises(
        TemporaryError, match=r"are of format 99; this hyperd knows up to 1, and would damage them"
    ):
        await backend.provisioner.delete("u1")


async def test_disks_whose_pool_is_away_say_so_and_are_themselves_when_it_is_back(
    shared_blocks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, away = shared_blocks / tmp_path.name, shared_blocks / f"{tmp_path.name}-away"
    for period in ("_LOOK_SECONDS", "_AGAIN_SECONDS"):
        monkeypatch.setattr(snapshots, period, 0.2)
    for period in ("LOOK_SECONDS", "_AGAIN_SECONDS"):
        monkeypatch.setattr(keeping, period, 0.2)
    async with running(storage=pools(pool)) as world:
        await world.give_disk(storageClassName="fast")
        body: Object = {"metadata": {"namespace": "default", "name": "one"}, "spec": {"virtualDiskName": "vm"}}
        await world.store.create(VIRTUAL_DISK_SNAPSHOT, "default", body)
        await world.phase("Ready", VIRTUAL_DISK_SNAPSHOT, "one")
        pool.rename(away)
        pool.mkdir()
        kept = await world.until(lambda one: ready(one)["status"] == "Unknown", VIRTUAL_DISK_SNAPSHOT, "one")
        assert kept["status"]["phase"] == "Ready"
        told = await world.until(lambda disk: ready(disk)["status"] == "Unknown", VIRTUAL_DISK, "vm")
        assert "is not there, so that another file system must be mounted there" in ready(told)["message"]
        assert told["status"]["phase"] == "Ready"
        assert await world.kept() == {}
        pool.rmdir()
        away.rename(pool)
        await world.until(lambda disk: ready(disk)["status"] == "True", VIRTUAL_DISK, "vm")
        await world.until(lambda one: ready(one)["status"] == "True", VIRTUAL_DISK_SNAPSHOT, "one")
        await world.store.delete(VIRTUAL_DISK_SNAPSHOT, "default", "one")
        await world.gone(VIRTUAL_DISK_SNAPSHOT, "one")
        pool.rename(away)
        pool.mkdir()
        await world.store.delete(VIRTUAL_DISK, "default", "vm")
        await world.settled()
        assert os.listdir(pool) == []
        pool.rmdir()
        away.rename(pool)
        world.look_at(VIRTUAL_DISK, "vm")
        await world.gone(VIRTUAL_DISK)
        assert os.listdir(pool) == [poolmark.FILE]


def ready(disk: Object) -> Object:
    return find_condition(disk, "Ready") or find_condition(disk, "VirtualDiskSnapshotReady") or {"status": ""}


def test_two_pools_of_one_name_are_refused(tmp_path: Path) -> None:
    for names in (("a", "a"), ("directory", "b")):
        file = tmp_path / "hyperd.toml"
        file.write_text(
            "".join(
                f'[[storage.pools]]\nname = "{name}"\nkind = "reflink"\npath = "/srv/{name}"\n' for name in names
            )
        )
        with pytest.raises(PermanentError, match=r"Setting storage\.pools: .*two pools called"):
            load(file=file, environ={})
