"""``hv disk export`` against a whole daemon, and against a server that breaks off."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from hyperd.resources.all import VIRTUAL_DISK
from tests.unit.cli.conftest import ROOT, Result
from tests.unit.controllers.exporting import EXPECTED, MIB, SIZE, SUBRESOURCES, Exporting, in_use, write
from tests.unit.controllers.world import running

pytestmark = pytest.mark.loop_seconds(1, "the tests hash and compare whole disks")

DIGEST = hashlib.sha256(EXPECTED).hexdigest()


class Hv:
    """Runs ``hv`` in one folder, against one socket."""

    def __init__(self, socket: Path, folder: Path) -> None:
        self.socket, self.folder = socket, folder

    async def begin(self, *arguments: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "hyperd.cli.main", *arguments, "--socket", str(self.socket),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder), "PYTHONPATH": str(ROOT)}, cwd=self.folder,
        )  # fmt: skip

    async def __call__(self, *arguments: str, code: int = 0) -> Result:
        process = await self.begin(*arguments)
        out, err = await asyncio.wait_for(process.communicate(), 60)
        result = Result(process.returncode or 0, out.decode("latin-1"), err.decode())
        assert "Traceback" not in result.err, result.err
        assert result.code == code, result
        return result

    def files(self) -> list[str]:
        return sorted(entry for entry in os.listdir(self.folder) if not entry.startswith("."))


@asynccontextmanager
async def exporting(folder: Path) -> AsyncIterator[tuple[Exporting, Hv]]:
    async with running() as world:
        connector = aiohttp.UnixConnector(path=str(world._settings.socket_path))
        async with aiohttp.ClientSession(connector=connector) as client:
            yield Exporting(world, client), Hv(world._settings.socket_path, folder)


async def test_a_disk_becomes_a_file_with_the_same_holes(tmp_path: Path) -> None:
    async with exporting(tmp_path) as (lab, hv):
        await lab.disk()
        said = await hv("disk", "export", "vd/vm")
        assert said.out == (
            f"Wrote vm.img, 48.0 MiB, {allocated(tmp_path / 'vm.img')} of them on the disk. sha256 {DIGEST}\n"
        )
        assert (tmp_path / "vm.img").read_bytes() == EXPECTED
        assert (tmp_path / "vm.img").stat().st_blocks * 512 < 6 * MIB
        assert (tmp_path / "vm.img").stat().st_mode & 0o777 == 0o600
        again = await hv("disk", "export", "vd/vm", code=1)
        assert again.err.startswith("hv: vm.img is there already: remove it")
        await hv("disk", "export", "virtualdisk/vm", "-o", "vm.qcow2")
        compare = ["qemu-img", "compare", "-f", "qcow2", "-F", "raw", "vm.qcow2", "vm.img"]
        await asyncio.to_thread(lambda: subprocess.run(compare, check=True, cwd=tmp_path))
        assert (await hv("disk", "export", "vd/vm", "-o", "-")).out.encode("latin-1") == EXPECTED
        assert hv.files() == ["vm.img", "vm.qcow2"]


def allocated(path: Path) -> str:
    return f"{path.stat().st_blocks * 512 / MIB:.1f} MiB"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("vm/vm",), "write vd/NAME, vds/NAME"),
        (("vd",), "write vd/NAME, vds/NAME"),
        (("vd/a/b",), "write vd/NAME, vds/NAME"),
        (("vd/absent",), 'virtualdisks.virtualization.deckhouse.io "absent" not found'),
    ],
)
async def test_what_cannot_be_is_told_and_leaves_no_file(
    tmp_path: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    async with exporting(tmp_path) as (_, hv):
        assert sentence in (await hv("disk", "export", *arguments, code=1)).err
        assert hv.files() == []


class Breaking:
    """Passes requests on to a daemon, and cuts every answer after some bytes."""

    def __init__(self, lab: Exporting, most: int) -> None:
        self._lab = lab
        self._most = most
        self.asked: list[str] = []
        self.damages = False

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked.append(request.headers.get("Range", request.query_string.partition("&")[2]))
        wanted = {name: request.headers[name] for name in ("Range", "If-Range") if name in request.headers}
        async with self._lab.client.get(f"http://h{request.raw_path}", headers=wanted) as answer:
            kept = ("Content-Length", "Content-Range", "ETag", "Content-Type")
            headers = {name: answer.headers[name] for name in kept if name in answer.headers}
            response = web.StreamResponse(status=answer.status, headers=headers)
            await response.prepare(request)
            left, damages = self._most, self.damages and "checksum" not in request.query_string
            async for piece in answer.content.iter_chunked(65536):
                if len(piece) > left:
                    await response.write(piece[:left])
                    assert request.transport is not None
                    request.transport.close()
                    raise ConnectionAbortedError
                left -= len(piece)
                await response.write(bytes(len(piece)) if damages else piece)
            await response.write_eof()
            return response


@asynccontextmanager
async def breaking(lab: Exporting, folder: Path, most: int) -> AsyncIterator[tuple[Breaking, Hv]]:
    front = Breaking(lab, most)
    runner = web.ServerRunner(web.Server(front))
    await runner.setup()
    site = web.UnixSite(runner, str(lab.world.state_dir / "front.sock"))
    await site.start()
    try:
        yield front, Hv(lab.world.state_dir / "front.sock", folder)
    finally:
        await runner.cleanup()


async def test_a_transfer_that_breaks_off_is_gone_on_with(tmp_path: Path) -> None:
    async with exporting(tmp_path) as (lab, _):
        await lab.disk()
        async with breaking(lab, tmp_path, 20 * MIB + 17) as (front, hv):
            said = await hv("disk", "export", "vd/vm")
        assert f"sha256 {DIGEST}" in said.out
        assert front.asked[0] == ""
        # What was on its way at the cut may be lost; where it went on is what the file had.
        assert [asked.startswith("bytes=") for asked in front.asked[1:-1]] == [True] * (len(front.asked) - 2)
        assert front.asked[-1] == "checksum=sha256"
        assert (tmp_path / "vm.img").read_bytes() == EXPECTED


async def test_another_hv_goes_on_where_one_was_killed(tmp_path: Path) -> None:
    async with exporting(tmp_path) as (lab, hv):
        path = await lab.disk()
        first = await killed_in_the_middle(lab, hv)
        assert first.stat().st_size <= 20 * MIB
        said = await hv("disk", "export", "vd/vm")
        assert f"sha256 {DIGEST}" in said.out
        assert hv.files() == ["vm.img"]
        (tmp_path / "vm.img").unlink()

        await killed_in_the_middle(lab, hv)
        await asyncio.to_thread(write, path, "write -q -P 6 40M 64k")
        await hv("disk", "export", "vd/vm")
        other = bytearray(EXPECTED)
        other[40 * MIB : 40 * MIB + 65536] = b"\6" * 65536
        assert (tmp_path / "vm.img").read_bytes() == other, "it is of one version alone"
        assert hv.files() == ["vm.img"]


async def killed_in_the_middle(lab: Exporting, hv: Hv) -> Path:
    """What a killed ``hv`` leaves."""
    async with breaking(lab, hv.folder, 20 * MIB) as (_, behind):
        process = await behind.begin("disk", "export", "vd/vm")
        async with asyncio.timeout(20):
            while not (found := [*hv.folder.glob("vm.img.*.part")]) or not found[0].stat().st_size:
                await asyncio.sleep(0.01)
        process.kill()
        await process.wait()
    await lab.world.until(lambda disk: in_use(disk) == "NotInUse", VIRTUAL_DISK, "vm")
    return found[0]


async def test_what_comes_damaged_is_not_kept(tmp_path: Path) -> None:
    async with exporting(tmp_path) as (lab, _):
        await lab.disk()
        assert (await lab.read())[0] == 200
        async with breaking(lab, tmp_path, SIZE) as (front, hv):
            front.damages = True
            said = await hv("disk", "export", "vd/vm", code=1)
        assert said.err.endswith(f"and should be {DIGEST}. Export it again.\n")
        assert hv.files() == []


async def test_an_address_is_printed_for_others(tmp_path: Path) -> None:
    async with exporting(tmp_path) as (lab, hv):
        await lab.disk()
        url = (await hv("disk", "export", "vd/vm", "--url")).out.strip()
        authority = lab.world._settings.pki_dir / "ca.crt"
        curl = f"curl --cacert {authority} -fsSOJ {url} && curl --cacert {authority} -fsS {url}?checksum=sha256"
        done = await asyncio.create_subprocess_exec(
            "sh", "-c", f"{curl} | sha256sum -c", cwd=tmp_path, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await done.communicate()
        assert (done.returncode, out) == (0, b"vm.img: OK\n")


async def test_curl_does_the_same_as_the_help_shows(tmp_path: Path) -> None:
    async with exporting(tmp_path) as (lab, hv):
        await lab.disk()
        at = f"{SUBRESOURCES.replace('http://h', 'http://hv')}/virtualdisks/vm/export"
        (tmp_path / "vm.img").write_bytes(EXPECTED[: 5 * MIB + 3])
        script = (
            f"curl --unix-socket {hv.socket} -fsSo vm.img -C - {at} && "
            f"curl --unix-socket {hv.socket} -fsS '{at}?checksum=sha256' | sha256sum -c"
        )
        done = await asyncio.create_subprocess_exec(
            "sh", "-c", script, cwd=tmp_path, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await done.communicate()
        assert (done.returncode, out) == (0, b"vm.img: OK\n")


async def test_a_shell_completes_what_holds_something(tmp_path: Path) -> None:
    async with exporting(tmp_path) as (lab, hv):
        await lab.disk()
        here = ("--socket", str(hv.socket))
        assert (await hv("__complete", "3", "disk", "export", "v")).out.split() == ["vd/", "vds/", "vi/"]
        line = ("disk", *here, "export", "vd/")
        assert (await hv("__complete", str(len(line)), *line)).out.split() == ["vd/vm"]
