"""What a subresource that did something answers: a Status, as Kubernetes writes it."""

from __future__ import annotations

from http import HTTPStatus

import orjson
from aiohttp import web

from hyperd.api.wire.negotiate import JSON
from hyperd.jsontypes import JsonObject


def success(message: str, details: JsonObject | None = None) -> JsonObject:
    """The Status; ``details`` name the object that it is about."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "message": message,
        **({} if details is None else {"details": details}),
        "code": HTTPStatus.OK.value,
    }


def done(message: str) -> web.Response:
    """The same as an answer."""
    return web.Response(body=orjson.dumps(success(message)), headers={"Content-Type": JSON})
