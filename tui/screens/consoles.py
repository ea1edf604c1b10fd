"""Consoles that need more than the lists: the screen of consoles, and the whole terminal."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from textual.app import SuspendNotSupported

from hyperd.client.attach import attach
from hyperd.errors import BadRequest, HyperdError
from tui.shelf import Key

if TYPE_CHECKING:
    from tui.screens.main import MainScreen

T = TypeVar("T")
SESSIONS = "sessions"
"""The name of the screen of consoles."""


async def hand_over(screen: MainScreen, call: Callable[[], T]) -> T:
    """Give the whole terminal to ``call``, in a thread. Raises BadRequest where it cannot be given away."""
    if screen.handed_over:
        raise BadRequest("The terminal is in other hands at the moment; try again.")
    # Ctrl+C is the other program's: not all of them keep the terminal from making a signal of it.
    before = signal.signal(signal.SIGINT, lambda *_: None)
    screen.handed_over = True
    screen.app.ahead.drop()
    try:
        with screen.app.suspend():
            print("\x1b[2J\x1b[H", end="", flush=True)  # noqa: T201  the terminal is ours, not the app's, here
            task = asyncio.create_task(asyncio.to_thread(call))
            # Not its result: an error that leaves this block would leave the app without its terminal.
            await asyncio.wait([task])
    except SuspendNotSupported as err:
        raise BadRequest("This terminal cannot be handed over to another program.") from err
    finally:
        screen.handed_over = False
        signal.signal(signal.SIGINT, before)
    screen.refresh(layout=True)
    return task.result()


async def attach_raw(screen: MainScreen, key: Key, escape: str) -> None:
    """The console on the real terminal; the UI stays connected meanwhile."""
    home = screen.fleet.homes[key.home].home
    screen.sessions.close_one(key)
    try:
        screen.say(await hand_over(screen, partial(attach, home, key.namespace, key.name, escape=escape)))
    except HyperdError as err:
        screen.say(err.message, error=True)


def show(screen: MainScreen, key: Key, what: str) -> None:
    """A machine's console or screen, in the screen of consoles."""
    screen.app.push_screen(SESSIONS)
    screen.sessions.open(key, what)
