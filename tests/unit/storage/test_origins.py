"""A volume is read from what it was made of, whatever a guest's QEMU has written to its header."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

import pytest

from hyperd.errors import PermanentError
from hyperd.imagefile.handle import DiskFormat, FileHandle
from hyperd.settings import Settings, StorageSettings
from hyperd.storage.backends.directory.backend import DirectoryBackend
from hyperd.storage.backends.directory.folder import Folder
from hyperd.storage.backends.directory.layers import Mark, MarkKind, Tree
from hyperd.storage.backends.directory.origins import FOLDER
from tests.contract.volumes import guest

MIB = 1 << 20


async def started(folder: Path) -> DirectoryBackend:
    backend = DirectoryBackend(Settings(state_dir=folder, storage=StorageSettings(reserve_bytes=0)))
    await backend.start()
    return backend


@pytest.fixture
async def backend(tmp_path: Path) -> DirectoryBackend:
    """With the volume of another: ``v1``, made of an image, and its snapshot ``s1``, of which ``v2`` was made."""
    backend = await started(tmp_path)
    await backend.provisioner.create_from_image("v1", MIB, image=image(tmp_path, "theirs", 5))
    await snapshot(backend, "v1", "s1")
    await backend.provisioner.create_from_snapshot("v2", MIB, snapshot="s1")
    return backend


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    return Settings(state_dir=tmp_path).volumes_dir


def image(folder: Path, name: str, pattern: int) -> FileHandle:
    images = Settings(state_dir=folder).images_dir
    images.mkdir(parents=True, exist_ok=True)
    return guest.image(images / name, DiskFormat.QCOW2, bytes([pattern]) * MIB)


async def snapshot(backend: DirectoryBackend, uid: str, name: str) -> None:
    await backend.provisioner.prepare_snapshot(uid, snapshot=name, op_uid="o", in_use=False)
    await backend.provisioner.commit_snapshot(uid, snapshot=name, op_uid="o")


async def forge(top: Path, base: Path) -> None:
    """As a QEMU may that its guest has taken over."""
    argv = ["qemu-img", "rebase", "-u", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(base), str(top)]
    await asyncio.to_thread(lambda: subprocess.run(argv, check=True))


async def is_refused(backend: DirectoryBackend, uid: str) -> None:
    with pytest.raises(PermanentError, match=f"Volume {uid} is damaged: it is read from "):
        await backend.attacher.layers(uid)
    with pytest.raises(PermanentError, match=f"Volume {uid} is damaged: it is read from "):
        await backend.attacher.attach(uid)
    await backend.attacher.detach(uid)


async def is_read(backend: DirectoryBackend, *uids: str, pattern: int = 5) -> None:
    """As what they were made of, by those who copy them and by guests."""
    for uid in uids:
        await backend.attacher.layers(uid)
        assert guest.read(await backend.attacher.attach(uid)) == bytes([pattern]) * MIB
        await backend.attacher.detach(uid)


@pytest.mark.parametrize("there", ["v1.s1.qcow2", "v1.qcow2", "../images/theirs", "../secret"])
@pytest.mark.parametrize("made", ["blank", "of an image", "of a snapshot", "by a copy", "received"])
async def test_what_a_header_names_that_the_volume_was_not_made_of_is_not_read(
    backend: DirectoryBackend, pool: Path, tmp_path: Path, there: str, made: str
) -> None:
    guest.image(pool.parent / "secret", DiskFormat.QCOW2, bytes(MIB))
    volumes, mine = backend.provisioner, image(tmp_path, "mine", 6)
    await volumes.create_from_image("m", MIB, image=mine)
    await snapshot(backend, "m", "ms")
    match made:
        case "blank":
            await volumes.create_blank("u", MIB)
        case "of an image":
            await volumes.create_from_image("u", MIB, image=mine)
        case "of a snapshot":
            await volumes.create_from_snapshot("u", MIB, snapshot="ms")
        case "by a copy":
            await volumes.clone("u", source="m", op_uid="o")
        case _:
            await volumes.receive("u", MIB, layers=[mine], op_uid="o", report=lambda _: None)
    await backend.attacher.layers("u")
    top = pool / ("u.o.qcow2" if made == "received" else "u.qcow2")
    await forge(top, (pool / there).resolve())
    await is_refused(backend, "u")
    await snapshot(backend, "u", "us")
    with pytest.raises(PermanentError):
        await backend.attacher.layers("us")
    await volumes.create_from_snapshot("u2", MIB, snapshot="us")
    await volumes.clone("u3", source="u", op_uid="o")
    await is_refused(backend, "u2")
    await is_refused(backend, "u3")
    await is_refused(await started(tmp_path), "u")
    await is_read(backend, "v1", "v2")


async def test_what_is_read_is_read_when_all_that_it_was_made_of_is_deleted(
    backend: DirectoryBackend, pool: Path, tmp_path: Path
) -> None:
    volumes = backend.provisioner
    await snapshot(backend, "v2", "s2")
    await volumes.create_from_snapshot("v3", MIB, snapshot="s2")
    await volumes.clone("v4", source="v3", op_uid="o")
    await volumes.clone("v5", source="v1", op_uid="o")
    for snapshot_, volume in (("s1", "v1"), ("s2", "v2")):
        await volumes.delete_snapshot(snapshot_)
        await volumes.delete(volume)
        await is_read(backend, "v3", "v4", "v5")
        await is_read(await started(tmp_path), "v3", "v4", "v5")
    await volumes.delete("v4")
    assert await volumes.merges(()) == []
    await is_read(backend, "v3", "v5")
    later = await started(tmp_path)
    assert await later.provisioner.merges(()) == []
    await is_read(later, "v3", "v5")
    await volumes.create_from_snapshot("v6", MIB, snapshot=await taken(backend, "v3"))
    await is_read(backend, "v6")
    await volumes.delete("v3")
    await volumes.delete("v5")
    await volumes.delete_snapshot("t")
    await volumes.delete("v6")
    assert sorted(os.listdir(pool)) == [".hyperd-pool", FOLDER]
    assert os.listdir(pool / FOLDER) == []


async def taken(backend: DirectoryBackend, uid: str) -> str:
    await snapshot(backend, uid, "t")
    return "t"


async def test_a_volume_that_came_back_leaves_its_snapshots_what_they_are(backend: DirectoryBackend) -> None:
    layers = await backend.attacher.layers("v1")
    await backend.provisioner.delete("v1")
    await backend.provisioner.receive("v1", MIB, layers=layers[1:], op_uid="o", report=lambda _: None)
    await is_read(backend, "v1", "v2")
    assert len(await backend.attacher.layers("s1")) == 2


async def test_volumes_of_earlier_releases_are_read_as_their_headers_say(
    backend: DirectoryBackend, pool: Path, tmp_path: Path
) -> None:
    for record in (pool / FOLDER).iterdir():
        record.unlink()
    volumes = backend.provisioner
    await is_read(backend, "v1", "v2")
    await volumes.create_from_snapshot("v3", MIB, snapshot="s1")
    await volumes.clone("v4", source="v2", op_uid="o")
    await is_read(backend, "v3", "v4")
    await volumes.delete("v1")
    await volumes.delete_snapshot("s1")
    await is_read(await started(tmp_path), "v2", "v3", "v4")
    await volumes.create_blank("u", MIB)
    for path in (pool / "u.qcow2", Path("u.qcow2"), pool / "../volumes/u.qcow2"):
        await forge(pool / "v2.qcow2", path)
        await is_refused(backend, "v2")


async def test_a_mark_that_is_replaced_while_the_folder_is_listed_is_looked_for_again(
    backend: DirectoryBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed, seen = Folder.tree, list[int]()

    def racing(folder: Folder) -> Tree:
        tree = listed(folder)
        seen.append(len(tree.marks))
        return Tree(tree.layers.values(), tree.marks if len(seen) > 1 else ())

    await backend.provisioner.delete("v1")
    await backend.provisioner.delete_snapshot("s1")
    monkeypatch.setattr(Folder, "tree", racing)
    handle = await backend.attacher.attach("v2")
    assert seen == [1, 1], "to hold its header against its record, and again"
    assert guest.read(handle) == bytes([5]) * MIB


@pytest.mark.parametrize("recorded", [True, False])
async def test_a_layer_that_was_moved_and_linked_is_read_by_guests_as_before(
    backend: DirectoryBackend, pool: Path, tmp_path: Path, recorded: bool
) -> None:
    (pool / "v1.qcow2").rename(tmp_path / "elsewhere")
    (pool / "v1.qcow2").symlink_to(tmp_path / "elsewhere")
    await backend.provisioner.create_blank("u", MIB)
    if not recorded:
        for record in (pool / FOLDER).iterdir():
            record.unlink()
    for uid in ("v1", "v2"):
        assert guest.read(await backend.attacher.attach(uid)) == bytes([5]) * MIB
    await forge(pool / "v2.qcow2", pool / "u.qcow2")
    await is_refused(backend, "v2")


async def test_what_a_killed_daemon_wrote_down_of_a_volume_is_not_held_against_the_one_that_is_made(
    backend: DirectoryBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def killed(*_: object) -> None:
        raise asyncio.CancelledError

    with monkeypatch.context() as then:
        then.setattr(backend.provisioner, "_make", killed)
        with pytest.raises(asyncio.CancelledError):
            await backend.provisioner.create_blank("u", MIB)
    await backend.provisioner.create_from_image("u", MIB, image=image(tmp_path, "mine", 6))
    await is_read(backend, "u", pattern=6)


async def test_nothing_is_copied_from_what_another_s_snapshot_held(backend: DirectoryBackend, pool: Path) -> None:
    """It would be in the volume then, of which all that is left is its own."""
    volumes = backend.provisioner
    await volumes.delete("v2")
    await volumes.delete("v1")
    folder = backend._folder
    await asyncio.to_thread(
        folder.replace, Mark("v1", "s1", MarkKind.SNAPSHOT), Mark("v1", "s1", MarkKind.GARBAGE)
    )
    await volumes.create_blank("u", MIB)
    await forge(pool / "u.qcow2", pool / "v1.qcow2")
    for in_use in ((), {"u"}):
        assert await volumes.merges(in_use) == []
        await is_refused(backend, "u")
