"""What a cluster's API server reaches hyperd by: one TLS listener for webhooks and the aggregated API.

It is a listener of its own, because it trusts another CA than ours for clients: the API server's request-header
CA, whose certificates may say in headers who asks. Here those headers are all that counts, elsewhere they count
for nothing. It serves the webhooks to whoever can connect, the aggregated group and its discovery to users that
the front proxy vouches for and the API server's RBAC lets in, and nothing else.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Final

from aiohttp import web

from hyperd.admission.dispatch import reviewer
from hyperd.admission.webhook import AdmissionWebhook
from hyperd.api.access import front_proxy
from hyperd.api.access.access_review import AccessReviews
from hyperd.api.access.authorization import Attributes, asking, require
from hyperd.api.access.front_proxy import FrontProxy, Proxies
from hyperd.api.access.token_review import user_of
from hyperd.api.audit.log import AuditLog
from hyperd.api.certificates.pki import Pki
from hyperd.api.endpoints import answers, connect_openapi
from hyperd.api.endpoints.connect import Connect
from hyperd.api.endpoints.documents import Documents
from hyperd.api.limits.connections import Budget, ConnectionLimits, descriptors, network_of
from hyperd.api.limits.fairness import Fairness
from hyperd.api.serving import clusterca, listeners, neighbours
from hyperd.api.serving.accepting import Listener
from hyperd.api.serving.evictions import Evictions
from hyperd.api.serving.httpserver import Connection, HttpServer
from hyperd.api.serving.middleware import Middleware, RequestInfo, record_opening, shown_path
from hyperd.api.serving.neighbours import Arriving
from hyperd.api.serving.peers import HANDED_ON, Peers, as_front_proxy, with_reason
from hyperd.api.serving.registration import Registration
from hyperd.api.serving.webhooks import Webhooks
from hyperd.api.wire.metrics import Metrics
from hyperd.api.wire.subresources import GROUP, VERSION, SubresourceHandlers
from hyperd.background import Background
from hyperd.errors import HyperdError, NotFound, PermanentError, ServiceUnavailable, Unauthorized
from hyperd.offload import Offload
from hyperd.resources.values.names import SYSTEM_NAMESPACE
from hyperd.settings import Settings
from hyperd.shares import Shares
from hyperd.store.interface import User
from hyperd.store.kubernetes.store import KubernetesStore

_LOG = logging.getLogger(__name__)
_CONNECT_PREFIX: Final = f"/apis/{GROUP}/{VERSION}/"
_HEALTH: Final = frozenset({"/healthz", "/livez", "/readyz"})
_METRICS: Final = "/metrics"
_DOCUMENTS: Final = ("/apis", f"/apis/{GROUP}", f"/apis/{GROUP}/{VERSION}", "/openapi/v2", "/openapi/v3")
_DRAIN_SECONDS: Final = 2.0
_RETRY_SECONDS: Final = 2.0
_CALLERS: Final = 512
"""Reviews at once; an API server asks one for each of its users' writes."""
_CALLER_SECONDS: Final = 5.0
_UPKEEP_SECONDS: Final = 60.0
_PEERS: Final = "(peers)"
_WEBHOOKS: Final = "(webhooks)"
"""Who asks for reviews, among those who take turns: the API server, for whichever of its users."""
_OWN_GROUP: Final = f"system:serviceaccounts:{SYSTEM_NAMESPACE}"
_WHO_AM_I: Final = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


class ClusterApi:
    """Serves one cluster. The daemon makes it beside its ``ApiServer`` where the home is a cluster::

        ClusterApi(settings, store, sessions=<the table that ApiServer gets>, metrics=<ApiServer's>,
                   audit=<ApiServer's>)

    ``start`` comes after the store's, ``stop`` before it. Import this module only then: it brings the client.
    """

    def __init__(
        self,
        settings: Settings,
        store: KubernetesStore,
        *,
        sessions: SubresourceHandlers,
        metrics: Metrics | None = None,
        audit: AuditLog | None = None,
        upkeep_seconds: float = _UPKEEP_SECONDS,
        processes: Offload | None = None,
        arriving: Arriving | None = None,
        is_away: Callable[[], bool] = lambda: False,
    ) -> None:
        """``processes`` read large reviews; ``arriving`` answers for guests that come from other nodes.

        ``is_away`` says to them whether the API server does not answer this one.
        """
        self._is_away = is_away
        self._arriving = arriving
        self._settings = settings
        self._store = store
        self._audit = audit
        self._upkeep_seconds = upkeep_seconds
        metrics = metrics or Metrics(())
        self._documents = Documents((), metrics)
        self._fairness = Fairness(watches=0)
        self._connect = Connect(sessions, self._fairness)
        self._reviews = AccessReviews(store.client)
        self._registration = Registration(store.client)
        admit = reviewer(settings, may=asking(self._reviews))
        admission = AdmissionWebhook(admit, store, self._is_ours)
        self._evictions = Evictions(store)
        self._webhooks = Webhooks(
            admission, self._evictions, max_body_bytes=settings.api.max_body_bytes, processes=processes
        )
        self._callers: Shares[str] = Shares(
            "reviews", _CALLERS, floor=16, headroom=_CALLERS // 4, most=_CALLERS // 2, waiting=_CALLERS
        )
        self._connections = ConnectionLimits(Budget.of(descriptors() // 2))
        self._http = HttpServer.of(Middleware(self._answer, metrics, audit), self._fairness.turns)
        self.peers = self._peers = Peers(
            store,
            node_name=settings.node,
            port=settings.aggregation.port,
            server_name=clusterca.SERVER_NAME,
            max_body_bytes=settings.api.max_body_bytes,
        )
        self._own_name = ""
        self._proxies: Proxies | None = None
        self._socket: socket.socket | None = None
        self._server: Listener | None = None
        self._retired: list[Listener] = []
        self._background = Background()
        self.registered = asyncio.Event()
        """Set once the API server trusts this daemon."""

    @property
    def port(self) -> int:
        """The listener's actual port, once started."""
        return int(self._socket.getsockname()[1]) if self._socket is not None else 0

    async def start(self) -> None:
        """Take the port, and serve as soon as the API server answers. Raises PermanentError when it is taken."""
        conf = self._settings.aggregation
        self._socket = await asyncio.to_thread(listeners.tcp, conf.host, conf.port)
        self._background.spawn(self._run, "cluster API")

    async def stop(self) -> None:
        """Stop accepting, end sessions, finish running requests within two seconds."""
        await self._background.stop()
        for server in (self._server, *self._retired):
            if server is not None:
                server.close()
        self._connect.close()
        self._http.pre_shutdown()
        await self._http.shutdown(_DRAIN_SECONDS)
        await self._peers.close()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def _run(self) -> None:
        """Level-triggered: again and again, have certificates, front proxy and registration as they should be."""
        serving: tuple[FrontProxy | None, bytes, bytes] | None = None
        logged = ""
        while True:
            try:
                await self._learn_own_name()
                obtained = await clusterca.obtain(self._store.client, self._settings)
                certificates = obtained.pki
                front = await self._find_front_proxy()
                shown = await asyncio.to_thread(certificates.server.certificate.read_bytes)
                authority = await asyncio.to_thread(certificates.ca.certificate.read_bytes)
                self._evictions.use(obtained.key, obtained.other_keys)
                if serving != (front, shown, authority):
                    peers = as_front_proxy(authority.decode())
                    await self._peers.use(certificates)
                    await self._serve(certificates, Proxies(front, peers) if front is not None else None)
                    serving = front, shown, authority
                await self._registration.ensure(authority, self._evictions.path)
                self.registered.set()
                delay, logged = self._upkeep_seconds, ""
            except (HyperdError, OSError) as err:
                if logged != str(err):
                    logged = str(err)
                    _LOG.warning("The cluster's API server cannot be served as it should: %s", logged)
                delay = _RETRY_SECONDS
                if self._server is None:
                    await self._serve_alone()
            await asyncio.sleep(delay)

    async def _serve_alone(self) -> None:
        """Answer for this daemon's health, under a certificate that nobody needs to trust."""
        try:
            await self._serve(await asyncio.to_thread(clusterca.ensure, self._settings), None)
        except HyperdError as err:
            _LOG.warning("%s", err)

    async def _learn_own_name(self) -> None:
        if not self._own_name:
            review = b'{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}'
            answer = await self._store.client.request("POST", _WHO_AM_I, body=review)
            self._own_name = str(answer["status"]["userInfo"]["username"])

    def _is_ours(self, user: User) -> bool:
        return (bool(self._own_name) and user.name == self._own_name) or _OWN_GROUP in user.groups

    async def _find_front_proxy(self) -> FrontProxy | None:
        conf = self._settings.front_proxy
        try:
            if conf.ca_file is not None:
                return await front_proxy.from_files(conf.ca_file, conf.names)
            return await front_proxy.from_cluster(self._store)
        except PermanentError as err:
            if self._server is None:
                _LOG.warning("The aggregated API is not served: %s", err)
            return None

    async def _serve(self, certificates: Pki, proxies: Proxies | None) -> None:
        """Listen under these certificates from now on; no connection is refused in between."""
        assert self._socket is not None  # noqa: S101  start has made it
        context = await asyncio.to_thread(_context, certificates, proxies)
        server = Listener(self._http, self._socket.dup(), self._connections, context)
        server.start()
        former, self._server, self._proxies = self._server, server, proxies
        if former is not None:
            # Who is shaking hands goes on with the former certificate, which is still good.
            former.retire()
            self._retired = [one for one in self._retired if one.arriving] + [former]
        else:
            _LOG.info("The cluster's API server is served on %s:%d.", self._settings.aggregation.host, self.port)

    async def _answer(self, request: web.BaseRequest, request_id: str, seen: RequestInfo) -> web.StreamResponse:
        path = request.raw_path.partition("?")[0]
        connection = request.protocol
        assert isinstance(connection, Connection)  # noqa: S101  our server makes no others
        # The API server calls webhooks as nobody, over connections that it keeps.
        connection.good()
        if self._webhooks.owns(path):
            await _as(connection, _WEBHOOKS)
            seen.verb, seen.resource = "review", shown_path(request)
            with await self._callers.acquire(network_of(request.remote or ""), timeout=_CALLER_SECONDS):
                return await self._webhooks.answer(request, path, request_id)
        if self._arriving is not None and path.startswith(neighbours.PREFIX):
            if self._proxies is None:
                raise Unauthorized("Unauthorized: this daemon knows no others yet.")
            self._proxies.require_peer(request)
            seen.verb, seen.resource = "arrive", neighbours.PREFIX
            await _as(connection, _PEERS)
            return await neighbours.answer(request, path, self._arriving)
        if path == neighbours.AWAY_PATH:
            if self._proxies is None:
                raise Unauthorized("Unauthorized: this daemon knows no others yet.")
            self._proxies.require_peer(request)
            seen.verb, seen.resource = "get", path
            return web.json_response({"away": self._is_away()})
        if path in _HEALTH and request.method in ("GET", "HEAD"):
            seen.verb, seen.resource = "get", path
            if path == "/readyz" and not self.registered.is_set():
                raise ServiceUnavailable("The cluster's API server does not trust this daemon yet.")
            return self._documents.public(path, request_id)
        seen.source = request.remote or ""
        if path == _METRICS:
            seen.verb, seen.resource = "get", path
            await _as(connection, _METRICS)
            with await self._callers.acquire(network_of(request.remote or ""), timeout=_CALLER_SECONDS):
                return await self._measured(request, path, request_id, seen)
        if self._proxies is None:
            raise Unauthorized("Unauthorized: this cluster has no front proxy, so nobody can say who asks.")
        try:
            user = self._proxies.user(request)
        except Unauthorized:
            await self._fairness.denied(network_of(request.remote or ""))
            raise
        seen.user, seen.source = user, front_proxy.source(request)
        await _as(connection, user.name)
        with await self._fairness.begin(user) as seen.place:
            return await self._asked(request, request_id, user, seen)

    async def _measured(
        self, request: web.BaseRequest, path: str, request_id: str, seen: RequestInfo
    ) -> web.StreamResponse:
        """Metrics, for who comes by itself with a token that the API server knows, and may read them."""
        try:
            user = seen.user = await user_of(self._store.client, request.headers.get("Authorization", ""))
        except Unauthorized:
            await self._fairness.denied(network_of(request.remote or ""))
            raise
        await require(self._reviews, user, Attributes("get", path=path))
        return await self._documents.answer(request, path, request_id)

    async def _asked(
        self, request: web.BaseRequest, request_id: str, user: User, seen: RequestInfo
    ) -> web.StreamResponse:
        """What ``user`` asks."""
        path = request.raw_path.partition("?")[0]
        if path.startswith(_CONNECT_PREFIX):
            return await self._connected(request, request_id, path, user, seen)
        if path.rstrip("/") in _DOCUMENTS or path.startswith("/openapi/v3/"):
            seen.verb = "get"
            await require(self._reviews, user, Attributes(request.method.lower(), path=path))
            response = await self._document(request, path, request_id)
            seen.resource = f"/{path.strip('/')}"  # only what exists is counted by its path
            return response
        raise NotFound("the server could not find the requested resource")

    async def _connected(
        self, request: web.BaseRequest, request_id: str, path: str, user: User, seen: RequestInfo
    ) -> web.StreamResponse:
        wanted = self._connect.resolve(path.removeprefix(_CONNECT_PREFIX))
        seen.verb, seen.resource = "connect", f"{wanted.plural}/{wanted.subresource}"
        seen.attributes, seen.writes = wanted.attributes, True
        await require(self._reviews, user, wanted.attributes)
        if self._audit is not None:
            record_opening(self._audit, request, request_id, seen)
        seen.leave()  # sessions have shares of their own
        if node := await self._peers.elsewhere(wanted, request):
            with self._fairness.session(user, wanted.subresource):
                return await self._peers.hand_on(node, request, user)
        try:
            return await self._connect.serve(wanted, request, user, request_id)
        except HyperdError as err:
            if HANDED_ON not in request.headers:
                raise
            return with_reason(answers.failure(err, request, request_id), err)

    async def _document(self, request: web.BaseRequest, path: str, request_id: str) -> web.StreamResponse:
        content = connect_openapi.document(path) if request.method in ("GET", "HEAD") else None
        if content is not None:
            return answers.document(content, request_id)
        return await self._documents.answer(request, path, request_id)


async def _as(connection: Connection, key: str) -> None:
    """From the next step on, all that this request needs is done in the turns of ``key``."""
    connection.asked_by = key
    await asyncio.sleep(0)


def _context(certificates: Pki, proxies: Proxies | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificates.server.certificate, certificates.server.key)
    if proxies is not None:
        proxies.load_into(context)
    context.set_alpn_protocols(["http/1.1"])
    return context
