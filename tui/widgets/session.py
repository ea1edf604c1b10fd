"""A session of a machine inside the UI: taken, kept, taken up again when it breaks, given back.

Who has it already is thrown out only when that was asked for. What came of it stays in sight.
"""

from __future__ import annotations

import asyncio
import os
from functools import partial
from typing import TYPE_CHECKING

from rich.text import Text
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import Static
from textual.worker import Worker

from hyperd.client import paths, sanitize
from hyperd.client.rfb.protocol import RfbError
from hyperd.errors import BadRequest, Conflict, HyperdError, ServiceUnavailable, Timeout
from tui.fleet import Fleet
from tui.shelf import Key
from tui.widgets.emulator import EmulatorError
from tui.widgets.guestkeys import GuestKeys

if TYPE_CHECKING:
    from aiohttp import ClientWebSocketResponse

_RETRY_SECONDS = 1.0
_RECONNECT_SECONDS = 2.0
_TAKEN_OVER = 1001


class SessionPane(Vertical):
    """One machine's console or screen; ``connect`` takes the session."""

    DEFAULT_CSS = """
    SessionPane Static { height: 1; color: $text-muted; padding: 0 1; }
    SessionPane GuestKeys { height: 1fr; }
    """
    VERB = ""
    """The subresource."""
    WHAT = ""
    OPENED_HINT = ""

    class Leave(Message):
        """The user left."""

        def __init__(self, pane: SessionPane) -> None:
            super().__init__()
            self.pane = pane

    class Held(Message):
        """Somebody else has the session; ``why`` names them."""

        def __init__(self, pane: SessionPane, key: Key, why: str) -> None:
            super().__init__()
            self.pane = pane
            self.key = key
            self.why = why

    class Changed(Message):
        """Keys mean something else now."""

    def __init__(self, fleet: Fleet, *, escape: str, id: str | None = None) -> None:
        super().__init__(id=id)
        self._fleet = fleet
        self._escape = escape
        self._worker: Worker[None] | None = None
        self.key: Key | None = None
        self.connected = False
        self.over = False
        """Whether a session ended for good: then its reason stays in sight, until the user goes on."""

    @property
    def guest(self) -> GuestKeys:
        """What shows the guest, and gets the keys."""
        return self.query_one(GuestKeys)

    def connect(self, key: Key, *, force: bool = False) -> None:
        """Take the session of ``key``'s machine; keys go there from now on.

        Who has it already is thrown out only with ``force``; without, ``Held`` tells of them.
        """
        if self.key == key and (self.connected or self.guest.live):
            return
        self.begin(key)
        self.guest.live = True
        self._worker = self.run_worker(partial(self._hold, key, force=force), exclusive=True, group="session")
        self.post_message(self.Changed())

    def disconnect(self) -> None:
        """Give the session back."""
        if self._worker is not None:
            self._worker.cancel()
            self._worker = None
        self.key = None
        self.connected = self.over = self.guest.live = self.guest.commanding = False

    def begin(self, key: Key) -> None:
        """Forget what was before."""
        self.key = key
        self.connected = self.over = self.guest.live = self.guest.commanding = False

    def on_guest_keys_wanted(self, message: GuestKeys.Wanted) -> None:
        """Open the session that is looked at."""
        message.stop()
        if self.key is not None:
            self.connect(self.key)

    def on_guest_keys_left(self, message: GuestKeys.Left) -> None:
        """Tell whoever shows this pane."""
        message.stop()
        self.post_message(self.Leave(self))

    def query_of(self, *, first: bool) -> dict[str, str]:
        """What this session's opening asks beyond whose it is."""
        return {}

    async def serve(self, socket: ClientWebSocketResponse) -> str:
        """Carry one connection to its end; the reason that the server gave."""
        raise NotImplementedError

    def say(self, text: str, *, style: str = "") -> None:
        """Put a sentence on the pane's own line."""
        self.query_one(Static).update(Text(text, style=style))

    async def _hold(self, key: Key, *, force: bool) -> None:
        label = self.guest.escape.label
        mine = {"session": os.urandom(8).hex()}
        first, taking = True, force
        while True:
            self.say(f"connecting to {key.namespace}/{key.name} …", style="yellow")
            query = {**mine, "takeover": "" if taking else "false", **self.query_of(first=first)}
            try:
                code, reason = await self._session(key, query)
            except Conflict as err:
                self._end(sanitize.line(err.message))
                if first:
                    self.post_message(self.Held(self, key, sanitize.line(err.message)))
                return
            except RfbError as err:
                self._end(sanitize.line(err.message))
                return
            except (BadRequest, ServiceUnavailable, Timeout) as err:
                self.say(f"{sanitize.line(err.message).rstrip('.')}. Waiting; {label} leaves.", style="yellow")
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            except HyperdError as err:
                self._end(sanitize.line(err.message))
                return
            except EmulatorError as err:
                self._end(str(err))
                return
            finally:
                self.connected = False
            if code == _TAKEN_OVER:
                self._end(f"someone else opened this {self.WHAT}: {reason}" if reason else "the session ended")
                return
            self.say(f"the connection broke; connecting again. {label} leaves", style="yellow")
            self.post_message(self.Changed())
            first, taking = False, False
            await asyncio.sleep(_RECONNECT_SECONDS)

    def _end(self, why: str) -> None:
        """No session any more, and none is tried: say why, and what the keys are now."""
        self.over = True
        self.guest.end()
        self.say(f"{why.rstrip('.')} · c asks for it, Esc goes back", style="yellow")
        self.post_message(self.Changed())

    async def _session(self, key: Key, query: dict[str, str]) -> tuple[int, str]:
        """One session until it ends; its close code, 1006 when it just broke, and the server's reason."""
        client = self._fleet.client(key.home)
        if client is None:
            raise ServiceUnavailable(f"There is no connection to {key.home} yet.")
        path = paths.subresource(key.namespace, key.name, self.VERB) + paths.query(query)
        async with client.session(path) as socket:
            self.connected = True
            self.post_message(self.Changed())
            label = self.guest.escape.label
            self.say(
                f"connected to {key.namespace}/{key.name} · {label} commands{self.OPENED_HINT}", style="green"
            )
            reason = await self.serve(socket)
            return socket.close_code or 1006, reason
