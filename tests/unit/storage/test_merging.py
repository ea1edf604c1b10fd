"""What becomes of a disk's data where a merge is at its end, and nobody has made sure of it yet."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hyperd.errors import NotFound, TemporaryError
from hyperd.imagefile.qemuimg import QemuImg
from hyperd.settings import Settings
from hyperd.storage.backends.directory.backend import DirectoryBackend
from hyperd.storage.interface import Merge, MergeKind
from tests.contract.volumes import guest
from tests.unit.storage.test_directory import names

MIB = 1 << 20
SIZE = 2 * MIB
ONES = bytes([1]) * MIB + bytes(MIB)
PULL, SETTLE = MergeKind.PULL, MergeKind.SETTLE


async def started(folder: Path) -> DirectoryBackend:
    backend = DirectoryBackend(Settings(state_dir=folder))
    await backend.start()
    return backend


@pytest.fixture
async def backend(tmp_path: Path) -> DirectoryBackend:
    """One whose volume ``v`` has all its data in a layer of which the snapshot is deleted."""
    backend = await started(tmp_path)
    await backend.provisioner.create_blank("v", SIZE)
    guest.fill(await backend.attacher.attach("v"), 1, MIB)
    await backend.attacher.detach("v")
    await backend.provisioner.prepare_snapshot("v", snapshot="s", op_uid="o", in_use=False)
    await backend.provisioner.commit_snapshot("v", snapshot="s", op_uid="o")
    await backend.provisioner.delete_snapshot("s")
    return backend


@pytest.fixture
def lower(tmp_path: Path) -> Path:
    return Settings(state_dir=tmp_path).volumes_dir / "v.qcow2"


@pytest.fixture
def top(lower: Path) -> Path:
    return lower.with_name("v.s.qcow2")


def forget(top: Path) -> None:
    """As a QEMU leaves a disk that is killed after a pull: the header is written, the tables are not."""
    subprocess.run(["qemu-img", "rebase", "-u", "-q", "-f", "qcow2", "-b", "", top], check=True)


@contextmanager
def opened(path: Path) -> Iterator[None]:
    """A QEMU has it open."""
    argv = ["qemu-io", "-f", "qcow2", str(path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None  # noqa: PT018
        process.stdin.write(b"length\n")
        process.stdin.flush()
        while b"MiB" not in process.stdout.readline():
            pass
        yield
        process.stdin.close()


async def read(backend: DirectoryBackend) -> bytes:
    content = guest.read(await backend.attacher.attach("v"))
    await backend.attacher.detach("v")
    return content


async def pull(backend: DirectoryBackend) -> Merge:
    [merge] = await backend.provisioner.merges({"v"})
    assert merge.kind is PULL
    return merge


@pytest.mark.parametrize("by", ["a start", "a round", "a clone", "a snapshot", "a reader"])
async def test_a_guest_killed_after_a_pull_loses_nothing_whoever_comes_first(
    backend: DirectoryBackend, tmp_path: Path, top: Path, by: str
) -> None:
    await pull(backend)
    forget(top)
    later = await started(tmp_path)
    volumes = later.provisioner
    if by == "a round":
        assert await volumes.merges(()) == []
    if by == "a clone":
        await volumes.clone("w", source="v", op_uid="o")
        assert guest.read(await later.attacher.attach("w")) == ONES
    if by == "a reader":
        async with later.attacher.reading("v") as handle:
            assert guest.read(handle) == ONES
    if by == "a snapshot":
        await volumes.prepare_snapshot("v", snapshot="t", op_uid="o", in_use=False)
        await volumes.commit_snapshot("v", snapshot="t", op_uid="o")
    assert await read(later) == ONES
    assert await volumes.merges(()) == []
    assert await read(later) == ONES


async def test_what_was_pulled_from_stays_until_it_is_sure_that_it_is_not_needed(
    backend: DirectoryBackend, tmp_path: Path, lower: Path, top: Path
) -> None:
    await pull(backend)
    forget(top)
    later = await started(tmp_path)
    with opened(top):
        [merge] = await later.provisioner.merges({"v"})
        assert (merge.uid, merge.kind) == ("v", SETTLE)
        await later.provisioner.delete_snapshot("s")
        await later.attacher.attach("v")
        assert await later.provisioner.merges({"v"}) == [merge]
        assert await later.provisioner.merges(()) == [], "a list of guests may be short"
        assert lower.name in names(lower.parent)
    await later.provisioner.merged(merge)
    assert names(lower.parent) == [top.name]


async def test_what_a_guest_of_before_pulled_is_not_confirmed_by_a_later_one(
    backend: DirectoryBackend, top: Path
) -> None:
    merge = await pull(backend)
    forget(top)
    await backend.attacher.attach("v")
    await backend.provisioner.merged(merge)
    assert await read(backend) == ONES


async def test_a_tool_that_is_killed_at_its_end_loses_nothing(
    backend: DirectoryBackend, lower: Path, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def killed(*_: Any, **__: Any) -> None:
        forget(top)
        raise TemporaryError("qemu-img was ended.")

    with monkeypatch.context() as tools:
        tools.setattr(QemuImg, "rebase", killed)
        assert await backend.provisioner.merges(()) == []
    assert await read(backend) == ONES
    assert await backend.provisioner.merges(()) == []
    assert await read(backend) == ONES
    assert names(lower.parent) == [top.name]


async def test_a_disk_that_is_deleted_takes_with_it_what_was_pulled_from(
    backend: DirectoryBackend, lower: Path, top: Path
) -> None:
    await pull(backend)
    forget(top)
    await backend.provisioner.delete("v")
    assert names(lower.parent) == []


async def test_what_is_being_read_stays_until_it_was(backend: DirectoryBackend, lower: Path) -> None:
    volumes = backend.provisioner
    await volumes.merges(())
    await volumes.prepare_snapshot("v", snapshot="t", op_uid="o", in_use=False)
    await volumes.commit_snapshot("v", snapshot="t", op_uid="o")
    async with backend.attacher.reading("t") as handle:
        await volumes.delete("v")
        await volumes.delete_snapshot("t")
        await volumes.merges(())
        assert guest.read(handle) == ONES
    with pytest.raises(NotFound):
        async with backend.attacher.reading("t"):
            pass
    await volumes.merges(())
    assert names(lower.parent) == []
