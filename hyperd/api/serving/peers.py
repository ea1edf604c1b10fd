"""Requests for what is on another node, handed on to the hyperd of that node.

Behind the aggregation layer any daemon may be asked about any machine. Whoever is asked hands on what belongs
elsewhere, to the node's internal address and the port that all daemons listen on, as a front proxy of its own:
with a certificate of the CA that they share, and the user in the headers that API servers use. Nothing is handed
on twice, so two daemons that disagree where a machine is do not send it to and fro.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import quote, unquote

import aiohttp
from aiohttp import WSCloseCode, WSMsgType, web
from multidict import CIMultiDict
from yarl import URL

from hyperd import errors
from hyperd.api.access.front_proxy import FrontProxy, source
from hyperd.api.certificates.pki import Pki
from hyperd.api.endpoints.connect import Wanted
from hyperd.api.sessions.exports import SUBRESOURCE as EXPORT
from hyperd.api.sessions.sending import Sending
from hyperd.api.sessions.stream import Goodbye, close, first_of, prepare_socket
from hyperd.api.sessions.uploads import SUBRESOURCE as UPLOAD
from hyperd.api.wire import bodies
from hyperd.errors import HyperdError, ServiceUnavailable
from hyperd.resources.all import LEASE, NODE, VIRTUAL_DISK, VIRTUAL_DISK_SNAPSHOT, VIRTUAL_MACHINE
from hyperd.resources.values import meta, names
from hyperd.runtime.leader import LEADER_LEASE, node_of
from hyperd.store.interface import Reader, User

if TYPE_CHECKING:
    from hyperd.resources.views.core import Node

COMMON_NAME: Final = "hyperd-peer"
"""Of the certificate by which daemons know each other."""
HANDED_ON: Final = "X-Hyperd-Handed-On"
_WHY: Final = "X-Hyperd-Reason"
_LONGEST_REASON: Final = 1024
_CONNECT_SECONDS: Final = 5.0
_ANSWER_SECONDS: Final = 30.0
"""How long a daemon may take to begin its answer."""
_HEARTBEAT_SECONDS: Final = 30.0
_MAX_MESSAGE_BYTES: Final = 4 << 20
_MAX_ANSWER_BYTES: Final = 1 << 20
_PASSED_ON: Final = ("Accept", "Content-Type", "If-Range", "Range", "User-Agent")
_PASSED_BACK: Final = (
    "Accept-Ranges", "Cache-Control", "Content-Disposition", "Content-Length", "Content-Range", "Content-Type",
    "ETag", "Repr-Digest", "Retry-After",
)  # fmt: skip
_GONE: Final = Goodbye(WSCloseCode.INTERNAL_ERROR, "the other node's end of the session is gone")
_BY_CODE: Final[Mapping[int, type[HyperdError]]] = {
    cls.code: cls
    for cls in (
        errors.BadRequest,
        errors.Conflict,
        errors.Forbidden,
        errors.NotFound,
        errors.NotImplementedYet,
        ServiceUnavailable,
    )
}

AnySocket = web.WebSocketResponse | aiohttp.ClientWebSocketResponse


def as_front_proxy(authority: str) -> FrontProxy:
    """Daemons as proxies, who show certificates of the CA ``authority`` (PEM)."""
    return FrontProxy(authority, (COMMON_NAME,), uid_headers=("X-Remote-Uid",))


class Peers:
    """The other nodes' daemons. ``use`` certificates before anything is handed on, ``close`` at the end."""

    def __init__(
        self, reader: Reader, *, node_name: str, port: int, server_name: str, max_body_bytes: int
    ) -> None:
        """``server_name`` is in every daemon's server certificate."""
        self._reader = reader
        self._node_name = node_name
        self._port = port
        self._server_name = server_name
        self._max_body_bytes = max_body_bytes
        self._session: aiohttp.ClientSession | None = None

    async def use(self, certificates: Pki) -> None:
        """Show and trust these from now on; sessions under former ones end, and their clients come again."""
        context = await asyncio.to_thread(_context, certificates)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS)
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context, limit=0),
            timeout=timeout,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        former, self._session = self._session, session
        if former is not None:
            await former.close()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def elsewhere(self, wanted: Wanted, request: web.BaseRequest) -> str:
        """The node whose daemon is to answer; empty when that is this one, or nobody knows."""
        if HANDED_ON in request.headers:
            return ""
        if wanted.plural == NODE.plural:
            node = wanted.name
        elif wanted.plural == VIRTUAL_MACHINE.plural and not _is_probe(request):
            machine = await self._reader.find(VIRTUAL_MACHINE, wanted.namespace, wanted.name)
            node = "" if machine is None else (machine.get("status") or {}).get("nodeName") or ""
        elif wanted.subresource == UPLOAD:
            node = await self._importing(wanted)
        elif wanted.subresource == EXPORT:
            node = await self._keeping(wanted)
        else:
            node = ""
        return "" if node == self._node_name else node

    async def _importing(self, wanted: Wanted) -> str:
        """The node that imports: a disk's own, and the leader's for images."""
        if wanted.plural == VIRTUAL_DISK.plural:
            return await self._keeping(wanted)
        lease = await self._reader.find(LEASE, names.SYSTEM_NAMESPACE, LEADER_LEASE)
        return "" if lease is None else node_of(lease)

    async def _keeping(self, wanted: Wanted) -> str:
        """The node that has a disk or a snapshot; images are read from wherever one is asked."""
        for kind in (VIRTUAL_DISK, VIRTUAL_DISK_SNAPSHOT):
            if wanted.plural == kind.plural:
                found = await self._reader.find(kind, wanted.namespace, wanted.name)
                return "" if found is None else meta.annotations(found).get(names.SELECTED_NODE_ANNOTATION, "")
        return ""

    async def hand_on(self, node: str, request: web.BaseRequest, user: User) -> web.StreamResponse:
        """Have ``node`` answer. Raises ServiceUnavailable when it cannot be reached, and what it refuses with."""
        url = await self._url(node, request)
        headers = _headers(request, user, self._node_name)
        if "Upgrade" in request.headers:
            return await self._bridge(url, headers, request, node)
        return await self._pass(url, headers, request, node)

    async def _url(self, node: str, request: web.BaseRequest) -> URL:
        return await self._at(node, request.raw_path)

    async def _at(self, node: str, path: str) -> URL:
        found = await self._reader.find(NODE, "", node)
        return self._url_in(node, found, path)

    def _url_in(self, name: str, node: Node | None, path: str) -> URL:
        status = (None if node is None else node.get("status")) or {}
        for address in status.get("addresses") or ():
            if address.get("type") == "InternalIP" and address.get("address"):
                host = str(address["address"])
                authority = f"[{host}]:{self._port}" if ":" in host else f"{host}:{self._port}"
                return URL(f"https://{authority}{path}", encoded=True)
        raise ServiceUnavailable(
            f"Node {name}, which it is on, has no internal address; its hyperd is not reached."
        )

    def of(self, node: Node) -> URL:
        """Where the daemon of a node answers that is known already. Raises ServiceUnavailable."""
        return self._url_in(node["metadata"]["name"], node, "/")

    async def ask(self, node: str, base: URL, path: str, body: bytes) -> bytes:
        """What ``node``, which is at ``base``, answers this daemon itself. Raises ServiceUnavailable."""
        url, session = base.with_path(path, encoded=True), self._ready()
        asked = session.post(url, data=body, allow_redirects=False, server_hostname=self._server_name)
        async with await _reached(node, asked) as response:
            try:
                async with asyncio.timeout(_ANSWER_SECONDS):
                    said = await response.content.read(_MAX_ANSWER_BYTES + 1)
                    while len(said) <= _MAX_ANSWER_BYTES and (more := await response.content.read(1 << 16)):
                        said += more
            except (aiohttp.ClientError, TimeoutError) as err:
                raise _unreachable(node, err) from err
            if response.status != HTTPStatus.OK or len(said) > _MAX_ANSWER_BYTES:
                raise ServiceUnavailable(
                    f"The hyperd of node {node} answers {response.status}, {len(said)} bytes."
                )
            return said

    async def at(self, node: str) -> URL:
        """Where the daemon of ``node`` answers. Raises ServiceUnavailable, also where the API server is away."""
        return await self._at(node, "/")

    async def open(
        self, node: str, base: URL, path: str, protocols: Sequence[str]
    ) -> aiohttp.ClientWebSocketResponse:
        """A stream to ``node``, which is at ``base``, for this daemon itself. Raises ServiceUnavailable."""
        url, session = base.with_path(path, encoded=True), self._ready()
        asked = session.ws_connect(
            url,
            protocols=protocols,
            autoclose=False,
            max_msg_size=_MAX_MESSAGE_BYTES,
            server_hostname=self._server_name,
        )
        return await _reached(node, asked)

    def _ready(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise ServiceUnavailable("This daemon has no certificates for the other nodes yet.")
        return self._session

    async def _pass(
        self, url: URL, headers: CIMultiDict[str], request: web.BaseRequest, node: str
    ) -> web.StreamResponse:
        """One answer, as it comes."""
        assert self._session is not None  # noqa: S101  nothing is served before ``use``
        body = await bodies.read(request, self._max_body_bytes)
        asked = self._session.request(
            request.method,
            url,
            headers=headers,
            data=body or None,
            allow_redirects=False,
            server_hostname=self._server_name,
        )
        async with await _reached(node, asked) as answer:
            response = web.StreamResponse(status=answer.status)
            for name in _PASSED_BACK:
                if name in answer.headers:
                    response.headers[name] = answer.headers[name]
            await response.prepare(request)
            sending = Sending(request, response)
            try:
                async for piece in answer.content.iter_any():
                    await sending.write(piece)
            except aiohttp.ClientError as err:
                # What was begun cannot become an error; cut off, it is not taken for whole.
                raise ConnectionAbortedError(f"the answer of node {node} broke off") from err
            await sending.end()
            return response

    async def _bridge(
        self, url: URL, headers: CIMultiDict[str], request: web.BaseRequest, node: str
    ) -> web.StreamResponse:
        """A session: bytes, and how it ends, both ways."""
        assert self._session is not None  # noqa: S101  nothing is served before ``use``
        # Who uploads waits for its turn, and is silent then.
        heartbeat = None if request.path.endswith(f"/{UPLOAD}") else _HEARTBEAT_SECONDS
        socket = prepare_socket(request, heartbeat=heartbeat)
        offered = [name.strip() for name in request.headers.get("Sec-WebSocket-Protocol", "").split(",")]
        asked = self._session.ws_connect(
            url,
            headers=headers,
            protocols=[name for name in offered if name],
            autoclose=False,
            heartbeat=heartbeat,
            max_msg_size=_MAX_MESSAGE_BYTES,
            server_hostname=self._server_name,
        )
        far = await _reached(node, asked)
        try:
            await socket.prepare(request)
            # Where the client's side ends first, what is said to it does not matter.
            await close(socket, await first_of(_copy(far, socket), _copy(socket, far)))
        finally:
            with contextlib.suppress(TimeoutError, ConnectionError):
                await far.close()
        return socket


Reached = TypeVar("Reached")


async def _reached(node: str, asked: Awaitable[Reached]) -> Reached:
    """What ``node`` begins to answer. Raises ServiceUnavailable, and what it refuses a session with."""
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            return await asked
    except aiohttp.WSServerHandshakeError as err:
        cls = _BY_CODE.get(err.status, ServiceUnavailable)
        why = err.headers.get(_WHY, "") if err.headers is not None else ""
        raise cls(f"{unquote(why) or f'HTTP {err.status}'} (node {node})") from err
    except (aiohttp.ClientError, OSError, TimeoutError) as err:
        raise _unreachable(node, err) from err


def with_reason(response: web.Response, error: HyperdError) -> web.Response:
    """A refusal that a daemon can read even where WebSocket clients see headers alone."""
    response.headers[_WHY] = quote(error.message[:_LONGEST_REASON])
    return response


def _is_probe(request: web.BaseRequest) -> bool:
    # Who holds a session is told by a Lease, which every daemon can read.
    return request.query.get("probe", "").lower() in ("true", "1")


def _headers(request: web.BaseRequest, user: User, node_name: str) -> CIMultiDict[str]:
    proxy = as_front_proxy("")
    headers = CIMultiDict({HANDED_ON: node_name, proxy.user_headers[0]: user.name})
    headers["X-Forwarded-For"] = source(request)
    if user.uid:
        headers[proxy.uid_headers[0]] = user.uid
    for group in user.groups:
        headers.add(proxy.group_headers[0], group)
    for key, values in user.extra:
        for value in values:
            headers.add(proxy.extra_prefixes[0] + quote(key, safe=""), value)
    for name in _PASSED_ON:
        if name in request.headers:
            headers[name] = request.headers[name]
    return headers


def _context(certificates: Pki) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(certificates.ca.certificate))
    context.load_cert_chain(certificates.client.certificate, certificates.client.key)
    return context


def _unreachable(node: str, err: BaseException) -> ServiceUnavailable:
    return ServiceUnavailable(
        f"The hyperd of node {node}, which it is on, cannot be reached: {str(err) or type(err).__name__}.",
        retry_after_seconds=5,
    )


async def _copy(source: AnySocket, target: AnySocket) -> Goodbye:
    """Returns how ``source`` ended."""
    while True:
        message = await source.receive()
        try:
            if message.type is WSMsgType.BINARY:
                await target.send_bytes(message.data)
            elif message.type is WSMsgType.TEXT:
                await target.send_str(message.data)
            elif message.type is WSMsgType.CLOSE and message.data in set(WSCloseCode):
                return Goodbye(WSCloseCode(message.data), str(message.extra or ""))
            else:
                return _GONE
        except ConnectionError:
            return _GONE
