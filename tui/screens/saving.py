"""What a console said or a screen shows, as a file of the user's."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Protocol

from hyperd.client import sanitize
from hyperd.client.rfb.framebuffer import Framebuffer, png
from tui.shelf import Key


class Says(Protocol):
    """Who tells the user what came of it."""

    def say(self, text: str, *, error: bool = False) -> None: ...


def file_name(key: Key, ending: str) -> str:
    """A name that is not there yet, of the machine and the time."""
    return f"{key.name}-{time.strftime('%Y%m%d-%H%M%S')}.{ending}"


def saver(screen: Says, content: Callable[[], bytes]) -> Callable[[str], Coroutine[object, object, None]]:
    """What writes ``content`` under the name that the user gives; nothing is overwritten."""

    async def save(name: str) -> None:
        if not name:
            return
        try:
            path = await asyncio.to_thread(write, name)
        except OSError as err:
            screen.say(f"{sanitize.line(name)}: {err.strerror}", error=True)
        else:
            screen.say(f"written to {sanitize.line(str(path))}")

    def write(name: str) -> Path:
        path = Path(name).expanduser()
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content())
        return path.absolute()

    return save


def picture(frame: Framebuffer) -> Callable[[], bytes]:
    """A screen's PNG."""
    return lambda: png(frame)


def text(history: str) -> Callable[[], bytes]:
    """A console's text."""
    return history.encode
