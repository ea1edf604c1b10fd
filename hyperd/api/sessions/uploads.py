"""Images that users send: as the body of a request to an object's one-time address, or over a WebSocket.

The address is for curl, and knowing it is all that is asked. The WebSocket is a subresource like a console, for
who may change the object; behind an API server, which cuts plain requests at a minute, it is the only way. Binary
messages are the bytes, an empty one is their end, and the answer is a Status.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from aiohttp import ClientPayloadError, WSCloseCode, WSMsgType, web
from aiohttp.http_exceptions import HttpProcessingError

from hyperd.api.sessions.stream import Goodbye, close, prepare_socket
from hyperd.api.sessions.target import number
from hyperd.api.wire.grain import too_fine
from hyperd.api.wire.subresources import SubresourceHandler, SubresourceHandlers
from hyperd.errors import (
    BadRequest,
    Conflict,
    HyperdError,
    NotFound,
    PermanentError,
    ServiceUnavailable,
    TemporaryError,
    UnsupportedMediaType,
)
from hyperd.jsontypes import JsonObject
from hyperd.resources.all import CLUSTER_VIRTUAL_IMAGE, VIRTUAL_DISK, VIRTUAL_IMAGE
from hyperd.resources.kinds.data_source import DataSourceType
from hyperd.resources.schema.kind import Kind
from hyperd.resources.values.quantity import format_human
from hyperd.store.interface import Store, User
from registry.intake import Expected, Intake
from registry.models import ImportedImage

_log = logging.getLogger(__name__)

SUBRESOURCE: Final = "upload"
KINDS: Final[tuple[Kind, ...]] = (VIRTUAL_IMAGE, CLUSTER_VIRTUAL_IMAGE, VIRTUAL_DISK)
_ON_ITS_WAY: Final = ("Pending", "Provisioning", "WaitForUserUpload")
_REFUSED: Final = 422
_LATER: Final = 503
_PING_SECONDS: Final = 15.0
_BROKEN: Final = (
    ConnectionError,
    ClientPayloadError,
    HttpProcessingError,
    web.PayloadAccessError,
    web.RequestPayloadError,
)


class Uploads:
    """The ways in; ``intake`` has what waits for them."""

    def __init__(self, store: Store, intake: Intake) -> None:
        self._store = store
        self._intake = intake

    def handlers(self) -> SubresourceHandlers:
        """The table for ``ApiServer``."""
        return {(kind.plural, SUBRESOURCE): self._handler(kind) for kind in KINDS}

    def find(self, secret: str) -> Expected:
        """What waits for the upload to the address that ends in ``secret``.

        Raises NotFound, or ServiceUnavailable where it may only not be known yet.
        """
        expected = self._intake.find(secret)
        if expected is None and self._intake.may_come(secret):
            raise ServiceUnavailable("hyperd has just started; send it again in a moment.", retry_after_seconds=2)
        if expected is None:
            raise NotFound(
                "No upload is taken at this address: it was used or has expired, or its object was deleted or "
                "changed. The object's status has the address that counts."
            )
        return expected

    async def take(self, request: web.BaseRequest, expected: Expected) -> str:
        """Import the body of ``request``; returns a sentence. Raises what it is refused with."""
        body = _Body(request)
        return _sentence(expected, await expected.send(body))

    def _handler(self, kind: Kind) -> SubresourceHandler:
        async def serve(request: web.BaseRequest, user: User, namespace: str, name: str) -> web.StreamResponse:
            expected = await self._expected(kind, namespace, name)
            size = number(request, "size", default=-1)
            socket = prepare_socket(request, heartbeat=None)
            await socket.prepare(request)
            _log.info("upload for %s begun by %s", expected.addressee, user.name)
            await _answer(socket, expected, _Messages(socket, None if size < 0 else size, request.remote or ""))
            return socket

        return serve

    async def _expected(self, kind: Kind, namespace: str, name: str) -> Expected:
        """Raises NotFound, BadRequest for no upload, Conflict or ServiceUnavailable while none is taken."""
        obj = (await self._store.get(kind, namespace, name)).object()
        title = f"{kind.kind} {namespace}/{name}" if namespace else f"{kind.kind} {name}"
        if ((obj["spec"].get("dataSource") or {}).get("type")) != DataSourceType.UPLOAD:
            raise BadRequest(f"{title} is not made from an upload: its spec.dataSource.type is another one.")
        expected = self._intake.of(obj["metadata"]["uid"])
        if expected is None:
            phase = (obj.get("status") or {}).get("phase") or "Pending"
            message = f"{title} takes no upload now: it is {phase}."
            if phase in _ON_ITS_WAY:
                raise ServiceUnavailable(f"{message} It will in a moment.", retry_after_seconds=2)
            raise Conflict(message)
        return expected


class _Grain:
    """Counts the pieces of an upload, called ``what``."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._bytes = self._pieces = 0

    def add(self, size: int, *, ends: bool = True) -> None:
        """Raises TemporaryError where they are too small."""
        self._bytes, self._pieces = self._bytes + size, self._pieces + ends
        if too_fine(self._bytes, self._pieces):
            raise TemporaryError(f"The upload comes in {self._what} of a few bytes; send larger ones.")


class _Body:
    """A request's, which is not read before it is wanted."""

    def __init__(self, request: web.BaseRequest) -> None:
        """Raises UnsupportedMediaType and BadRequest for what curl would be called wrongly to send."""
        if request.content_type.startswith("multipart/"):
            raise UnsupportedMediaType("Send the file itself as the body, not a form: curl -T FILE URL.")
        if "Content-Range" in request.headers:
            raise BadRequest("A part of a file is not taken; send the whole.")
        self.length = request.content_length
        if self.length is None and not request.can_read_body:
            self.length = 0
        self.sender = request.remote or ""
        self.coding = request.headers.get("Content-Encoding", "").strip().lower().removeprefix("identity")
        self._request = request
        self._begun = False
        self._grain = _Grain("chunks")

    async def readany(self) -> bytes:
        if not self._begun:
            self._begun = True
            transport = self._request.transport
            if transport is not None and self._request.headers.get("Expect", "").lower() == "100-continue":
                transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            while True:
                piece, ends = await self._request.content.readchunk()
                self._grain.add(len(piece), ends=ends)
                if piece or not ends:
                    return piece
        except _BROKEN as err:
            raise ConnectionAbortedError(str(err)) from err


class _Messages:
    """The binary messages of a WebSocket, up to an empty one."""

    coding = ""

    def __init__(self, socket: web.WebSocketResponse, length: int | None, sender: str) -> None:
        self.length, self.sender = length, sender
        self._socket = socket
        self._ended = False
        self._grain = _Grain("messages")

    async def readany(self) -> bytes:
        if self._ended:
            return b""
        message = await self._socket.receive()
        if message.type is not WSMsgType.BINARY:
            raise ConnectionAbortedError("the sender left")
        data: bytes = message.data
        self._ended = not data
        self._grain.add(len(data))
        return data


async def _answer(socket: web.WebSocketResponse, expected: Expected, body: _Messages) -> None:
    """Import ``body``, and say what came of it."""
    pinging = asyncio.create_task(_ping(socket), name="upload-ping")
    try:
        status: JsonObject = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Success",
            "message": _sentence(expected, await expected.send(body)),
        }
        goodbye = Goodbye(WSCloseCode.OK, "")
    except HyperdError as err:
        status = {**err.status(), "code": code_of(err)}
        goodbye = Goodbye(WSCloseCode.INTERNAL_ERROR, err.message)
    finally:
        pinging.cancel()
    try:
        await socket.send_json(status)
    except ConnectionError:
        return
    await close(socket, goodbye)


async def _ping(socket: web.WebSocketResponse) -> None:
    """Show that we are there, while what has come is worked on: nobody else says anything then."""
    while True:
        await asyncio.sleep(_PING_SECONDS)
        try:
            await socket.ping()
        except ConnectionError:
            return


def code_of(error: HyperdError) -> int:
    """The HTTP status of a refusal: of the file's own fault, or of what another try may mend."""
    if isinstance(error, PermanentError):
        return _REFUSED
    return _LATER if isinstance(error, TemporaryError) else error.code


def _sentence(expected: Expected, image: ImportedImage) -> str:
    text = f"Uploaded {image.format} of {format_human(image.stored_bytes)} for {expected.addressee}."
    return f"{text} {image.warning}" if image.warning else text
