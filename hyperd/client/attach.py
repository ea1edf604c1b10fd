"""A raw console on this terminal: bytes pass both ways untouched until the escape key.

The CLI and the TUI (under ``suspend``) use the same loop. Whatever happens, the terminal is left as it was.
"""

from __future__ import annotations

import os
import select
import sys
import termios
import time
import tty
from typing import Any

from hyperd.client import paths, sanitize, websocket
from hyperd.client.escape import EscapeKey
from hyperd.client.home import Home
from hyperd.errors import BadRequest, HyperdError, ServiceUnavailable, Timeout

_RECONNECT_SECONDS = 2.0
_DOUBLE_PRESS_SECONDS = 0.4
_RESET = "\x1b[0m\x1b[?25h\x1b[?2004l\x1b[?1l\x1b>\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l"
"""Undoes what a guest's programs may have switched on: attributes, cursor, paste and mouse modes."""


class RawTerminal:
    """stdin in raw mode for the length of a ``with``; on anything but a terminal it changes nothing."""

    def __init__(self) -> None:
        self._saved: list[Any] | None = None

    def __enter__(self) -> RawTerminal:
        if sys.stdin.isatty():
            self._saved = termios.tcgetattr(0)
            # Drain, not flush: a flush would drop what was just printed.
            tty.setraw(0, termios.TCSADRAIN)
        return self

    def __exit__(self, *_: object) -> None:
        if self._saved is not None:
            termios.tcsetattr(0, termios.TCSADRAIN, self._saved)
            if sys.stdout.isatty():
                os.write(1, _RESET.encode())


def attach(
    home: Home, namespace: str, name: str, *, escape: str = "^]", timeout: float = 300.0, replay: int = 65536
) -> str:
    """Run a session until it ends; returns why, as a sentence for the user.

    Waits up to ``timeout`` seconds for the machine to run. Raises what ends a session for good (NotFound,
    Forbidden, …), and Timeout.
    """
    key = EscapeKey(escape)
    greeting = f"Console of {namespace}/{name}. {key.label} leaves, pressed twice it is sent. Enter gets a prompt."
    with RawTerminal():
        deadline = time.monotonic() + timeout
        path = paths.subresource(namespace, name, "console")
        while True:
            session = _open(home, f"{path}?replay={replay}" if replay else path, key, deadline)
            if session is None:
                return "Left."
            if greeting:
                note(greeting)
            replay, greeting = 0, ""
            try:
                _pump(session, key)
                session.close()
                return "Left."
            except websocket.Closed as end:
                session.close()
                if end.code == 1001:
                    return f"The session ended: {sanitize.line(end.reason) or 'someone else opened the console'}."
                if end.code == 1000:
                    return "The session ended."
            note("The connection broke; connecting again.")
            deadline = time.monotonic() + timeout
            if _left_while_waiting(key, _RECONNECT_SECONDS):
                return "Left."


def note(text: str) -> None:
    """A line of ours between the guest's; carriage returns because the terminal may be raw."""
    sys.stderr.write(f"\r{text}\r\n")
    sys.stderr.flush()


def _open(home: Home, path: str, key: EscapeKey, deadline: float) -> websocket.WebSocket | None:
    """A session, or None when the user left while waiting for one."""
    said = ""
    while True:
        try:
            return websocket.connect(home, path)
        except (BadRequest, ServiceUnavailable) as err:
            problem: HyperdError = err
        if problem.message != said:
            said = problem.message
            note(f"{sanitize.line(said).rstrip('.')}. Waiting; {key.label} leaves.")
        if time.monotonic() > deadline:
            raise Timeout(f"Gave up waiting: {problem.message}")
        if _left_while_waiting(key, 1.0):
            return None


def _left_while_waiting(key: EscapeKey, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        if not select.select([0], [], [], left)[0]:
            continue
        typed = os.read(0, 1024)
        # Nobody listens yet, so Ctrl+C may mean what it always means, and one escape press is enough.
        if not typed or b"\x03" in typed or key.feed(typed)[1] or key.pending:
            return True
    return False


def _pump(session: websocket.WebSocket, key: EscapeKey) -> None:
    """Copy both ways until the user leaves. Raises Closed when the other side ends."""
    while True:
        ready = session.wait(0, timeout=_DOUBLE_PRESS_SECONDS if key.pending else None)
        if not ready and key.expire():
            return
        if session.fileno() in ready:
            view = memoryview(session.receive())
            while view:
                view = view[os.write(1, view) :]
        if 0 in ready:
            typed = os.read(0, 4096)
            data, leaves = key.feed(typed)
            if data:
                session.send(data)
            if leaves or not typed:
                return
