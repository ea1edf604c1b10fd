"""A guest that is driven on its screen by keys in a terminal (tmux): what it shows there and in a screenshot."""

from __future__ import annotations

import asyncio
import shutil
import socket
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from hyperd.client.rfb.framebuffer import Framebuffer
from hyperd.hypervisor.hypervisor import LibvirtHypervisor
from hyperd.hypervisor.spec import DiskCache, DiskSpec, DomainSpec
from hyperd.imagefile.handle import DiskFormat, FileHandle
from tests.tui.world import World
from tests.unit.cli.conftest import ROOT, Hv, environment, world
from tests.unit.hypervisor import specs
from tui.graphics import glyphs

__all__ = ["world"]

MENU = bytes.fromhex(
    "31c0 8ed8 fc be237c"  # what is said
    "ac 08c0 7409 b40e bb0700 cd10 ebf2"  # each letter of it on the screen, by the BIOS
    "b400 cd16 b40e bb0700 cd10 ebf3"  # each key that is pressed likewise
)
SAID = b"\r\nBOOT MENU  1) disk  2) network\r\nYour choice: \0"


@pytest.fixture
def menu(spec: DomainSpec, qemu_dir: Path) -> DomainSpec:
    disk = qemu_dir / "menu.raw"
    disk.write_bytes((MENU + SAID).ljust(510, b"\0") + b"\x55\xaa" + bytes(1 << 20))
    root = DiskSpec(
        name="vd-root", source=FileHandle(disk, DiskFormat.RAW), serial=specs.serial(1), boot_order=1,
        cache=DiskCache.WRITEBACK,
    )  # fmt: skip
    return replace(spec, disks=(root,), vnc=True)


class Tmux:
    """``hv tui`` in a tmux of its own."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self._socket, self._env = folder / "tmux", env

    async def __call__(self, *words: str) -> str:
        process = await asyncio.create_subprocess_exec(
            "tmux", "-S", str(self._socket), "-f", "/dev/null", *words,
            stdout=asyncio.subprocess.PIPE, env={**self._env, "TERM": "xterm-256color", "LANG": "C.UTF-8"},
        )  # fmt: skip
        out, _ = await process.communicate()
        return out.decode()

    async def shows(self, *words: str, seconds: float = 60) -> str:
        seen = ""
        try:
            async with asyncio.timeout(seconds):
                while not all(word in seen for word in words):
                    await asyncio.sleep(0.1)
                    seen = await self("capture-pane", "-p")
        except TimeoutError:
            raise AssertionError(f"{words} did not come:\n{seen}") from None
        return seen


@pytest.mark.skipif(shutil.which("tmux") is None, reason="there is no tmux")
async def test_a_boot_menu_is_driven_by_keys_in_a_terminal(
    hypervisor: LibvirtHypervisor, menu: DomainSpec, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def real(uid: str) -> socket.socket:
        return await hypervisor.open_graphics(menu.uid)

    monkeypatch.setattr(world.pictures, "open_graphics", real)
    await hypervisor.define_and_start(menu)
    env = environment(world)
    tmux = Tmux(tmp_path, env)
    program = (sys.executable, "-m", "hyperd.cli.main", "tui", "web-7")
    await tmux("new-session", "-d", "-x", "120", "-y", "40", "-c", str(ROOT), *program)
    try:
        await tmux.shows("web-7")
        await tmux("send-keys", "v")
        await tmux.shows("connected to shop/web-7", "BOOT MENU  1) disk  2) network", "Your choice:")
        await tmux("send-keys", "2", "X")
        await tmux.shows("Your choice: 2X")
        await tmux("send-keys", "C-]")
        await tmux.shows("Ctrl+Alt+Del")
        await tmux("send-keys", "x")
        await tmux.shows("web-8")
        picture = tmp_path / "screen.png"
        await Hv(env)("screenshot", "web-7.shop", "-o", str(picture))
    finally:
        await tmux("kill-server")
    letters = glyphs.load()
    assert letters is not None
    with Image.open(picture) as image:
        screen = Framebuffer(*image.size)
        screen.pixels[:] = image.convert("RGB").convert("RGBX").tobytes()
    page = letters.read(screen)
    assert page is not None
    text = "\n".join("".join(cell.text for cell in row) for row in page.rows)
    assert "Your choice: 2X" in text
    await hypervisor.destroy(menu.uid)
