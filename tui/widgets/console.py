"""The Console tab: the end of the console's log until the session is taken, then the session itself.

Looking at a console must not throw out who works on it, so the tab first follows the log, which is shared. The
session is opened by the console action, and comes again by itself when it breaks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import Static
from textual.worker import Worker

from hyperd.client import paths, sanitize
from hyperd.errors import BadRequest, HyperdError, NotFound, ServiceUnavailable, Timeout
from tui.fleet import Fleet, Key
from tui.widgets.terminal import Terminal

Send = Callable[[bytes], Awaitable[None]]

_PREVIEW_LINES = 200
_REPLAY_BYTES = 65536
_RETRY_SECONDS = 1.0
_RECONNECT_SECONDS = 2.0
_TAKEN_OVER = 1001


class ConsolePane(Vertical):
    """One machine's console. ``preview`` follows its log, ``connect`` takes the session."""

    DEFAULT_CSS = """
    ConsolePane Static { height: 1; color: $text-muted; padding: 0 1; }
    ConsolePane Terminal { height: 1fr; }
    """

    class Leave(Message):
        """The user left the console."""

    def __init__(self, fleet: Fleet, *, escape: str, id: str | None = None) -> None:
        super().__init__(id=id)
        self._fleet = fleet
        self._escape = escape
        self._typed: asyncio.Queue[bytes] = asyncio.Queue(maxsize=1024)
        self._worker: Worker[None] | None = None
        self.key: Key | None = None
        self.connected = False

    def compose(self) -> ComposeResult:
        """A status line and the screen."""
        yield Static("")
        yield Terminal(escape=self._escape)

    @property
    def terminal(self) -> Terminal:
        return self.query_one(Terminal)

    def preview(self, key: Key) -> None:
        """Follow the log of ``key``'s machine, unless its console is shown already."""
        if self.key == key and self._worker is not None and self._worker.is_running:
            return
        self._begin(key)
        self._worker = self.run_worker(partial(self._follow_log, key), exclusive=True, group="console")

    def connect(self, key: Key) -> None:
        """Take the session of ``key``'s machine; keys go there from now on."""
        self.terminal.focus()
        if self.key == key and self.connected:
            return
        self._begin(key)
        self._worker = self.run_worker(partial(self._hold_session, key), exclusive=True, group="console")

    def disconnect(self) -> None:
        """Give the session back."""
        if self._worker is not None:
            self._worker.cancel()
            self._worker = None
        self.key = None
        self.connected = False

    def on_terminal_typed(self, message: Terminal.Typed) -> None:
        """Send what was typed; while there is no session it goes nowhere."""
        message.stop()
        if self.connected and not self._typed.full():
            self._typed.put_nowait(message.data)

    def on_terminal_left(self, message: Terminal.Left) -> None:
        """Tell whoever shows this pane."""
        message.stop()
        self.post_message(self.Leave())

    def _begin(self, key: Key) -> None:
        self.key = key
        self.connected = False
        self.terminal.clear()
        while not self._typed.empty():
            self._typed.get_nowait()

    def _say(self, text: str, *, style: str = "") -> None:
        self.query_one(Static).update(Text(text, style=style))

    async def _follow_log(self, key: Key) -> None:
        self._say("what the console said; c types into it, C takes the whole terminal")
        path = paths.subresource(key.namespace, key.name, "log")
        client = self._fleet.client(key.home)
        if client is None:
            return
        try:
            async for piece in client.stream(f"{path}?follow=true&tail={_PREVIEW_LINES}"):
                await self.terminal.feed(piece)
            self._say("the log ended; c opens the console")
        except HyperdError as err:
            self._say(sanitize.line(err.message), style="yellow")

    async def _hold_session(self, key: Key) -> None:
        label = self.terminal.escape.label
        path = paths.subresource(key.namespace, key.name, "console")
        replay = _REPLAY_BYTES
        while True:
            self._say(f"connecting to {key.namespace}/{key.name} …", style="yellow")
            try:
                code = await self._session(key, f"{path}?replay={replay}", label)
            except NotFound as err:
                self._say(sanitize.line(err.message), style="red")
                return
            except (BadRequest, ServiceUnavailable, Timeout) as err:
                self._say(f"{sanitize.line(err.message).rstrip('.')}. Waiting; {label} leaves.", style="yellow")
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            except HyperdError as err:
                self._say(sanitize.line(err.message), style="red")
                return
            finally:
                self.connected = False
            if code == _TAKEN_OVER:
                self._say("someone else opened this console; c takes it back", style="yellow")
                return
            self._say(f"the connection broke; connecting again. {label} leaves", style="yellow")
            replay = 0
            await asyncio.sleep(_RECONNECT_SECONDS)

    async def _session(self, key: Key, path: str, label: str) -> int:
        """One session until it ends; its close code, 1006 when it just broke."""
        client = self._fleet.client(key.home)
        if client is None:
            raise ServiceUnavailable(f"There is no connection to {key.home} yet.")
        async with client.session(path) as socket:
            self.connected = True
            self._say(
                f"connected to {key.namespace}/{key.name} · {label} leaves · Enter gets a prompt", style="green"
            )
            typing = asyncio.create_task(self._type_into(socket.send_bytes))
            try:
                async for message in socket:
                    if isinstance(message.data, bytes):
                        await self.terminal.feed(message.data)
            finally:
                typing.cancel()
            return socket.close_code or 1006

    async def _type_into(self, send: Send) -> None:
        while True:
            data = await self._typed.get()
            while not self._typed.empty():
                data += self._typed.get_nowait()
            try:
                await send(data)
            except ConnectionError:
                return
