from __future__ import annotations

import asyncio
import os
import re
import struct
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import hyperd
from hyperd.errors import PermanentError, TemporaryError
from hyperd.imagefile import sandbox
from hyperd.imagefile.detect import ForeignFormat, ImageFormat
from hyperd.imagefile.growth import Growth
from hyperd.imagefile.qemuimg import QemuImg
from hyperd.imagefile.sandbox import Limits
from hyperd.settings import Settings
from tests.unit.registry.world import qcow2_bytes, qemu_img


@contextmanager
def opened(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        yield fd
    finally:
        os.close(fd)


def growth(fd: int, folder: Path, *, max_bytes: int = 1 << 30, reserve: int = 0) -> Growth:
    return Growth(fd, max_bytes=max_bytes, folder=folder, reserve=reserve)


@pytest.fixture
def tools() -> QemuImg:
    return QemuImg(Settings())


async def test_a_file_that_only_root_may_read_is_lent_and_given_back(tools: QemuImg, tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(await qcow2_bytes(tmp_path))
    path.chmod(0o600)
    os.chmod(tmp_path, 0o700)
    with opened(path) as fd:
        assert (await tools.info(fd, ImageFormat.QCOW2)).virtual_size == 4 << 20
        await tools.check(fd)
    assert path.stat().st_uid == os.geteuid()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root lends files")
def test_a_file_that_is_lent_twice_goes_back_to_whom_it_belonged(tmp_path: Path) -> None:
    path, settings = tmp_path / "image", Settings()
    path.write_bytes(b"x")
    nobody = sandbox.tools_user(settings).pw_uid
    with opened(path) as one, opened(path) as two:
        first, second = sandbox.lent([one], settings), sandbox.lent([two], settings)
        with first:
            second.__enter__()
            assert path.stat().st_uid == nobody
        assert path.stat().st_uid == nobody, "the other one still has it"
        second.__exit__(None, None, None)
        assert path.stat().st_uid == 0
        with sandbox.lent([one], settings):
            os.chown(path, 1234, 1234)
        assert path.stat().st_uid == 1234, "libvirt has given it to a guest meanwhile"


async def test_a_cut_qcow2_fails_the_check_though_its_header_is_fine(tools: QemuImg, tmp_path: Path) -> None:
    whole = await qcow2_bytes(tmp_path)
    path = tmp_path / "image"
    path.write_bytes(whole[: len(whole) // 2])
    with opened(path) as fd, pytest.raises(PermanentError, match="cut short"):
        await tools.check(fd)


async def test_an_image_inside_another_file_is_checked_in_place(tools: QemuImg, tmp_path: Path) -> None:
    whole = await qcow2_bytes(tmp_path)
    path = tmp_path / "layer"
    path.write_bytes(bytes(4096) + whole + bytes(1024))
    with opened(path) as fd:
        await tools.check(fd, offset=4096, size=len(whole))
        with pytest.raises(PermanentError):
            await tools.check(fd, offset=4096, size=len(whole) // 2)


async def test_aliased_clusters_fail_the_check(tools: QemuImg, tmp_path: Path) -> None:
    """Two guest clusters on one host cluster: how a small file becomes endless."""
    path = tmp_path / "image"
    image = bytearray(await qcow2_bytes(tmp_path))
    (l1_offset,) = struct.unpack_from(">Q", image, 40)
    l2_offset = struct.unpack_from(">Q", image, l1_offset)[0] & 0x00FFFFFFFFFFFE00
    image[l2_offset + 8 : l2_offset + 16] = image[l2_offset : l2_offset + 8]
    path.write_bytes(image)
    with opened(path) as fd, pytest.raises(PermanentError, match="damaged"):
        await tools.check(fd)


@pytest.mark.parametrize("format_", list(ForeignFormat))
async def test_a_foreign_format_is_converted(tools: QemuImg, tmp_path: Path, format_: ForeignFormat) -> None:
    (tmp_path / "sound").write_bytes(await qcow2_bytes(tmp_path))
    qemu_img("convert", "-f", "qcow2", "-O", format_.value, tmp_path / "sound", tmp_path / "foreign")
    with opened(tmp_path / "foreign") as source, opened(tmp_path / "target") as target:
        assert (await tools.info(source, format_)).virtual_size == 4 << 20
        await tools.convert(source, format_, target, growth=growth(target, tmp_path))
        assert (await tools.info(target, ImageFormat.QCOW2)).virtual_size == 4 << 20
    qemu_img("compare", tmp_path / "sound", tmp_path / "target")


async def test_an_output_beyond_its_limit_is_cut_off(tools: QemuImg, tmp_path: Path) -> None:
    (tmp_path / "sound").write_bytes(await qcow2_bytes(tmp_path))
    qemu_img("convert", "-f", "qcow2", "-O", "vdi", tmp_path / "sound", tmp_path / "foreign")
    foreign, target_path = tmp_path / "foreign", tmp_path / "target"
    with opened(foreign) as source, opened(target_path) as target:
        limited = growth(target, tmp_path, max_bytes=64 << 10)
        with pytest.raises(PermanentError, match="unpacks to more than"):
            await tools.convert(source, ForeignFormat.VDI, target, growth=limited)
    assert (tmp_path / "target").stat().st_size <= 64 << 10


@pytest.mark.skipif(os.geteuid() != 0, reason="the sandbox is root's")
async def test_a_vmdk_descriptor_cannot_show_a_host_file(tools: QemuImg, tmp_path: Path) -> None:
    secret, stolen = tmp_path / "secret", tmp_path / "stolen"
    secret.write_bytes(b"s" * 512)
    secret.chmod(0o600)
    descriptor = (
        "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n"
        f'createType="monolithicFlat"\nRW 1 FLAT "{secret}" 0\n'
    )
    (tmp_path / "evil").write_text(descriptor)
    with opened(tmp_path / "evil") as source, opened(stolen) as target, pytest.raises(PermanentError):
        await tools.convert(source, ForeignFormat.VMDK, target, growth=growth(target, tmp_path))
    assert b"sss" not in stolen.read_bytes()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can confine")
@pytest.mark.parametrize(
    "argv",
    [
        ["cat", "/etc/shadow"],
        ["ip", "route", "get", "127.0.0.1"],
        ["sh", "-c", "echo x > /tmp/hyperd-sandbox-test"],
        ["ls", "/etc/hostname"],
        ["ls", "/var"],
        ["ls", "/dev/zero"],
        ["ls", "/sys/class"],
        ["ls", f"/proc/{os.getpid()}/fd"],
        ["sh", "-c", "test $(ls -d /proc/[0-9]* | wc -l) -gt 5"],
    ],
    ids=[
        "reads a secret",
        "has a network",
        "writes a file",
        "sees the host's settings",
        "sees the host's data",
        "sees a device",
        "sees the host's hardware",
        "sees the daemon",
        "sees other processes",
    ],
)
async def test_a_confined_program_can_do_nothing(argv: list[str]) -> None:
    done = await sandbox.run(sandbox.confine(argv, settings=Settings(), limits=Limits()), timeout=10)
    assert done.returncode != 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can confine")
async def test_the_service_has_what_confining_takes() -> None:
    unit = (Path(hyperd.__file__).parent / "data" / "hyperd.service").read_text()
    (given,) = re.findall(r"^CapabilityBoundingSet=(.+)$", unit, re.MULTILINE)
    bounding = ",".join(["-all", *(f"+{name.removeprefix('CAP_').lower()}" for name in given.split())])
    argv = sandbox.confine(["echo", "confined"], settings=Settings(), limits=Limits())
    done = await sandbox.run(["setpriv", f"--bounding-set={bounding}", "--", *argv], timeout=10)
    assert (done.returncode, done.stdout) == (0, b"confined\n"), done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can confine")
async def test_a_program_ends_with_whatever_confines_it() -> None:
    argv = sandbox.confine(["sleep", "60"], settings=Settings(), limits=Limits())
    process = await asyncio.create_subprocess_exec(*argv, start_new_session=True, stdout=asyncio.subprocess.PIPE)
    await asyncio.sleep(0.5)
    process.kill()
    assert process.stdout is not None
    async with asyncio.timeout(10):
        assert await process.stdout.read() == b""  # the last holder of the pipe is gone


async def test_a_program_that_does_not_end_is_ended() -> None:
    with pytest.raises(TemporaryError, match="did not finish"):
        await sandbox.run(["sleep", "60"], timeout=0.1)


async def test_a_missing_program_is_named() -> None:
    with pytest.raises(TemporaryError, match="not installed"):
        await sandbox.run(["hyperd-no-such-program"], timeout=1)


async def test_of_a_program_that_says_too_much_only_so_much_is_kept() -> None:
    flood = "head -c 30000000 /dev/zero | tr '\\0' a"
    script = f"(echo begun; {flood}); (echo lost; {flood}; echo; echo why it failed) >&2; exit 3"
    tracemalloc.start()
    try:
        done = await sandbox.run(["sh", "-c", script], timeout=30)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert done.returncode == 3
    assert done.stdout.startswith(b"begun\n")
    assert done.stderr.endswith("\nwhy it failed")
    assert most < 8 << 20
