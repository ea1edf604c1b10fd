"""Keys that are typed ahead: each is given out once what the one before it did is done.

A key that opens a screen, or moves the focus, has done so when the next one is looked at, however many came in one
packet over a slow line. Nothing waits where nothing is typed ahead.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from textual import events
from textual.message import Message
from textual.widget import Widget

from tui.widgets.guestkeys import GuestKeys

if TYPE_CHECKING:
    from textual.app import App

_ROUNDS = 3
"""So often a message goes up from the focus before a key counts as done: what a key says becomes what its widget
says, and that a command."""
_ROUND_SECONDS = 0.5
OPENING_SECONDS = 1.0
"""How long keys wait for a screen that a home has to be asked for first."""
_MOST = 256
"""More than this is no typing: what comes beyond it is lost, but for a guest, which gets all of it."""


class Reached(Message, bubble=True):
    """Goes the way of a key behind it."""

    def __init__(self, at: asyncio.Future[None]) -> None:
        super().__init__()
        self.at = at


class Ahead:
    """What is typed, in its order; ``give`` hands one on."""

    def __init__(self, app: App[None], give: Callable[[events.Event], Awaitable[None]]) -> None:
        self._app = app
        self._give = give
        self._held: deque[events.Key | events.Paste] = deque()
        self._task: asyncio.Task[None] | None = None
        self._openings = set[object]()
        self._opened = asyncio.Event()

    def take(self, event: events.Key | events.Paste) -> None:
        """Hand it on as soon as it is its turn."""
        focused = self._app.focused
        if len(self._held) >= _MOST and not _live(focused):
            return
        self._held.extend(_apart(event, focused))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())

    def opening(self) -> Callable[[], None]:
        """Keys wait, for a moment, for a screen that is to come; what it gives says that none does any more."""
        one = object()
        self._openings.add(one)

        def end() -> None:
            self._openings.discard(one)
            self._opened.set()

        return end

    def opened(self) -> None:
        """It is there."""
        self._openings.clear()
        self._opened.set()

    def drop(self) -> None:
        """Forget what has not been handed on: the keyboard is another program's now."""
        self._held.clear()

    async def _run(self) -> None:
        while self._held:
            event = self._held.popleft()
            focused = self._app.focused
            try:
                await self._give(event)
            except Exception as err:  # noqa: BLE001  a defect ends the app with its report, as one in any handler
                self._app._handle_exception(err)  # noqa: SLF001  textual has no other door for it
                return
            await self._done(_rounds(event, focused))
            if self._openings and self._held:
                await self._open()

    async def _done(self, rounds: int) -> None:
        left = rounds
        while left and self._app.is_running:
            screen, focused = self._app.screen, self._app.focused
            at = asyncio.get_running_loop().create_future()
            target = focused or screen
            if target.post_message(Reached(at)):
                # Where the widget is taken down the message is lost.
                ends = [at, target.task] if target.is_running else [at]
                await asyncio.wait(ends, timeout=_ROUND_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            else:
                await asyncio.sleep(0)
            same = (screen, focused) == (self._app.screen, self._app.focused)
            left = left - 1 if same else _ROUNDS

    async def _open(self) -> None:
        async def come() -> None:
            while self._openings:
                self._opened.clear()
                await self._opened.wait()

        try:
            await asyncio.wait_for(come(), OPENING_SECONDS)
        except TimeoutError:
            # They were meant for what is not there: the list must not get them.
            self._held.clear()
            self._openings.clear()
        else:
            await self._done(_ROUNDS)


def _rounds(event: events.Key | events.Paste, focused: Widget | None) -> int:
    """Text for who keeps the keys leads nowhere else."""
    return 1 if _live(focused) and (isinstance(event, events.Paste) or event.is_printable) else _ROUNDS


def _live(focused: Widget | None) -> bool:
    """Whether keys are a guest's."""
    return isinstance(focused, GuestKeys) and focused.live and not focused.commanding


def _apart(event: events.Key | events.Paste, focused: Widget | None) -> list[events.Key | events.Paste]:
    """Esc and a letter that came in one packet are no Alt and a letter, but for a guest."""
    if isinstance(event, events.Key) and not isinstance(focused, GuestKeys):
        held, alt, key = event.key.partition("alt+")
        if alt and not held and (event.is_printable or key == "enter"):
            return [events.Key("escape", "\x1b"), events.Key(key, event.character)]
    return [event]
