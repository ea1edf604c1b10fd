"""A daemon killed between any two changes by which space is freed, and what a guest's QEMU did meanwhile."""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from hyperd.settings import Settings, StorageSettings
from hyperd.storage.backends.directory.backend import DirectoryBackend
from hyperd.storage.interface import MergeKind
from tests.contract.volumes import guest
from tests.unit.storage.test_directory import names

MIB = 1 << 20
SIZE = 2 * MIB
PART = MIB // 8
GONE = {MergeKind.PULL: "t", MergeKind.COMMIT: "s"}
"""Which of the two snapshots goes so that the guest's QEMU has that to do."""


class Killed(BaseException):
    """Nobody handles it."""


class Changes:
    """Of names in a folder: the ``left``-th one is not made any more."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path, left: int) -> None:
        self._folder, self._left = folder, left
        for owner, method in ((Path, "unlink"), (Path, "touch"), (os, "replace")):
            monkeypatch.setattr(owner, method, self._counted(getattr(owner, method)))

    def _counted(self, change: Callable[..., Any]) -> Callable[..., Any]:
        def counted(path: Path, *args: Any, **more: Any) -> Any:
            if Path(path).parent == self._folder and (Path(path).exists() or change.__name__ == "touch"):
                if not self._left:
                    raise Killed
                self._left -= 1
            return change(path, *args, **more)

        return counted


class Pool:
    """A volume ``v`` with the snapshots ``s`` and ``t``, each part of its data in another layer."""

    def __init__(self, state: Path) -> None:
        storage = StorageSettings(reserve_bytes=0, overcommit_ratio=0)
        self._settings = Settings(state_dir=state, storage=storage)
        self.folder = self._settings.volumes_dir

    async def daemon(self) -> DirectoryBackend:
        backend = DirectoryBackend(self._settings)
        await backend.start()
        return backend

    async def begin(self) -> None:
        backend = await self.daemon()
        await backend.provisioner.create_blank("v", SIZE)
        write(self.folder / "v.qcow2", 0)
        for number, snapshot in enumerate(("s", "t"), 1):
            await backend.provisioner.prepare_snapshot("v", snapshot=snapshot, op_uid="o", in_use=False)
            await backend.provisioner.commit_snapshot("v", snapshot=snapshot, op_uid="o")
            write(self.folder / f"v.{snapshot}.qcow2", number)

    def qemu(self, kind: MergeKind, *, well: bool) -> None:
        """What a guest's QEMU has done at the end; one that is killed has not written its tables."""
        bottom, middle, top = (self.folder / f"{name}.qcow2" for name in ("v", "v.s", "v.t"))
        if kind is MergeKind.COMMIT:
            img("commit", "-q", "-d", "-f", "qcow2", middle)
            if well:
                img("rebase", "-u", "-q", "-f", "qcow2", "-F", "qcow2", "-b", bottom, top)
        else:
            how = () if well else ("-u",)
            img("rebase", *how, "-q", "-f", "qcow2", "-F", "qcow2", "-b", bottom, top)


def img(*argv: str | Path) -> None:
    subprocess.run(["qemu-img", *argv], check=True)


def write(path: Path, number: int) -> None:
    command = f"write -q -P {number + 1} {number * PART} {PART}"
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", command, path], check=True)


def content(parts: int) -> bytes:
    return b"".join(bytes([number + 1]) * PART for number in range(parts)).ljust(SIZE, b"\0")


async def work(pool: Pool, kind: MergeKind, *, well: bool) -> None:
    """Of one daemon, while a guest has the volume open."""
    backend = await pool.daemon()
    await backend.provisioner.delete_snapshot(GONE[kind])
    [merge] = await backend.provisioner.merges({"v"})
    assert merge.kind is kind
    pool.qemu(kind, well=well)
    for settled in await backend.provisioner.merges({"v"}) if kind is MergeKind.PULL else (merge,):
        if well:
            await backend.provisioner.merged(settled)


async def check(pool: Pool, kind: MergeKind) -> None:
    """By the next daemon; the guest has ended."""
    backend = await pool.daemon()
    volumes, kept = backend.provisioner, next(iter({"s", "t"} - {GONE[kind]}))
    for _ in range(2):
        assert guest.read(await backend.attacher.attach("v")) == content(3)
        await backend.attacher.detach("v")
        async with backend.attacher.reading(kept) as handle:
            assert guest.read(handle) == content(1 if kept == "s" else 2)
        await volumes.delete_snapshot(GONE[kind])
        assert await volumes.merges(()) == []
    assert [each.uid for each in await volumes.snapshots()] == [kept]
    await volumes.delete_snapshot(kept)
    await volumes.merges(())
    assert guest.read(await backend.attacher.attach("v")) == content(3)
    assert names(pool.folder) == ["v.t.qcow2"], "and no mark of what was merged"


@pytest.mark.parametrize("well", [True, False], ids=["the guest goes on", "its QEMU is killed"])
@pytest.mark.parametrize("kind", GONE)
async def test_nothing_is_lost_wherever_the_daemon_was_killed(
    tmp_path: Path, kind: MergeKind, *, well: bool
) -> None:
    for place in itertools.count():
        pool, ended = Pool(tmp_path / str(place)), False
        await pool.begin()
        with pytest.MonkeyPatch.context() as monkeypatch, suppress(Killed):
            Changes(monkeypatch, pool.folder, place)
            await work(pool, kind, well=well)
            ended = True
        try:
            await check(pool, kind)
        except BaseException as err:
            err.add_note(f"It was killed before change {place}; there are {names(pool.folder)}.")
            raise
        if ended:
            assert place >= 2, "no place was found"
            return
