"""Which QEMU runs, and which one would be started now, by what is in the files."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from hyperd.hypervisor.emulators import ProgramFiles
from hyperd.hypervisor.facts.host import HostFacts
from tests.unit.hypervisor.test_host import FACTS


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "qemu-system-test"
    shutil.copy("/bin/sleep", path)
    return path


@contextmanager
def started(program: Path) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([program, "60"]) as process:
        yield process
        process.kill()


@pytest.fixture
def guest(program: Path) -> Iterator[subprocess.Popen[bytes]]:
    with started(program) as process:
        yield process


def update(program: Path, content: bytes) -> None:
    """As a package's update has it."""
    newer = program.with_suffix(".new")
    newer.write_bytes(content)
    newer.chmod(0o755)
    newer.replace(program)


def content(program: Path) -> bytes:
    return program.read_bytes()


def files(program: Path, versions: list[str]) -> ProgramFiles:
    async def facts() -> HostFacts:
        return replace(FACTS, emulator=str(program))

    async def version() -> str:
        return versions[-1]

    return ProgramFiles(facts, version)


async def test_a_guest_runs_what_its_program_was_at_its_start(
    program: Path, guest: subprocess.Popen[bytes]
) -> None:
    versions = ["7.2.0"]
    known = files(program, versions)
    before = await known.present()
    assert before is not None
    assert (before.version, before.digest) == ("7.2.0", await known.running(guest.pid))
    update(program, content(program) + b"\0")
    versions.append("8.0.1")
    after = await known.present()
    assert after is not None
    assert after.version == "8.0.1"
    assert after.digest != before.digest == await known.running(guest.pid)


async def test_the_same_build_installed_anew_is_the_same(program: Path, guest: subprocess.Popen[bytes]) -> None:
    known = files(program, ["7.2.0"])
    update(program, content(program))
    now = await known.present()
    assert now is not None
    assert now.digest == await known.running(guest.pid)


async def test_nothing_is_said_of_what_cannot_be_told(program: Path, tmp_path: Path) -> None:
    assert await files(tmp_path / "none", ["7.2.0"]).present() is None
    known = files(program, ["7.2.0"])
    assert await known.running(None) == ""
    assert await known.running(2**22 + 1) == ""
    other = tmp_path / "emulator"  # what stands in QEMU's place until it may begin
    shutil.copy(program, other)
    with started(other) as process:
        assert await known.running(process.pid) == ""
