"""``hv tui --serve``: the same in a browser, for whoever has the address with its one-time token.

Textual's own server runs ``hv tui`` for each page. It asks nobody who they are, and what it serves is this user's
login; so it listens on loopback alone, the token in the address is good for one browser, once, and every later
request needs the cookie that it was changed for.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import shlex
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web

from hyperd.errors import BadRequest

COOKIE = "hv-tui"
_PORT = 8890
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def place(text: str) -> tuple[str, int]:
    """``HOST:PORT``, ``PORT`` or nothing. Raises BadRequest for what is not this machine's own."""
    host, _, port = text.rpartition(":") if ":" in text else ("", "", text)
    host = host.strip("[]") or "127.0.0.1"
    number = int(port) if port.isdecimal() and len(port) < 6 else -1 if port else _PORT
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if not loopback or not 0 <= number < 65536:
        raise BadRequest(
            f"{text} is no address of this machine alone, like 127.0.0.1:{_PORT}. From elsewhere, ssh brings it: "
            f"ssh -L {_PORT}:127.0.0.1:{_PORT} this-machine."
        )
    return host, number


class Door:
    """Lets in the first who brings the token, and afterwards that browser alone."""

    def __init__(self) -> None:
        self.token = secrets.token_urlsafe(32)
        self._cookie = secrets.token_urlsafe(32)
        self._used = False

    @web.middleware
    async def check(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer 401 without the cookie; a page of another origin has no use for it either."""
        if _same(request.cookies.get(COOKIE, ""), self._cookie):
            origin = request.headers.get("Origin", "")
            if origin and origin.partition("://")[2] != request.host:
                raise web.HTTPForbidden(text="This page belongs to somebody else.\n")
            return await handler(request)
        if request.path == "/" and not self._used and _same(request.query.get("token", ""), self.token):
            self._used = True
            answer = web.HTTPSeeOther("/")
            answer.set_cookie(COOKIE, self._cookie, httponly=True, samesite="Strict", path="/")
            raise answer
        raise web.HTTPUnauthorized(text="The address is good once. `hv tui --serve` prints another one.\n")


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(), wanted.encode())


def serve(where: str, arguments: Sequence[str]) -> int:
    """Serve ``hv tui`` with these arguments until Ctrl+C. Raises BadRequest."""
    host, port = place(where)
    try:
        from textual_serve.server import Server
    except ImportError as err:
        raise BadRequest("hv tui --serve needs textual-serve: pip install 'hyperd[web]'.") from err

    door = Door()
    listening = _listener(host, port)
    port = listening.getsockname()[1]
    shown = f"[{host}]" if ":" in host else host

    server = Server(
        shlex.join([sys.executable, "-P", "-m", "hyperd.cli.main", "tui", *arguments]), host, port, "hv",
        f"http://{shown}:{port}",
    )  # fmt: skip
    sys.stderr.write(f"http://{shown}:{port}/?token={door.token}\n")
    sys.stderr.write("Open it once, on this machine or by ssh -L; Ctrl+C ends it.\n")
    sys.stderr.flush()

    async def begin() -> web.Application:
        app: web.Application = await server._make_app()  # noqa: SLF001  it has no other seam
        app.middlewares.append(door.check)
        app.on_startup.clear()  # its greeting
        return app

    web.run_app(begin(), sock=listening, print=None, access_log=None)
    return 0


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
        made.listen()
    except OSError as err:
        made.close()
        raise BadRequest(f"{host}:{port} cannot be listened at: {err.strerror}.") from err
    return made
