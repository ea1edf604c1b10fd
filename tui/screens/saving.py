"""What a console said or a screen shows, as a file of the user's."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
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


def saver(screen: Says, content: Callable[[], bytes]) -> Callable[[str], None]:
    """What writes ``content`` under the name that the user gives; nothing is overwritten."""

    def save(name: str) -> None:
        if not name:
            return
        path = Path(name).expanduser()
        try:
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(content())
        except OSError as err:
            screen.say(f"{sanitize.line(name)}: {err.strerror}", error=True)
        else:
            screen.say(f"written to {sanitize.line(str(path.absolute()))}")

    return save


def picture(frame: Framebuffer) -> Callable[[], bytes]:
    """A screen's PNG."""
    return lambda: png(frame)


def text(history: str) -> Callable[[], bytes]:
    """A console's text."""
    return history.encode
