"""``hv screenshot``, ``vnc``, ``port-forward``, ``ssh`` and ``scp`` against a real session server."""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from PIL import Image

from hyperd.resources.kinds.virtual_machine_ip_address_lease import VIRTUAL_MACHINE_IP_ADDRESS_LEASE
from tests.tui.world import World
from tests.unit.cli.conftest import ROOT, Hv

ADDRESS = "127.0.0.7"


@asynccontextmanager
async def background(hv: Hv, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """``hv`` that goes on until the end of the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "hyperd.cli.main", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=hv.env, cwd=ROOT,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        await process.wait()


async def line(stream: asyncio.StreamReader | None) -> str:
    assert stream is not None
    return (await asyncio.wait_for(stream.readline(), 20)).decode()


async def echoing(world: World) -> tuple[int, asyncio.Server]:
    """The port of a service in web-7 that answers what it is sent in capitals, until that is ``hello``."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data.upper())
            await writer.drain()
            if data == b"hello\n":
                break
        writer.close()

    server = await asyncio.start_server(serve, ADDRESS)
    await world.set_status("virtualmachines", "shop", "web-7", {"phase": "Running", "ipAddress": ADDRESS})
    body = {
        "apiVersion": VIRTUAL_MACHINE_IP_ADDRESS_LEASE.api_version, "kind": "VirtualMachineIPAddressLease",
        "metadata": {"name": "ip-" + ADDRESS.replace(".", "-")},
        "spec": {"virtualMachineIPAddressRef": {"name": "web-7", "namespace": "shop"}},
    }  # fmt: skip
    await world.store.create(VIRTUAL_MACHINE_IP_ADDRESS_LEASE, "", body)
    return server.sockets[0].getsockname()[1], server


async def test_a_screenshot_has_the_screen_s_pixels(world: World, hv: Hv, tmp_path: Path) -> None:
    image = Image.new("RGB", (320, 200), (10, 20, 30))
    image.putpixel((319, 199), (255, 0, 1))
    await world.picture("web-7").show(image)
    said = await hv("screenshot", "web-7.shop", "-o", str(tmp_path / "web.png"))
    assert "320x200" in said.out
    with Image.open(tmp_path / "web.png") as written:
        assert written.convert("RGB").tobytes() == image.tobytes()
    async with asyncio.timeout(10):
        while world.picture("web-7").lookers:
            await asyncio.sleep(0.01)


async def test_a_screenshot_is_written_over_nothing_that_was_not_named(
    world: World, hv: Hv, tmp_path: Path
) -> None:
    await world.picture("web-7").show(Image.new("RGB", (8, 8), (1, 2, 3)))
    kept = tmp_path / "kept"
    kept.write_text("mine")
    (tmp_path / "web-7.png").symlink_to(kept)
    said = await hv("screenshot", "web-7.shop", code=1, cwd=tmp_path)
    assert "web-7.png is there already; -o FILE" in said.err
    assert kept.read_text() == "mine"
    (tmp_path / "web-7.png").unlink()
    await hv("screenshot", "web-7.shop", cwd=tmp_path)
    assert (tmp_path / "web-7.png").stat().st_mode & 0o777 == 0o600
    await hv("screenshot", "web-7.shop", "-o", "web-7.png", cwd=tmp_path)


async def test_a_hostile_screen_ends_in_a_sentence(world: World, hv: Hv, tmp_path: Path) -> None:
    picture = world.picture("web-7")
    picture.greets, picture.hostile = False, b"\x1b]0;pwned\x07\x1b[2J"
    said = await hv("screenshot", "web-7.shop", "-o", str(tmp_path / "web.png"), code=1)
    assert "no RFB 3.8" in said.err
    assert "\x1b" not in said.err
    assert not (tmp_path / "web.png").exists()


async def test_a_machine_that_does_not_run_has_no_screen(hv: Hv) -> None:
    said = await hv("screenshot", "db-1", "-n", "shop", code=1)
    assert "db-1" in said.err


async def test_a_viewer_s_port_shows_the_screen_to_one_at_a_time(world: World, hv: Hv) -> None:
    async with background(hv, "vnc", "web-7.shop") as process:
        told = await line(process.stdout)
        assert "vnc://127.0.0.1:" in told
        assert "remote-viewer" in await line(process.stdout)
        port = int(told.partition("127.0.0.1:")[2].split()[0])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await asyncio.wait_for(reader.readexactly(12), 10) == b"RFB 003.008\n"
        second, other = await asyncio.open_connection("127.0.0.1", port)
        assert await asyncio.wait_for(second.read(), 10) == b""
        assert "refused" in await line(process.stderr)
        held = await hv("screenshot", "web-7.shop", "-o", "/dev/null", code=1)
        assert "is held by" in held.err
        assert "--force" in held.err
        writer.close()
        other.close()


async def test_a_port_carries_megabytes_both_ways(world: World, hv: Hv) -> None:
    port, server = await echoing(world)
    async with background(hv, "port-forward", "web-7.shop", f":{port}") as process:
        told = await line(process.stdout)
        assert told.rstrip().endswith(f"leads to port {port} of shop/web-7")
        reader, writer = await asyncio.open_connection("127.0.0.1", int(told.split()[0].rpartition(":")[2]))
        sent = bytes(range(256)) * 12_000

        async def send() -> None:
            writer.write(sent)
            await writer.drain()

        sending = asyncio.create_task(send())
        assert await asyncio.wait_for(reader.readexactly(len(sent)), 30) == sent.upper()
        await sending
        writer.close()
    server.close()


async def test_what_is_refused_is_said_and_the_port_goes_on(world: World, hv: Hv) -> None:
    async with background(hv, "port-forward", "db-1", "-n", "shop", ":80") as process:
        told = await line(process.stdout)
        for _ in range(2):
            reader, writer = await asyncio.open_connection("127.0.0.1", int(told.split()[0].rpartition(":")[2]))
            assert await asyncio.wait_for(reader.read(), 10) == b""
            assert "db-1" in await line(process.stderr)
            writer.close()


async def test_wrong_ports_are_a_sentence(hv: Hv) -> None:
    for words in (["x"], ["80:"], ["0"], ["1:70000"], ["53/udp"], ["80", "81", "--stdio"]):
        said = await hv("port-forward", "web-7", *words, code=1)
        assert said.err.startswith("hv: ")


async def test_ssh_scp_and_cp_reach_the_machine_through_the_home(world: World, hv: Hv, tmp_path: Path) -> None:
    port, server = await echoing(world)
    for program in ("ssh", "scp"):
        stub = tmp_path / program
        stub.write_text(
            '#!/bin/sh\nprintf "%s\\n" "$@" >&2\n'
            'for word; do case "$word" in\nProxyCommand=*) echo hello | sh -c "${word#*=}";;\nesac; done\n'
        )
        stub.chmod(0o755)
    seen = Hv({**hv.env, "PATH": f"{tmp_path}:{hv.env['PATH']}"})
    said = await seen("ssh", "root@web-7.shop", "-p", str(port), "-i", "key", "--", "uptime", "-p")
    assert said.out == "HELLO\n"
    words = said.err.splitlines()
    assert words[-3:] == ["web-7.shop", "uptime", "-p"]
    assert words[words.index("-l") + 1] == "root"
    assert f"HostKeyAlias=web-7.shop.{world.uids['web-7'][:8]}" in words
    said = await seen("scp", "-r", "-P", str(port), "a:b/c", "./x", "root@web-7.shop:/tmp/", code=1)
    assert "one machine" in said.err
    said = await seen("scp", "-r", "-P", str(port), "./x", "root@web-7.shop:/tmp/")
    assert said.out == "HELLO\n"
    assert said.err.splitlines()[-3:] == ["--", "./x", "root@web-7.shop:/tmp/"]
    said = await seen("cp", "-r", "-P", str(port), "root@web-7.shop:/var/log", "./logs:1")
    assert said.err.splitlines()[0] == "-r"
    assert said.err.splitlines()[-3:] == ["--", "root@web-7.shop:/var/log", "./logs:1"]
    missing = await seen("ssh", "nobody.shop", code=1)
    assert "nobody" in missing.err
    server.close()


async def test_no_connection_is_shared_with_a_machine_of_another_home(hv: Hv, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("Host *\n ControlMaster auto\n ControlPath /tmp/shared-%r@%h:%p\n ProxyJump elsewhere\n")
    stub = tmp_path / "ssh"
    stub.write_text(f'#!/bin/sh\nPATH=${{PATH#*:}} exec ssh -F {config} -G "$@"\n')
    stub.chmod(0o755)
    seen = Hv({**hv.env, "PATH": f"{tmp_path}:{hv.env['PATH']}"})
    for words in ([], ["-o", "ControlPath=/tmp/mine"]):
        said = await seen("ssh", "root@web-7.shop", *words)
        assert "controlpath" not in said.out, "ssh names none that it does not use"
        assert "port-forward --stdio" in said.out
        assert "elsewhere" not in said.out


async def test_a_screenshot_goes_into_a_pipe(world: World, hv: Hv) -> None:
    await world.picture("web-7").show(Image.new("RGB", (8, 8), (1, 2, 3)))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "hyperd.cli.main", "screenshot", "web-7.shop", "-o", "-",
        stdout=asyncio.subprocess.PIPE, env=hv.env, cwd=ROOT,
    )  # fmt: skip
    out, _ = await asyncio.wait_for(process.communicate(), 30)
    with Image.open(io.BytesIO(out)) as image:
        assert image.getpixel((7, 7)) == (1, 2, 3)
