"""The Console tab: the end of the console's log until the session is taken, then the session itself.

Looking at a console must not throw out who works on it, so the tab first follows the log, which is shared. The
session is opened by the console action, and comes again by itself when it breaks.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from functools import partial

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import Static
from textual.worker import Worker

from hyperd.client import paths, sanitize
from hyperd.errors import BadRequest, Conflict, HyperdError, ServiceUnavailable, Timeout
from tui.fleet import Fleet
from tui.shelf import Key
from tui.widgets.emulator import EmulatorError
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

    class Held(Message):
        """Somebody else has the console; ``why`` names them."""

        def __init__(self, key: Key, why: str) -> None:
            super().__init__()
            self.key = key
            self.why = why

    class Changed(Message):
        """Keys mean something else now."""

    def __init__(self, fleet: Fleet, *, escape: str, id: str | None = None) -> None:
        super().__init__(id=id)
        self._fleet = fleet
        self._escape = escape
        self._typed: asyncio.Queue[bytes] = asyncio.Queue(maxsize=1024)
        self._worker: Worker[None] | None = None
        self.key: Key | None = None
        self.connected = False
        self._over = False
        """Whether a session ended for good: then its reason stays in sight, until the user goes on."""

    def compose(self) -> ComposeResult:
        """A status line and the screen."""
        yield Static("")
        yield Terminal(escape=self._escape)

    @property
    def terminal(self) -> Terminal:
        return self.query_one(Terminal)

    def preview(self, key: Key) -> None:
        """Follow the log of ``key``'s machine, unless its console is shown already."""
        if self.key == key and (self._over or (self._worker is not None and self._worker.is_running)):
            return
        self._begin(key)
        self._worker = self.run_worker(partial(self._follow_log, key), exclusive=True, group="console")

    def connect(self, key: Key, *, force: bool = False) -> None:
        """Take the session of ``key``'s machine; keys go there from now on.

        Who has it already is thrown out only with ``force``; without, ``Held`` tells of them.
        """
        self.terminal.focus()
        if self.key == key and self.connected:
            return
        self._begin(key)
        self.terminal.live = True
        self._worker = self.run_worker(
            partial(self._hold_session, key, force=force), exclusive=True, group="console"
        )
        self.post_message(self.Changed())

    def disconnect(self) -> None:
        """Give the session back."""
        if self._worker is not None:
            self._worker.cancel()
            self._worker = None
        self.key = None
        self.connected = self._over = self.terminal.live = False

    def on_terminal_wanted(self, message: Terminal.Wanted) -> None:
        """Open the console that is looked at."""
        message.stop()
        if self.key is not None:
            self.connect(self.key)

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
        self.connected = self._over = self.terminal.live = False
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
        except EmulatorError as err:
            self.terminal.clear()
            self._say(str(err), style="yellow")

    async def _hold_session(self, key: Key, *, force: bool) -> None:
        label = self.terminal.escape.label
        path = paths.subresource(key.namespace, key.name, "console")
        query = {
            "session": os.urandom(8).hex(),
            "takeover": "" if force else "false",
            "replay": str(_REPLAY_BYTES),
        }
        first = True
        while True:
            self._say(f"connecting to {key.namespace}/{key.name} …", style="yellow")
            try:
                code, reason = await self._session(key, path, query, label)
            except Conflict as err:
                self._end(sanitize.line(err.message))
                if first:
                    self.post_message(self.Held(key, sanitize.line(err.message)))
                return
            except (BadRequest, ServiceUnavailable, Timeout) as err:
                self._say(f"{sanitize.line(err.message).rstrip('.')}. Waiting; {label} leaves.", style="yellow")
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            except HyperdError as err:
                self._end(sanitize.line(err.message))
                return
            except EmulatorError as err:
                self.terminal.clear()
                self._end(str(err))
                return
            finally:
                self.connected = False
            if code == _TAKEN_OVER:
                self._end(f"someone else opened this console: {reason}" if reason else "the session ended")
                return
            self._say(f"the connection broke; connecting again. {label} leaves", style="yellow")
            self.post_message(self.Changed())
            first, query["replay"], query["takeover"] = False, "", "false"
            await asyncio.sleep(_RECONNECT_SECONDS)

    def _end(self, why: str) -> None:
        """No session any more, and none is tried: say why, and what the keys are now."""
        self._over = True
        self.terminal.end()
        self._say(f"{why.rstrip('.')} · c asks for it, Esc goes back", style="yellow")
        self.post_message(self.Changed())

    async def _session(self, key: Key, path: str, query: dict[str, str], label: str) -> tuple[int, str]:
        """One session until it ends; its close code, 1006 when it just broke, and the server's reason."""
        from aiohttp import WSMsgType  # after the first frame: its import takes longer than one

        client = self._fleet.client(key.home)
        if client is None:
            raise ServiceUnavailable(f"There is no connection to {key.home} yet.")
        columns, rows = self.terminal.cells
        reason = ""
        where = paths.query({**query, "columns": str(columns), "rows": str(rows)})
        async with client.session(path + where) as socket:
            self.connected = True
            self.post_message(self.Changed())
            self._say(
                f"connected to {key.namespace}/{key.name} · {label} leaves · Enter gets a prompt", style="green"
            )
            typing = asyncio.create_task(self._type_into(socket.send_bytes))
            try:
                while (message := await socket.receive()).type in (WSMsgType.BINARY, WSMsgType.TEXT):
                    if isinstance(message.data, bytes):
                        await self.terminal.feed(message.data)
                if message.type is WSMsgType.CLOSE:
                    reason = sanitize.line(str(message.extra or ""))
            finally:
                typing.cancel()
            return socket.close_code or 1006, reason

    async def _type_into(self, send: Send) -> None:
        while True:
            data = await self._typed.get()
            while not self._typed.empty():
                data += self._typed.get_nowait()
            try:
                await send(data)
            except ConnectionError:
                return
