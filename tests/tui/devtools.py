"""A headless Chromium that is asked through its DevTools: what a page was sent, and what it looks like."""

from __future__ import annotations

import asyncio
import base64
import io
import itertools
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from PIL import Image

PROGRAM = "chromium"
_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--window-size=1000,700",
    "--remote-debugging-port=0",
)  # fmt: skip
_START_SECONDS = 60
_BIGGEST = 64 << 20


class Page:
    """One tab. ``received`` is what came over its WebSockets."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.received = b""
        self.more = asyncio.Event()

    async def hear(self) -> None:
        """Take in what the browser says, until it is gone."""
        async for message in self._socket:
            said = message.json()
            if (answer := self._answers.pop(said.get("id", 0), None)) is not None:
                answer.set_result(said)
            elif said.get("method") == "Network.webSocketFrameReceived":
                frame = said["params"]["response"]
                data = frame["payloadData"]
                self.received += base64.b64decode(data) if frame["opcode"] == 2 else data.encode()
                self.more.set()

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command; its result."""
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        said: dict[str, Any] = await answer
        assert "error" not in said, said
        result: dict[str, Any] = said["result"]
        return result

    async def gets(self, text: bytes) -> None:
        """Wait until this has come over a WebSocket."""
        while text not in self.received:
            await self.more.wait()
            self.more.clear()

    async def picture(self) -> Image.Image:
        """What it looks like now."""
        shot = await self.call("Page.captureScreenshot", format="png")
        return Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("RGB")


@asynccontextmanager
async def browsing(address: str) -> AsyncIterator[Page]:
    """A browser with ``address`` open."""
    with tempfile.TemporaryDirectory(prefix="hv-chromium-", ignore_cleanup_errors=True) as profile:
        browser = await asyncio.create_subprocess_exec(
            PROGRAM, *_FLAGS, f"--user-data-dir={profile}", "about:blank",
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            async with aiohttp.ClientSession() as session:
                place = await _tab(browser, session)
                async with session.ws_connect(place, max_msg_size=_BIGGEST) as socket:
                    page = Page(socket)
                    hearing = asyncio.create_task(page.hear())
                    for domain in ("Page", "Network"):
                        await page.call(f"{domain}.enable")
                    await page.call("Page.navigate", url=address)
                    yield page
                    hearing.cancel()
        finally:
            browser.terminate()
            await browser.wait()


async def _tab(browser: asyncio.subprocess.Process, session: aiohttp.ClientSession) -> str:
    """The address of the DevTools of its one tab."""
    assert browser.stderr is not None
    async with asyncio.timeout(_START_SECONDS):
        while b"DevTools listening on" not in (line := await browser.stderr.readline()):
            assert line, "chromium ended"
        port = line.decode().partition("ws://")[2].partition("/")[0]
        while True:
            tabs = await (await session.get(f"http://{port}/json/list")).json()
            if found := [tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page"]:
                return str(found[0])
            await asyncio.sleep(0.05)
