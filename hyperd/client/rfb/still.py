"""One look at a machine's screen."""

from __future__ import annotations

import os
import time

from hyperd.client import paths, websocket
from hyperd.client.home import Home
from hyperd.client.rfb.framebuffer import Framebuffer
from hyperd.client.rfb.protocol import Rfb
from hyperd.errors import Conflict, ServiceUnavailable, Timeout

_SETTLING_SECONDS = 0.5
"""After the first picture, which may be one of before: the emulator draws only while somebody looks."""


def path(namespace: str, name: str, *, session: str = "", force: bool = False) -> str:
    """The path of a machine's screen; who has it, if not this ``session``, is thrown out only with ``force``."""
    query = {"session": session or os.urandom(8).hex(), "takeover": "" if force else "false"}
    return paths.subresource(namespace, name, "vnc") + paths.query(query)


def open_screen(home: Home, namespace: str, name: str, *, session: str = "", force: bool) -> websocket.WebSocket:
    """A session of a machine's screen. Raises Conflict, which names who has it."""
    try:
        return websocket.connect(home, path(namespace, name, session=session, force=force))
    except Conflict as held:
        raise Conflict(f"{held.message} --force takes it over.") from held


def capture(home: Home, namespace: str, name: str, *, force: bool = False, timeout: float = 20.0) -> Framebuffer:
    """What a machine's screen shows now.

    Raises Conflict where somebody has the screen, BadRequest for a machine that does not run, ServiceUnavailable,
    Timeout.
    """
    session = open_screen(home, namespace, name, force=force)
    try:
        return _watch(session, time.monotonic() + timeout)
    except websocket.Closed as end:
        raise ServiceUnavailable(f"The screen of VirtualMachine {namespace}/{name} went away.") from end
    except Timeout as err:
        raise Timeout(f"The screen of VirtualMachine {namespace}/{name} shows nothing.") from err
    finally:
        session.close()


def _watch(session: websocket.WebSocket, deadline: float) -> Framebuffer:
    rfb, settled = Rfb(), 0.0
    while True:
        if out := rfb.take_out():
            session.send(out)
        until = settled or deadline
        if time.monotonic() >= until:
            if settled:
                return rfb.screen
            raise Timeout("nothing came")
        if session.fileno() in session.wait(timeout=max(0.0, until - time.monotonic())):
            rfb.feed(session.receive())
        if rfb.drawn:
            settled = settled or min(deadline, time.monotonic() + _SETTLING_SECONDS)
            rfb.ask()
