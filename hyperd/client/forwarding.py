"""TCP into a machine: what is connected here is carried to a port there, a WebSocket a connection.

The wire has no half of an end. When the program here has nothing more to send, the guest may still answer; what it
does not begin to say within a minute nobody waits for.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time

from hyperd.client import paths, peers, sanitize, websocket
from hyperd.client.home import Home
from hyperd.errors import BadRequest, HyperdError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Open = Callable[[], websocket.WebSocket]
    Say = Callable[[str], None]

_PIECE = 4096
"""What a pipe takes whole once it takes anything."""
_MOST_WAITING = 256 << 10
_SILENCE_SECONDS = 60.0
_MOST_CONNECTIONS = 64
HIGHEST_PORT = 65535


def path(namespace: str, name: str, port: int) -> str:
    """The path of a machine's TCP port."""
    where = paths.subresource(namespace, name, "portforward")
    return where + paths.query({"port": str(port), "protocol": "tcp"})


def carry(session: websocket.WebSocket, source: int, sink: int) -> None:
    """Copy ``source`` to the session, and that to ``sink``, until either end is gone; closes the session."""
    waiting, silent_since, over = bytearray(), 0.0, False
    try:
        while waiting or not over:
            readers = [source] if not silent_since and session.backlog < _MOST_WAITING and not over else []
            timeout = max(0.0, silent_since + _SILENCE_SECONDS - time.monotonic()) if silent_since else None
            receive = not over and len(waiting) < _MOST_WAITING
            ready = session.wait(readers, [sink] if waiting else [], timeout=timeout, receive=receive)
            if silent_since and not ready:
                return
            if source in ready and readers:
                data = os.read(source, _PIECE)
                if data:
                    session.send(data)
                else:
                    silent_since = time.monotonic()
            if sink in ready and waiting:
                del waiting[: os.write(sink, waiting[:_PIECE])]
            if receive and session.fileno() in ready:
                try:
                    waiting += session.receive()
                except websocket.Closed:
                    over = True
                silent_since = silent_since and time.monotonic()
    except (OSError, websocket.Closed):
        pass  # one end is gone, which is how connections end
    finally:
        session.close()


class Forward:
    """A port of this host that leads to one of a machine.

    At a loopback address it is for programs of the same user, unless for ``all_users``.
    """

    def __init__(
        self, listener: socket.socket, open_: Open, say: Say, *,
        most: int = _MOST_CONNECTIONS, all_users: bool = False,
    ) -> None:  # fmt: skip
        self._guarded = not all_users and peers.is_loopback(listener)
        self._listener = listener
        self._open = open_
        self._say = say
        self._places = threading.BoundedSemaphore(most)

    def accept(self) -> None:
        """Take one connection that waits, and carry it in a thread."""
        connection, _ = self._listener.accept()
        if self._guarded and (reason := peers.stranger(connection)):
            self._say(reason)
            connection.close()
            return
        if not self._places.acquire(blocking=False):
            self._say("So many connections are open that one more was refused.")
            connection.close()
            return
        threading.Thread(target=self._carry, args=(connection,), daemon=True).start()

    def fileno(self) -> int:
        return self._listener.fileno()

    def _carry(self, connection: socket.socket) -> None:
        try:
            # Two descriptors, so that what can be written is not taken for what can be read.
            with connection, connection.dup() as sink:
                session = self._open()
                connection.setblocking(False)
                carry(session, connection.fileno(), sink.fileno())
        except HyperdError as err:
            self._say(sanitize.line(err.message))
        finally:
            self._places.release()


def listen(address: str, port: int) -> socket.socket:
    """A listener. Raises BadRequest that says why there is none."""
    try:
        family = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((address, port), family=family)
    except OSError as err:
        why = err.strerror or str(err)
        raise BadRequest(f"Port {port} of {address} cannot be listened at: {why}.") from err


def serve(forwards: list[Forward]) -> None:
    """Serve them until Ctrl+C."""
    while True:
        for ready in select.select(forwards, [], [])[0]:
            ready.accept()


def opener(home: Home, namespace: str, name: str, port: int) -> Open:
    """What opens a session of a machine's port."""
    return lambda: websocket.connect(home, path(namespace, name, port))
