"""The program in QEMU's place: it waits for hyperd's word, and is QEMU from then on."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hyperd.errors import TemporaryError
from hyperd.launcher.waiting import Waiting, install

_UID = "6f7d3a52-7c5e-4b3c-9a58-9d6c1a6b7c8d"
_QEMU = '#!/bin/sh\necho "$$ $*"\n'


class Place:
    """What hyperd does for a start."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.go = asyncio.Event()
        self.refusal = ""

    async def prepare(self, uid: str, pid: int) -> None:
        self.asked.append((uid, pid))
        await self.go.wait()
        if self.refusal:
            raise TemporaryError(self.refusal)


@pytest.fixture
async def place() -> Place:
    return Place()


@pytest.fixture
async def waiting(programs: Path, tmp_path: Path, place: Place) -> AsyncIterator[Waiting]:
    qemu = tmp_path / "qemu-system-x86_64"
    qemu.write_text(_QEMU)
    qemu.chmod(0o755)
    made = Waiting(tmp_path / "emulator", place.prepare)
    await made.start(programs / "emulator", qemu)
    yield made
    await made.close()


async def run(waiting: Waiting, *words: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(waiting.emulator, *words, stdout=pipe, stderr=pipe)


async def test_qemu_begins_once_its_place_is_ready_as_the_same_process(waiting: Waiting, place: Place) -> None:
    process = await run(waiting, "-name", "x", "-uuid", _UID, "-S")
    done = asyncio.create_task(process.communicate())
    async with asyncio.timeout(10):
        while not place.asked:
            await asyncio.sleep(0.01)
    assert place.asked == [(_UID, process.pid)]
    assert not done.done()
    place.go.set()
    output, _ = await done
    assert output.decode() == f"{process.pid} -name x -uuid {_UID} -S\n"


async def test_nothing_waits_where_only_its_abilities_are_asked(waiting: Waiting, place: Place) -> None:
    output, _ = await (await run(waiting, "-S", "-no-user-config", "-machine", "none")).communicate()
    assert output.decode().endswith("-machine none\n")
    assert not place.asked


async def test_a_refusal_is_what_libvirt_hands_on(waiting: Waiting, place: Place) -> None:
    place.refusal = "The Pod is about to end."
    place.go.set()
    process = await run(waiting, "-uuid", _UID)
    output, errors = await process.communicate()
    assert (output, process.returncode) == (b"", 1)
    assert errors == b"hyperd's emulator: The Pod is about to end.\n"


async def test_no_guest_begins_without_hyperd(waiting: Waiting, place: Place) -> None:
    await waiting.close()
    process = await run(waiting, "-uuid", _UID)
    _, errors = await process.communicate()
    assert process.returncode == 1
    assert b"hyperd does not answer on this node" in errors


async def test_who_is_not_that_program_is_not_answered(waiting: Waiting, place: Place) -> None:
    reader, writer = await asyncio.open_unix_connection(waiting.emulator.parent / "emulator.sock")
    writer.write(f"{_UID}\n".encode())
    assert await reader.readline() == b"Only the emulator program of this node's hyperd is answered.\n"
    assert not place.asked
    writer.close()


def test_the_program_is_anew_where_qemu_is(programs: Path, tmp_path: Path) -> None:
    qemu, folder = tmp_path / "qemu", tmp_path / "emulator"
    qemu.write_text(_QEMU)
    install(folder, programs / "emulator", qemu)
    first = (folder / "emulator").stat()
    install(folder, programs / "emulator", qemu)
    assert (folder / "emulator").stat().st_ino == first.st_ino
    qemu.write_text(f"{_QEMU}# newer\n")
    os.utime(qemu, ns=(0, 0))  # as packages have it
    install(folder, programs / "emulator", qemu)
    assert (folder / "emulator").stat().st_ino != first.st_ino
