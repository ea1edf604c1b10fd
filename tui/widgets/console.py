"""A machine's serial console: the end of its log until the session is taken, then the session itself.

Looking at a console must not throw out who works on it, so ``preview`` follows the log, which is shared.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.message import Message
from textual.widgets import Static

from hyperd.client import paths, sanitize
from hyperd.errors import HyperdError
from tui.shelf import Key
from tui.widgets.emulator import EmulatorError
from tui.widgets.guestkeys import GuestKeys
from tui.widgets.session import SessionPane
from tui.widgets.terminal import Terminal

if TYPE_CHECKING:
    from aiohttp import ClientWebSocketResponse

Send = Callable[[bytes], Awaitable[None]]

_PREVIEW_LINES = 200
_REPLAY_BYTES = 65536


class ConsolePane(SessionPane):
    """One machine's console. ``preview`` follows its log, ``connect`` takes the session."""

    VERB = WHAT = "console"
    OPENED_HINT = " · Enter gets a prompt"

    class Opened(Message):
        """The user wants the session of what is only looked at."""

        def __init__(self, key: Key) -> None:
            super().__init__()
            self.key = key

    def compose(self) -> ComposeResult:
        """A status line and the screen."""
        self._typed: asyncio.Queue[bytes] = asyncio.Queue(maxsize=1024)
        self._previewing = False
        self._awaited = True
        """Whether what is typed is for a session that is yet to come."""
        yield Static("")
        yield Terminal(escape=self._escape)

    @property
    def terminal(self) -> Terminal:
        return self.query_one(Terminal)

    def preview(self, key: Key) -> None:
        """Follow the log of ``key``'s machine, unless its console is shown already."""
        if self.key == key and self._worker is not None and self._worker.is_running:
            return
        self.begin(key)
        self._previewing = True
        self._worker = self.run_worker(partial(self._follow_log, key), exclusive=True, group="session")

    def on_guest_keys_wanted(self, message: GuestKeys.Wanted) -> None:
        """What is only looked at is opened where sessions are."""
        if self._previewing and self.key is not None:
            message.stop()
            message.prevent_default()
            self.post_message(self.Opened(self.key))

    def on_terminal_typed(self, message: Terminal.Typed) -> None:
        """Send what was typed, also before the session stood; where it broke, it goes nowhere."""
        message.stop()
        if (self.connected or self._awaited) and not self._typed.full():
            self._typed.put_nowait(message.data)

    def begin(self, key: Key) -> None:
        """An empty screen."""
        super().begin(key)
        self._previewing, self._awaited = False, True
        self.terminal.clear()
        while not self._typed.empty():
            self._typed.get_nowait()

    def query_of(self, *, first: bool) -> dict[str, str]:
        """What was said before is drawn for this screen, once."""
        columns, rows = self.terminal.cells
        size = {"columns": str(columns), "rows": str(rows)}
        return {"replay": str(_REPLAY_BYTES), **size} if first else size

    async def serve(self, socket: ClientWebSocketResponse) -> str:
        """Draw what the guest says, send what is typed."""
        from aiohttp import WSMsgType  # after the first frame: its import takes longer than one

        self._awaited = False
        typing = asyncio.create_task(self._type_into(socket.send_bytes))
        try:
            while (message := await socket.receive()).type in (WSMsgType.BINARY, WSMsgType.TEXT):
                if isinstance(message.data, bytes):
                    await self.terminal.feed(message.data)
            return sanitize.line(str(message.extra or "")) if message.type is WSMsgType.CLOSE else ""
        except EmulatorError:
            self.terminal.clear()
            raise
        finally:
            typing.cancel()

    async def _follow_log(self, key: Key) -> None:
        self.say("what the console said; c types into it, C takes the whole terminal")
        path = paths.subresource(key.namespace, key.name, "log")
        client = self._fleet.client(key.home)
        if client is None:
            return
        try:
            async for piece in client.stream(f"{path}?follow=true&tail={_PREVIEW_LINES}"):
                await self.terminal.feed(piece)
            self.say("the log ended; c opens the console")
        except HyperdError as err:
            self.say(sanitize.line(err.message), style="yellow")
        except EmulatorError as err:
            self.terminal.clear()
            self.say(str(err), style="yellow")

    async def _type_into(self, send: Send) -> None:
        while True:
            data = await self._typed.get()
            while not self._typed.empty():
                data += self._typed.get_nowait()
            try:
                await send(data)
            except ConnectionError:
                return
