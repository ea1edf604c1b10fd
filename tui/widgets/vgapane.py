"""A machine's screen as a session: asked for as often as it can be shown, and while it is seen."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.widgets import Static

from hyperd.client import sanitize
from hyperd.client.rfb.protocol import Rfb
from tui.shelf import Key
from tui.widgets.session import SessionPane
from tui.widgets.vga import VgaScreen

if TYPE_CHECKING:
    from aiohttp import ClientWebSocketResponse

_SLICE = 32 << 10
_EARLY = 256


class VgaPane(SessionPane):
    """One machine's screen, its keyboard and its mouse."""

    VERB = "vnc"
    WHAT = "screen"

    def compose(self) -> ComposeResult:
        """A status line and the screen."""
        self._rfb: Rfb | None = None
        self._wake = asyncio.Event()
        self._came = asyncio.Event()
        self._seen = asyncio.Event()
        self._awaited = True
        """Whether what is pressed is for a session that is yet to come."""
        self._early: list[tuple[int, ...]] = []
        yield Static("")
        yield VgaScreen(escape=self._escape)

    @property
    def vga(self) -> VgaScreen:
        return self.query_one(VgaScreen)

    def begin(self, key: Key) -> None:
        """A dark screen."""
        super().begin(key)
        self._awaited = True
        self._early.clear()
        self.vga.clear()

    def see(self, seen: bool) -> None:
        """Whether anybody sees it: what nobody sees is not asked for."""
        if seen == self._seen.is_set():
            return
        if seen:
            self._seen.set()
            self.vga.repaint()
            self._wake.set()
        else:
            self._seen.clear()
            self.vga.unpicture()

    def press(self, keysyms: tuple[int, ...]) -> None:
        """Press keys together; those that come before the first session stands wait for it."""
        if self._rfb is not None and self._rfb.ready and self.connected:
            self._rfb.press(keysyms)
            self._wake.set()
        elif self._awaited and len(self._early) < _EARLY:
            self._early.append(keysyms)

    def on_vga_screen_pressed(self, message: VgaScreen.Pressed) -> None:
        """To the guest; while there is no session they go nowhere."""
        message.stop()
        self.press(message.keysyms)

    def on_vga_screen_pointed(self, message: VgaScreen.Pointed) -> None:
        message.stop()
        if self._rfb is not None and self.connected:
            self._rfb.point(message.x, message.y, message.buttons)
            self._wake.set()

    async def serve(self, socket: ClientWebSocketResponse) -> str:
        """Draw what the guest shows, send what is pressed."""
        from aiohttp import WSMsgType  # after the first frame: its import takes longer than one

        rfb = self._rfb = Rfb()
        sending = asyncio.create_task(self._send(rfb, socket))
        asking = asyncio.create_task(self._ask(rfb))
        try:
            while (message := await socket.receive()).type in (WSMsgType.BINARY, WSMsgType.TEXT):
                if isinstance(message.data, bytes):
                    await self._draw(rfb, message.data)
            return sanitize.line(str(message.extra or "")) if message.type is WSMsgType.CLOSE else ""
        finally:
            self._rfb = None
            sending.cancel()
            asking.cancel()

    async def _draw(self, rfb: Rfb, data: bytes) -> None:
        drawn = rfb.drawn
        for start in range(0, len(data), _SLICE):
            rfb.feed(data[start : start + _SLICE])
            await asyncio.sleep(0)
        if self._awaited and rfb.ready:
            self._awaited = False
            for keysyms in self._early:
                rfb.press(keysyms)
        if rfb.drawn != drawn:
            self._came.set()
        self._wake.set()

    async def _ask(self, rfb: Rfb) -> None:
        """Paint what has come, and then ask for more."""
        while True:
            await self._came.wait()
            self._came.clear()
            await self._seen.wait()
            resized, changed = rfb.take_changes()
            if resized or changed:
                self.vga.paint(rfb.screen)
            rfb.ask()
            self._wake.set()
            await asyncio.sleep(self.vga.pace)

    async def _send(self, rfb: Rfb, socket: ClientWebSocketResponse) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if out := rfb.take_out():
                try:
                    await socket.send_bytes(out)
                except ConnectionError:
                    return
