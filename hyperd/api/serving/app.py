"""The HTTP server: one border for every request, from the socket to an answer.

Each request gets an id, a user, an authorization and an answer; whatever goes wrong ends here as a Status. The
server is aiohttp's low-level one with a small grammar of its own, so that a GET costs tens of microseconds.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping

from aiohttp import http_parser, web

from hyperd.api.access import authentication, authorization, front_proxy, impersonation
from hyperd.api.access.authentication import Authenticator, UnixLogin, certificate_login
from hyperd.api.access.authorization import Attributes, Authorizer
from hyperd.api.access.front_proxy import FrontProxyLogin
from hyperd.api.access.redaction import Redaction
from hyperd.api.access.rules import RoleAuthorizer
from hyperd.api.access.tokens import TokenLogin, Tokens, while_valid
from hyperd.api.access.unix_groups import UnixGroups
from hyperd.api.audit.log import AuditLog
from hyperd.api.certificates import pki
from hyperd.api.endpoints import answers
from hyperd.api.endpoints.answers import Call
from hyperd.api.endpoints.connect import Connect
from hyperd.api.endpoints.documents import Documents
from hyperd.api.endpoints.objects import Objects
from hyperd.api.endpoints.reviews import Reviews
from hyperd.api.endpoints.watching import Watchers
from hyperd.api.limits.connections import ConnectionLimits
from hyperd.api.limits.fairness import Fairness, is_root, source_key
from hyperd.api.serving import listeners
from hyperd.api.serving.accepting import Listener
from hyperd.api.serving.exports import ExportAddresses
from hyperd.api.serving.httpserver import Connection, HttpServer
from hyperd.api.serving.middleware import Middleware, RequestInfo, record_opening
from hyperd.api.serving.registry import RegistryReading, RegistryTokens
from hyperd.api.serving.uploads import UploadAddresses
from hyperd.api.sessions.exports import Exports
from hyperd.api.sessions.lending import PATH as EXPORTS
from hyperd.api.sessions.pulls import PATH as REGISTRY
from hyperd.api.sessions.pulls import Pulls
from hyperd.api.sessions.uploads import Uploads
from hyperd.api.wire.metrics import Collector, Metrics
from hyperd.api.wire.query import EMPTY, Query
from hyperd.api.wire.review_kinds import ASKED, QUESTIONS
from hyperd.api.wire.review_kinds import PREFIXES as REVIEW_PREFIXES
from hyperd.api.wire.routes import Router, Target
from hyperd.api.wire.subresources import SubresourceHandlers
from hyperd.background import Background, end_all
from hyperd.errors import HyperdError, MethodNotAllowed, NotFound, PermanentError, ServiceUnavailable, Unauthorized
from hyperd.offload import Offload
from hyperd.resources.all import KINDS, NAMESPACE
from hyperd.resources.schema.kind import Kind, Registry
from hyperd.settings import Settings
from hyperd.store.embedded.derived import derived_of
from hyperd.store.interface import Store, User
from hyperd.store.versions import versions_of
from registry.intake import PATH as UPLOADS
from registry.models import RegistryEndpoint
from registry.tokens import TOKEN_PATH

_LOG = logging.getLogger(__name__)
_DRAIN_SECONDS = 2.0
_WRITE_SECONDS = 5.0
"""How long a stop waits for a write that has begun: a commit takes milliseconds on a disk that works."""
_SWEEP_SECONDS = 3600.0
_CERTIFICATE_CHECK_SECONDS = 43_200.0
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_READS = frozenset({"get", "list", "watch"})
_CONNECT_PREFIX = "/apis/subresources.virtualization.deckhouse.io/v1alpha2/"


class ApiServer:
    """Serves one store on a unix socket (0660) and on TLS.

    ``sessions`` maps (plural, subresource) to the handlers of console, vnc and log; ``collectors`` yield samples
    for ``/metrics``.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        *,
        sessions: SubresourceHandlers | None = None,
        collectors: Iterable[Collector] = (),
        authorizer: Authorizer | None = None,
        kinds: Registry = KINDS,
        objects_elsewhere: Callable[[], str] | None = None,
        processes: Offload | None = None,
        uploads: Uploads | None = None,
        exports: Exports | None = None,
        registry: RegistryEndpoint | None = None,
        unstored: Mapping[Kind, Store] | None = None,
    ) -> None:
        """``processes`` read large bodies; ``uploads`` are taken and ``exports`` given at their addresses;
        an embedded ``registry`` is read by those who may export;
        ``unstored`` are stores of what is measured when it is read.

        ``objects_elsewhere`` gives the URL of the API server that serves the objects where this one does not.
        Then there is the unix socket alone, and on it health, metrics and the connect subresources.
        """
        self._settings = settings
        self._elsewhere = objects_elsewhere
        self._processes = processes
        self._authorizer = authorizer or RoleAuthorizer(kinds)
        unix_groups = UnixGroups(settings.access.unix_groups)
        self._tokens = Tokens(store)
        tokens = self._tokens if objects_elsewhere is None else None
        self._front_proxy = FrontProxyLogin()
        self._authenticator = Authenticator(
            (self._front_proxy, TokenLogin(tokens), UnixLogin(unix_groups), certificate_login)
        )
        versions = {**versions_of(store, kinds, processes), **derived_of(store, kinds), **(unstored or {})}
        self.fairness = Fairness(watches=settings.api.max_watchers)
        self._watchers = Watchers(store, self.fairness.watches, versions)
        self.audit = AuditLog(settings.log_dir, settings.audit)
        self.connections = ConnectionLimits()
        self._addresses: dict[str, UploadAddresses | ExportAddresses] = {}
        """What is served to whoever knows an address, by its begin."""
        if uploads is not None:
            self._addresses[UPLOADS] = UploadAddresses(uploads, self.fairness, self.audit)
        if exports is not None:
            self._addresses[EXPORTS] = ExportAddresses(exports, self._tokens, self.fairness, self.audit)
        self._registry: dict[str, RegistryTokens | RegistryReading] = {}
        """What is served by the registries' protocol, which has logins of its own."""
        if registry is not None and registry.tokens is not None and exports is not None and tokens is not None:
            pulls = Pulls(store, registry, registry.tokens, exports.lending)
            self._registry[TOKEN_PATH] = RegistryTokens(
                pulls, tokens, self._authenticator, self._authorizer, self.fairness
            )
            self._registry[REGISTRY] = RegistryReading(pulls, tokens, self.fairness, self.audit)
        own = (self._watchers.samples, self.audit.samples, self.connections.samples, self.fairness.samples)
        self.metrics = Metrics((*own, *collectors))
        self._objects = Objects(store, self._watchers, self._authorizer, settings.api.max_body_bytes, versions)
        self._connect = Connect(sessions or {}, self.fairness)
        self._documents = Documents((*kinds.served(), *ASKED) if objects_elsewhere is None else (), self.metrics)
        self._kinds = kinds
        self._router = Router(kinds)
        self._reviews = Reviews(
            self._authorizer,
            self._tokens,
            max_body_bytes=settings.api.max_body_bytes,
            max_token_seconds=settings.access.max_token_seconds,
        )
        self._review_router = Router(ASKED)
        self._border = Middleware(self._answer, self.metrics, self.audit)
        self._http: HttpServer | None = None
        self._servers: list[Listener] = []
        self._background = Background()
        self._port = 0
        self.ready = False
        """What ``/readyz`` says: for who started this to set, once all that must listen does."""

    @property
    def port(self) -> int:
        """The TLS listener's actual port, once started."""
        return self._port

    @property
    def url(self) -> str:
        """The TLS listener's URL, once started; empty without one."""
        host = self._settings.api.host
        if host in ("", "0.0.0.0", "::"):
            host = self._settings.node
        return f"https://{f'[{host}]' if ':' in host else host}:{self._port}" if self._port else ""

    async def start(self) -> None:
        """Bind the listeners and write the kubeconfig. Raises PermanentError when it cannot."""
        if http_parser.HttpRequestParser is http_parser.HttpRequestParserPy:
            raise PermanentError(
                "aiohttp has no C parser here, and its Python one is too slow to serve the API; install aiohttp "
                "from a wheel for this platform."
            )
        self._http = http = HttpServer.of(self._border, self.fairness.turns)
        self.audit.start()
        api = self._settings.api
        try:
            sock = await asyncio.to_thread(
                listeners.unix, self._settings.socket_path, (*self._settings.access.unix_groups,)
            )
            self._listen(http, sock)
            if self._elsewhere is None:
                await self._listen_tls(http)
        except PermanentError:
            await self.stop()
            raise
        self._background.spawn(self.metrics.loop_lag.run, "loop lag")
        tls = f" and {api.host}:{self._port}" if self._elsewhere is None else ""
        _LOG.info("The API listens on %s%s.", self._settings.socket_path, tls)

    async def _listen_tls(self, http: HttpServer) -> None:
        api = self._settings.api
        certificates = await asyncio.to_thread(pki.ensure, self._settings)
        sock = await asyncio.to_thread(listeners.tcp, api.host, api.port)
        self._port = int(sock.getsockname()[1])
        context = pki.server_context(certificates)
        front = self._settings.front_proxy
        if front.ca_file is not None:
            own = await asyncio.to_thread(certificates.ca.certificate.read_text)
            self._front_proxy.load(await front_proxy.from_files(front.ca_file, front.names), own, context)
        self._listen(http, sock, context)
        try:
            await asyncio.to_thread(pki.write_kubeconfig, self._settings, certificates, self._port)
        except OSError as err:
            # On a full disk: what guests and the other clients need is there.
            path = self._settings.kubeconfig_path
            _LOG.warning(
                "The kubeconfig %s is as it was before this start, for it cannot be written: %s", path, err
            )
        self._background.spawn(functools.partial(self._keep_certificates, context), "certificates")
        self._background.spawn(self._sweep_tokens, "tokens")

    def _listen(self, http: HttpServer, sock: socket.socket, context: ssl.SSLContext | None = None) -> None:
        listener = Listener(http, sock, self.connections, context)
        listener.start()
        self._servers.append(listener)

    async def _keep_certificates(self, context: ssl.SSLContext) -> None:
        """Renew certificates of a daemon that runs for months; new connections get them."""
        while True:
            await asyncio.sleep(_CERTIFICATE_CHECK_SECONDS)
            try:
                await asyncio.to_thread(pki.renew, self._settings, context, self._port)
            except (PermanentError, OSError):
                _LOG.exception("Certificates could not be renewed; the next attempt is in half a day")

    async def _sweep_tokens(self) -> None:
        while True:
            try:
                await self._tokens.sweep()
            except HyperdError as err:
                _LOG.warning("Tokens that have expired could not be removed: %s", err)
            await asyncio.sleep(_SWEEP_SECONDS)

    async def stop(self) -> None:
        """Stop accepting, end watches and sessions, finish running requests within two seconds."""
        had_listeners = bool(self._servers)
        for listener in self._servers:
            listener.close()
        self._servers.clear()
        self._watchers.close()
        self._connect.close()
        endings: list[tuple[str, Callable[[], Awaitable[None]]]] = [
            ("what runs beside the API", self._background.stop),
            ("the API's connections", self._end_connections),
            ("writes whose client has left", functools.partial(self._objects.drain, _WRITE_SECONDS)),
            ("the audit log", functools.partial(asyncio.to_thread, self.audit.close)),
        ]
        if had_listeners:
            remove = functools.partial(asyncio.to_thread, listeners.remove, self._settings.socket_path)
            endings.append(("the socket", remove))
        await end_all(endings)

    async def _end_connections(self) -> None:
        http, self._http = self._http, None
        if http is not None:
            http.pre_shutdown()
            await http.shutdown(_DRAIN_SECONDS)

    async def _answer(self, request: web.BaseRequest, request_id: str, seen: RequestInfo) -> web.StreamResponse:
        path = request.raw_path.partition("?")[0]
        method = request.method
        if path in authentication.PUBLIC_PATHS and method in ("GET", "HEAD"):
            seen.verb, seen.resource = "get", path
            if path == "/readyz" and not self.ready:
                raise ServiceUnavailable("The daemon is starting; not all of its listeners serve yet.")
            if isinstance(connection := request.protocol, Connection):
                connection.good()
            return self._documents.public(path, request_id)
        peer = self._authenticator.peer(request)
        seen.source = peer.source
        seen.writes = method not in _READING
        for prefix, addresses in self._addresses.items():
            if path.startswith(prefix):
                return await addresses.answer(request, path, request_id, seen)
        for prefix, registry in self._registry.items():
            if path.startswith(prefix):
                return await registry.answer(request, path, request_id, seen, peer)
        try:
            user = await self._authenticator.user(request, peer)
        except Unauthorized:
            await self.fairness.denied(source_key(peer.source))
            raise
        seen.user = user
        if isinstance(connection := request.protocol, Connection) and connection.user != user.name:
            connection.login(user.name, privileged=is_root(user))
            await asyncio.sleep(0)  # the next step is the user's
        with await self.fairness.begin(user) as seen.place:
            return await self._asked(request, request_id, user, seen)

    async def _asked(
        self, request: web.BaseRequest, request_id: str, user: User, seen: RequestInfo
    ) -> web.StreamResponse:
        """What ``user`` asks."""
        path, _, query = request.raw_path.partition("?")
        if impersonation.asked(request.headers):
            seen.user = await impersonation.impersonated(request, user, self._authorizer)
            seen.by, user = user, seen.user
        if path.startswith(_CONNECT_PREFIX):
            return await self._connected(request, request_id, path, user, seen)
        if not Documents.owns(path):
            if self._elsewhere is not None:
                raise NotFound(_elsewhere(self._elsewhere()))
            router = self._review_router if path.startswith(REVIEW_PREFIXES) else self._router
            target = router.resolve(path)
            parsed = Query(query) if query else EMPTY
            call = Call(
                request, request_id, user, target, parsed, warnings=seen.warnings, processes=self._processes
            )
            return await self._resource(call, seen)
        seen.verb, seen.writes = "get", False
        await authorization.require(self._authorizer, user, Attributes(request.method.lower(), path=path))
        response = await self._documents.answer(request, path, request_id)
        # Only what exists is counted by its path, or strangers could make up paths until memory ends.
        seen.resource = f"/{path.strip('/')}"
        return response

    async def _resource(self, call: Call, seen: RequestInfo) -> web.StreamResponse:
        target, method = call.target, call.request.method
        verb = target.methods.get("GET" if method == "HEAD" else method)
        seen.resource = target.kind.plural
        if method == "OPTIONS":
            seen.verb = "options"
            return web.Response(headers={"Allow": _allow(target), answers.REQUEST_ID: call.id})
        if verb is None:
            seen.verb = method.lower()
            raise MethodNotAllowed(
                "the server does not allow this method on the requested resource", allow=_allow(target)
            )
        seen.verb = "watch" if verb == "list" and call.query.flag("watch") else verb
        attributes = Attributes(
            seen.verb,
            group=target.kind.group,
            resource=target.kind.plural,
            subresource=target.subresource,
            namespace=target.name if target.kind is NAMESPACE else target.scope,
            name=target.name,
        )
        seen.attributes = attributes
        seen.writes = verb not in _READS and target.kind not in QUESTIONS
        await authorization.require(self._authorizer, call.user, attributes)
        if not target.name and target.namespace is None and verb != "create":
            call.left_out = await authorization.out_of_sight(self._authorizer, call.user, attributes, target.kind)
        if target.kind.deprecated:
            call.warnings.append(self._kinds.deprecation(target.kind))
        if target.kind.hidden or target.kind.elsewhere:
            call.redaction = Redaction(self._authorizer, call.user, target.kind)
        asked = verb == "create" and target.kind in self._reviews.kinds
        handler = self._reviews.create if asked else self._objects.handlers[verb]
        work = handler(call)
        if seen.verb == "watch":
            seen.leave()  # watches have shares of their own
            work = while_valid(self._tokens, seen.by or call.user, call.request, work)
        response = await work
        seen.made = call.made
        return response

    async def _connected(
        self, request: web.BaseRequest, request_id: str, path: str, user: User, seen: RequestInfo
    ) -> web.StreamResponse:
        wanted = self._connect.resolve(path.removeprefix(_CONNECT_PREFIX))
        seen.verb, seen.resource = "connect", f"{wanted.plural}/{wanted.subresource}"
        seen.attributes, seen.writes = wanted.attributes, True
        await authorization.require(self._authorizer, user, wanted.attributes)
        record_opening(self.audit, request, request_id, seen)
        seen.leave()  # sessions have shares of their own
        work = self._connect.serve(wanted, request, user, request_id)
        return await while_valid(self._tokens, seen.by or user, request, work)


def _elsewhere(url: str) -> str:
    return (
        f"this hyperd serves no objects: the Kubernetes API server at {url} keeps them. Ask that one, with "
        "kubectl or with hv --kubeconfig FILE."
    )


def _allow(target: Target) -> str:
    methods = set(target.methods)
    return ", ".join(sorted(methods | ({"HEAD", "OPTIONS"} if "GET" in methods else {"OPTIONS"})))
