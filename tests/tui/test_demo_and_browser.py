"""The fleet that is none, and the TUI in a browser behind an address that is good once."""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from hyperd.client.home import local
from hyperd.errors import BadRequest
from tests.tui import devtools
from tests.tui.conftest import looking_at
from tests.tui.terminal import ROOT, Screen
from tests.tui.world import World, short_folder
from tests.unit.cli.conftest import environment
from tui import demo, serving

SIZES = [(80, 24), (100, 30), (160, 45)]


@pytest.fixture
async def fleet() -> AsyncIterator[str]:
    with short_folder() as folder:
        path = str(folder / "demo.sock")
        server = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tui.demo", path, cwd=ROOT,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert server.stdout is not None
        assert server.stdin is not None
        assert await server.stdout.readline() == b"ready\n"
        yield path
        server.stdin.close()  # as where its user was killed
        async with asyncio.timeout(10):
            assert await server.wait() == 0


@pytest.mark.parametrize("size", SIZES)
async def test_a_thousand_machines_are_shown_measured_and_stopped(fleet: str, size: tuple[int, int]) -> None:
    async with looking_at(local(fleet), size=size) as ui:
        await ui.shows("vm 1000", "demo-0001", "● Running", "cpu")
        await ui.press("slash")
        await ui.type("demo-0001")
        await ui.press("enter")
        await ui.row("demo-0001")
        await ui.press("x")
        await ui.shows("y  yes")
        await ui.pilot.pause(0.6)
        await ui.press("y")
        await ui.shows("○ Stopped")
        await ui.press("u")
        await ui.shows("demo-0001-root")


async def test_the_demo_is_called_one_and_ends_with_its_user(world: World) -> None:
    async with Screen(environment(world), "tui", "--demo") as screen:
        await screen.shows("DEMO ●")
        await screen.shows("demo-0001")
        assert "web-7" not in screen.text
        await screen.type(b"q")
        assert await screen.ends() == 0


def test_a_merge_patch_is_what_a_server_makes_of_it() -> None:
    obj = {"a": {"b": 1, "c": 2}, "d": 3}
    assert demo.merged(obj, {"a": {"b": None, "e": {"f": 1}}, "d": 4}) == {"a": {"c": 2, "e": {"f": 1}}, "d": 4}
    assert obj == {"a": {"b": 1, "c": 2}, "d": 3}


@pytest.mark.parametrize(
    "text", ["0.0.0.0:80", "192.0.2.1:1", "example.org:80", "127.0.0.1:x", ":70000", "[::]:1"]
)
def test_only_this_machine_is_served(text: str) -> None:
    with pytest.raises(BadRequest, match="is no address of this machine alone"):
        serving.place(text)


def test_a_place_may_be_said_in_part() -> None:
    assert serving.place("") == ("127.0.0.1", 8890)
    assert serving.place("0") == ("127.0.0.1", 0)
    assert serving.place("[::1]:9") == ("::1", 9)
    assert serving.place("localhost:9") == ("localhost", 9)


@pytest.fixture
async def page(world: World, tmp_path: Path) -> AsyncIterator[str]:
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "hyperd.cli.main", "tui", "--serve", "127.0.0.1:0", "-n", "shop", cwd=ROOT,
        env={**environment(world), "TERM": "xterm-256color"},
        stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert server.stderr is not None
    async with asyncio.timeout(20):
        address = (await server.stderr.readline()).decode().strip()
    yield address
    server.terminate()
    await server.wait()


async def test_a_browser_gets_in_once_and_nobody_else_does(page: str) -> None:
    root = page.partition("?")[0]
    async with aiohttp.ClientSession() as stranger:
        for path in ("", "?token=x", "static/", "ws", "?token="):
            assert (await stranger.get(root + path)).status == 401
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser:
        shown = await browser.get(page)
        assert shown.status == 200
        assert "token" not in str(shown.url), "it does not stay in the history"
        text = await shown.text()
        assert re.search(r"ws://127\.0\.0\.1:\d+/ws", text)
        refused = await browser.get(f"{root}ws", headers={"Origin": "http://evil.example"})
        assert refused.status == 403
        async with browser.ws_connect(f"{root}ws?width=120&height=40", headers={"Origin": root.rstrip("/")}) as ws:
            seen = b""
            async with asyncio.timeout(30):
                while b"web-7" not in seen:
                    message = await ws.receive()
                    seen += message.data if isinstance(message.data, bytes) else str(message.data).encode()
    async with aiohttp.ClientSession() as late:
        assert (await late.get(page)).status == 401


@pytest.mark.skipif(shutil.which(devtools.PROGRAM) is None, reason="needs Debian's chromium, which is 300 MB")
async def test_a_browser_shows_the_machines(page: str) -> None:
    async with asyncio.timeout(120), devtools.browsing(page) as tab:
        await tab.gets(b"web-7")
        dark, green, cells = 0, 0, 1
        while not (dark and green):
            pixels = (await tab.picture()).tobytes()
            cells = len(pixels) // 3
            shades = list(zip(pixels[::3], pixels[1::3], pixels[2::3], strict=True))
            dark = sum(max(shade) < 32 for shade in shades)
            green = sum(much > max(red, blue) + 40 for red, much, blue in shades)
        assert dark > cells // 2, "its own colours, not a page's white"
