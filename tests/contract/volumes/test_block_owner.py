"""Whose disk a block pool's is: one pool's of one hyperd, and never one that holds what somebody may need."""

from __future__ import annotations

import asyncio
import os
import re
import select
import signal
import subprocess
import sys
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from hyperd.errors import TemporaryError
from hyperd.storage.backends.block import disk as disks
from hyperd.storage.backends.block import table
from hyperd.storage.backends.block.backend import BlockBackend
from hyperd.storage.backends.block.table import Part, Table, Type
from tests.contract.volumes import test_block

MIB = 1 << 20


@pytest.fixture
async def backend(tmp_path: Path, loop_disk: Path) -> BlockBackend:
    one = test_block.made(tmp_path / "one", loop_disk)
    await one.start()
    await one.provisioner.create_blank("u1", MIB)
    await test_block.use(one, "u1", 7, MIB)
    return one


async def refused(backend: BlockBackend, why: str) -> str:
    await backend.start()
    with pytest.raises(TemporaryError, match=why) as told:
        await backend.provisioner.create_blank("u2", MIB)
    assert await backend.provisioner.inventory() == []
    return told.value.message


async def test_a_disk_of_another_hyperd_is_taken_only_when_that_is_said(
    tmp_path: Path, loop_disk: Path, backend: BlockBackend
) -> None:
    await asyncio.to_thread(backend._pool.allocate, "making", MIB)
    before = table.read(loop_disk)
    message = await refused(
        test_block.made(tmp_path / "two", loop_disk), "the disk is a pool of node one already; .* adopt = "
    )
    await refused(test_block.made(tmp_path / "two", loop_disk, adopt="0"), "already")
    assert table.read(loop_disk) == before, "what the first one makes stays"
    found = re.search(r'adopt = "([^"]+)"', message)
    assert found is not None
    for _ in ("told", "told still, and again"):
        two = test_block.made(tmp_path / "two", loop_disk, adopt=found[1])
        await two.start()
        assert [volume.uid for volume in await two.provisioner.inventory()] == ["u1"]
    assert await test_block.content(two, "u1") == b"\x07" * MIB
    assert table.read(loop_disk).of(Type.UNFINISHED) == []
    with pytest.raises(TemporaryError, match="the disk is a pool of node two already"):
        await backend.provisioner.find("u1")
    assert (await test_block.made(tmp_path / "two", loop_disk).provisioner.find("u1")) is not None


async def test_a_disk_is_no_second_pools_of_one_hyperd(
    tmp_path: Path, loop_disk: Path, backend: BlockBackend
) -> None:
    link = tmp_path / "by-id"
    link.symlink_to(loop_disk)
    second = test_block.made(tmp_path / "one", link, name="second")
    await refused(second, "a pool of this node, by another name or of a state that is lost, already")


async def test_two_hyperds_do_not_take_an_empty_disk_both(tmp_path: Path, loop_disk: Path) -> None:
    pools = [test_block.made(tmp_path / name, loop_disk) for name in ("one", "two")]
    made = await asyncio.gather(
        *(pool.provisioner.create_blank("u1", MIB) for pool in pools), return_exceptions=True
    )
    assert len([each for each in made if isinstance(each, TemporaryError)]) == 1, made
    assert len(table.read(loop_disk).of(Type.VOLUME)) == 1


async def test_a_crash_before_a_disk_is_marked_leaves_it_the_pools(
    tmp_path: Path, loop_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = test_block.made(tmp_path / "one", loop_disk)
    with monkeypatch.context() as patched:
        patched.setattr(table, "write", _fails)
        with pytest.raises(TemporaryError, match="no more"):
            await one.provisioner.create_blank("u1", MIB)
    assert (tmp_path / "one/state/pools/raw.json").exists()
    again = test_block.made(tmp_path / "one", loop_disk)
    await again.provisioner.create_blank("u1", MIB)
    assert await test_block.made(tmp_path / "one", loop_disk).provisioner.find("u1") is not None


def _fails(*_: object, **__: object) -> None:
    raise TemporaryError("no more")


@pytest.mark.parametrize("place", [0, 3 * MIB, 128 * MIB, 256 * MIB - 512])
async def test_a_disk_of_no_known_kind_is_not_taken_for_an_empty_one(
    tmp_path: Path, loop_disk: Path, place: int
) -> None:
    """Encrypted by what has its header elsewhere."""
    with loop_disk.open("r+b") as file:
        file.seek(place)
        file.write(b"\x5e" * 512)
    backend = test_block.made(tmp_path / "one", loop_disk)
    await refused(
        backend, r"holds something of no known kind, .*blkdiscard --force --zeroout /dev/loop.*empties it"
    )
    assert table.signatures(loop_disk) == []


async def test_what_somebody_else_changed_is_not_written_over(loop_disk: Path, backend: BlockBackend) -> None:
    pool = backend._pool
    made = await asyncio.to_thread(pool.allocate, "u2", MIB)
    (volume,) = pool.volumes()
    ours = table.read(loop_disk)
    moved = replace(made, type=Type.VOLUME, name="theirs")
    table.write(loop_disk, ours.having(moved))
    for step in (lambda: pool.publish(made), lambda: pool.join(volume, made), lambda: pool.hold(made)):
        with pytest.raises(TemporaryError, match="is not what it was: it was changed meanwhile"):
            await asyncio.to_thread(step)
    pool.drop(made)
    assert [part.name for part in table.read(loop_disk).of(Type.VOLUME)] == ["theirs", "u1"]


async def test_a_table_that_does_not_take_a_partition_is_told_of(
    backend: BlockBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "write", lambda *_, **__: None)
    async with asyncio.timeout(20):
        with pytest.raises(TemporaryError, match=r"has not taken partition 3"):
            await backend.provisioner.create_blank("u2", MIB)


async def test_a_partition_that_the_kernel_does_not_take_is_not_left_in_the_table(
    loop_disk: Path, backend: BlockBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = table.read(loop_disk)

    def follow(*_: object) -> None:
        raise TemporaryError("the kernel has another partition")

    monkeypatch.setattr(disks.Disk, "follow", follow)
    with pytest.raises(TemporaryError, match="the kernel has another partition"):
        await backend.provisioner.create_blank("u2", MIB)
    assert table.read(loop_disk) == before


def test_no_partition_has_a_number_that_the_kernel_does_not_know() -> None:
    parts = [Part(number, number * MIB, MIB, Type.VOLUME, f"u{number}") for number in range(1, 255)]
    full = Table("id", 512, MIB, 1 << 40, tuple(parts))
    assert full.number() == 255
    assert full.number(after=255) == 255
    assert full.having(Part(255, 255 * MIB, MIB, Type.VOLUME, "u255")).number() is None


async def test_what_is_open_at_the_start_is_removed_later(
    tmp_path: Path, loop_disk: Path, backend: BlockBackend
) -> None:
    for uid in ("a", "b", "c"):
        await asyncio.to_thread(backend._pool.allocate, uid, MIB)
    left = table.read(loop_disk).of(Type.UNFINISHED)
    with ExitStack() as stack:
        stack.enter_context(backend._pool.hold(left[0]))
        later = test_block.made(tmp_path / "one", loop_disk)
        await later.start()
        assert [part.name for part in table.read(loop_disk).of(Type.UNFINISHED)] == ["a"]
    await later.provisioner.create_blank("u2", MIB)
    assert table.read(loop_disk).of(Type.UNFINISHED) == []


_KILLED = """
import os, signal, stat, sys
from pathlib import Path
from hyperd.storage.backends.block import table
from hyperd.storage.backends.block.disk import Disk
disk = Path(sys.argv[1])
found = table.read(disk)
def made(spare):
    names = ["a" * (1 + max(0, min(35, spare - 35 * n))) for n in range(98)]
    lie = [(n, n * 2 * table.MIB, table.MIB, table.Type.VOLUME) for n in range(2, 100)]
    return found.having(*(table.Part(*where, name) for where, name in zip(lie, names, strict=True)))
whole = next(each for each in map(made, range(200)) if each.script().encode()[4095:4096] == b"\\n")
real = os.write
def write(fd, data):
    done = real(fd, data)
    if len(data) >= 4096 and stat.S_ISFIFO(os.fstat(fd).st_mode):
        os.kill(os.getpid(), signal.SIGKILL)
    return done
os.write = write
with Disk.at(disk).locked() as lock:
    table.write(disk, whole, lock=lock)
"""


def test_a_daemon_that_is_killed_while_it_writes_leaves_a_whole_table(loop_disk: Path) -> None:
    """At its first piece through a pipe, if there is one; or it writes all."""
    table.write(loop_disk, table.blank(256 * MIB, 512))
    done = subprocess.run([sys.executable, "-c", _KILLED, loop_disk], check=False)
    assert done.returncode in (0, -signal.SIGKILL)
    with disks.Disk.at(loop_disk).locked():
        parts = table.read(loop_disk).parts
    assert len(parts) in (1, 99)


_ERASES = """
import asyncio, os, sys
from pathlib import Path
from hyperd.imagefile import erasing, sandbox
sandbox._ENVIRONMENT["PATH"] = sys.argv[1] + ":" + os.environ["PATH"]
asyncio.run(erasing._fallocate(Path("/dev/null"), 0, 1, "--punch-hole"))
"""


def test_nothing_goes_on_erasing_once_the_daemon_is_killed(tmp_path: Path) -> None:
    """A disk that takes long for it."""
    told = tmp_path / "told"
    os.mkfifo(told)
    program = tmp_path / "fallocate"
    program.write_text(f'#!/bin/sh\necho $$ > "{told}"\nexec sleep 600\n')
    program.chmod(0o755)
    daemon = subprocess.Popen([sys.executable, "-c", _ERASES, tmp_path])
    erasing = os.pidfd_open(int(told.read_text()))
    try:
        daemon.kill()
        daemon.wait()
        assert select.select([erasing], [], [], 10)[0], "it has ended"
    finally:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(erasing, signal.SIGKILL)
        os.close(erasing)
