"""What the one-time addresses of uploads and exports share: no login is asked for, and none counts.

Answers are sentences, as they are read by people in front of curl.
"""

from __future__ import annotations

from aiohttp import web

from hyperd.api.endpoints import answers
from hyperd.api.limits.fairness import is_root
from hyperd.api.serving.httpserver import Connection
from hyperd.api.serving.middleware import RequestInfo
from hyperd.errors import HyperdError
from hyperd.store.interface import User


def enter(request: web.BaseRequest, seen: RequestInfo, user: User, payer: User | None = None) -> None:
    """From here on the request is ``user``'s in the logs; its connection counts for ``payer``, or for it too."""
    seen.user = user
    payer = payer or user
    if isinstance(connection := request.protocol, Connection):
        connection.login(payer.name, privileged=is_root(payer))


def told(text: str, request_id: str) -> web.Response:
    """What was done."""
    return _sentence(text, 200, {answers.REQUEST_ID: request_id})


def refusal(err: HyperdError, code: int, request_id: str) -> web.Response:
    """Why it was not, and when to come again."""
    headers = {answers.REQUEST_ID: request_id}
    if err.retry_after_seconds is not None:
        headers["Retry-After"] = str(err.retry_after_seconds)
    return _sentence(err.message, code, headers)


def _sentence(text: str, code: int, headers: dict[str, str]) -> web.Response:
    return web.Response(text=f"{text}\n", status=code, headers=headers)
