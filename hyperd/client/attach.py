"""A raw console on this terminal: bytes pass both ways untouched until the escape key.

The CLI and the TUI (under ``suspend``) use the same loop. Whatever happens, the terminal is left as it was. Keys
go first: nothing that stands still (the guest's input, the terminal, the network) keeps the escape key waiting.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import threading
import time
import tty
from typing import Any

from hyperd.client import paths, sanitize, websocket
from hyperd.client.escape import EscapeKey
from hyperd.client.home import Home
from hyperd.client.outlet import Outlet
from hyperd.errors import BadRequest, Conflict, HyperdError, ServiceUnavailable, Timeout

_RECONNECT_SECONDS = 2.0
_DOUBLE_PRESS_SECONDS = 0.4


class RawTerminal:
    """stdin in raw mode for the length of a ``with``; on anything but a terminal it changes nothing."""

    def __init__(self) -> None:
        self._saved: list[Any] | None = None

    def __enter__(self) -> RawTerminal:
        if sys.stdin.isatty():
            self._saved = termios.tcgetattr(0)
            # Drain, not flush: a flush would drop what was just printed.
            tty.setraw(0, termios.TCSADRAIN)
            if threading.current_thread() is threading.main_thread():
                # Ended from outside, the terminal is given back too.
                signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
        return self

    def __exit__(self, *_: object) -> None:
        if self._saved is not None:
            try:
                # What the terminal answered to a guest's last question is not for the shell.
                termios.tcflush(0, termios.TCIFLUSH)
                termios.tcsetattr(0, termios.TCSANOW, self._saved)
            except termios.error:
                pass  # the terminal is gone


def attach(
    home: Home,
    namespace: str,
    name: str,
    *,
    escape: str = "^]",
    timeout: float = 300.0,
    replay: int = 65536,
    force: bool = False,
) -> str:
    """Run a session until it ends; returns why, as a sentence for the user.

    Waits up to ``timeout`` seconds for the machine to run. Who holds the console already is thrown out only by
    ``force``, or after a question on the terminal. Raises what ends a session for good (NotFound, Forbidden,
    Conflict where nobody can be asked, …), and Timeout.
    """
    key = EscapeKey(escape)
    greeting = f"Console of {namespace}/{name}. {key.label} leaves, pressed twice it is sent. Enter gets a prompt."
    path = paths.subresource(namespace, name, "console")
    query = {"session": os.urandom(8).hex(), "takeover": "" if force else "false", **_size()}
    if replay:
        query["replay"] = str(replay)
    with RawTerminal():
        deadline = time.monotonic() + timeout
        while True:
            try:
                session = _open(home, path + paths.query(query), key, deadline)
            except Conflict as held:
                if not _agreed(held):
                    raise Conflict(f"{held.message} --force takes it over.") from held
                query["takeover"] = ""
                continue
            if session is None:
                return "Left."
            note(greeting)
            greeting, query["replay"], query["takeover"] = "Connected again.", "", "false"
            outlet = Outlet()
            try:
                return _pump(session, key, outlet)
            except websocket.Closed as end:
                if end.code == 1001:
                    return f"The session ended: {sanitize.line(end.reason) or 'someone else opened the console'}."
                if end.code == 1000:
                    return "The session ended."
            finally:
                session.close()
                outlet.close()
            note("The connection broke; connecting again.")
            deadline = time.monotonic() + timeout
            if _left_while_waiting(key, _RECONNECT_SECONDS):
                return "Left."


def note(text: str) -> None:
    """A line of ours between the guest's; carriage returns because the terminal may be raw."""
    sys.stderr.write(f"\r{text}\r\n")
    sys.stderr.flush()


def _size() -> dict[str, str]:
    """The terminal's, for which past output is drawn."""
    try:
        size = os.get_terminal_size(1)
    except OSError:
        return {}
    return {"columns": str(size.columns), "rows": str(size.lines)}


def _agreed(held: Conflict) -> bool:
    """Whether the user takes the console from its holder; nobody is asked where there is no terminal."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    sys.stderr.write(f"\r{sanitize.line(held.message)} Take it over? [y/N] ")
    sys.stderr.flush()
    answer = os.read(0, 1)
    note("")
    return answer in (b"y", b"Y")


def _open(home: Home, path: str, key: EscapeKey, deadline: float) -> websocket.WebSocket | None:
    """A session, or None when the user left while waiting for one."""
    noted = ""
    while True:
        try:
            return websocket.connect(home, path)
        except (BadRequest, ServiceUnavailable, Timeout) as err:
            problem: HyperdError = err
        if problem.message != noted:
            noted = problem.message
            note(f"{sanitize.line(noted).rstrip('.')}. Waiting; {key.label} leaves.")
        if time.monotonic() > deadline:
            raise Timeout(f"Gave up waiting: {problem.message}")
        if _left_while_waiting(key, 1.0):
            return None


def _left_while_waiting(key: EscapeKey, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        if not select.select([0], [], [], left)[0]:
            continue
        typed = _typed()
        # Nobody listens yet, so Ctrl+C may mean what it always means, and one escape press is enough.
        if not typed or b"\x03" in typed or key.feed(typed)[1] or key.pending:
            return True
    return False


def _typed() -> bytes:
    """What was typed; nothing once the terminal is gone."""
    try:
        return os.read(0, 4096)
    except OSError:
        return b""


def _pump(session: websocket.WebSocket, key: EscapeKey, outlet: Outlet) -> str:
    """Copy both ways until the user leaves; returns why. Raises Closed when the other side ends."""
    leave_at, dropped = 0.0, 0
    while True:
        timeout = max(0.0, leave_at - time.monotonic()) if key.pending and leave_at else None
        ready = session.wait([0], [outlet.fileno()] if outlet.waits else [], timeout=timeout, receive=outlet.room)
        if 0 in ready:
            typed = _typed()
            data, leaves = key.feed(typed)
            if data and not session.send(data):
                dropped += len(data)
            if leaves or not typed:
                break
            leave_at = time.monotonic() + _DOUBLE_PRESS_SECONDS if key.pending else 0.0
        if key.pending and leave_at and time.monotonic() >= leave_at:
            if key.expire():
                break
            leave_at = 0.0
        try:
            if outlet.fileno() in ready:
                outlet.flush()
            if session.fileno() in ready and outlet.room:
                outlet.write(session.receive())
        except OSError:
            break  # nobody reads what the guest says
    return f"Left. The guest did not take the last {dropped} bytes that were typed." if dropped else "Left."
