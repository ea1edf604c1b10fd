"""Consoles that need the screen: on the whole terminal, and from the hands of somebody else."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from textual.app import SuspendNotSupported

from hyperd.client.attach import attach
from hyperd.errors import HyperdError
from tui.shelf import Key
from tui.widgets.console import ConsolePane

if TYPE_CHECKING:
    from tui.screens.main import MainScreen


async def attach_raw(screen: MainScreen, key: Key, escape: str) -> None:
    """The console on the real terminal; the UI stays connected meanwhile."""
    home = screen.fleet.homes[key.home].home
    screen.detail.console.disconnect()
    try:
        with screen.app.suspend():
            print("\x1b[2J\x1b[H", end="", flush=True)  # noqa: T201  the terminal is ours, not the app's, here
            ended = await asyncio.to_thread(attach, home, key.namespace, key.name, escape=escape)
        screen.say(ended)
    except SuspendNotSupported:
        screen.say("This terminal cannot be handed over; c opens the console here.", error=True)
    except HyperdError as err:
        screen.say(err.message, error=True)
    screen.refresh(layout=True)


def ask_holder(screen: MainScreen, held: ConsolePane.Held) -> None:
    """Nobody is thrown out without a question that names them."""
    from tui.screens.confirm import Confirm

    def decided(yes: bool | None) -> None:
        if yes:
            screen.detail.console.connect(held.key, force=True)
        else:
            screen.post_message(ConsolePane.Leave())

    screen.app.push_screen(Confirm(f"Take over the console of {screen.named(held.key)}?", held.why), decided)
