"""Everything that is no resource: health, version, discovery, OpenAPI, metrics."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Iterable

from aiohttp import web

from hyperd import __version__
from hyperd.api.access.authentication import PUBLIC_PATHS
from hyperd.api.endpoints import answers, openapi
from hyperd.api.endpoints.discovery import Discovery
from hyperd.api.endpoints.openapi import OpenApi
from hyperd.api.wire import metrics, negotiate
from hyperd.api.wire.metrics import Metrics
from hyperd.api.wire.negotiate import Accepted, Form
from hyperd.errors import MethodNotAllowed, NotFound
from hyperd.jsontypes import JsonObject
from hyperd.resources.schema.kind import Kind

KUBERNETES_MINOR = "33"
"""The Kubernetes release whose grammar this is; clients compare it with their own."""
_VERSION = {
    "major": "1",
    "minor": KUBERNETES_MINOR,
    "gitVersion": f"v1.{KUBERNETES_MINOR}.0+hyperd.{__version__}",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": f"python{platform.python_version()}",
    "compiler": "cpython",
    "platform": f"linux/{'amd64' if platform.machine() == 'x86_64' else platform.machine()}",
}
_DISCOVERY = frozenset({Form.DISCOVERY})
_WHOLE: frozenset[Form] = frozenset()
_ALLOW = "GET, HEAD, OPTIONS"
_CACHED_FOR_EVER = "public, immutable, max-age=31536000"


class Documents:
    """The documents of one server, made from its kinds once."""

    def __init__(self, kinds: Iterable[Kind], metrics_: Metrics) -> None:
        self._discovery = Discovery(kinds)
        self._metrics = metrics_
        self._openapi: OpenApi | None = None
        self._one_makes = asyncio.Lock()
        self._encoded: dict[tuple[str, Accepted], bytes] = {}

    @staticmethod
    def owns(path: str) -> bool:
        """Whether ``path`` is no resource: shorter than any."""
        if path.startswith("/apis/"):
            return path.strip("/").count("/") <= 2
        if path.startswith("/api/"):
            return path.strip("/").count("/") <= 1
        return True

    def public(self, path: str, request_id: str) -> web.Response:
        """Health and version."""
        if path.startswith("/version"):
            return answers.document(_VERSION, request_id)
        return answers.text("ok", request_id)

    async def answer(self, request: web.BaseRequest, path: str, request_id: str) -> web.StreamResponse:
        """Raises NotFound, MethodNotAllowed, NotAcceptable."""
        response = await self._get(request, path, request_id)
        if request.method == "OPTIONS":
            return web.Response(headers={"Allow": _ALLOW, answers.REQUEST_ID: request_id})
        if request.method not in ("GET", "HEAD"):
            raise MethodNotAllowed("the server does not allow this method on the requested resource", allow=_ALLOW)
        return response

    async def _get(self, request: web.BaseRequest, path: str, request_id: str) -> web.Response:
        if path in PUBLIC_PATHS:
            return self.public(path, request_id)
        path = path.removesuffix("/")
        if path == "/metrics":
            return answers.text(await self._metrics.text(), request_id, content_type=metrics.CONTENT_TYPE)
        if path.startswith("/openapi/"):
            return await self._openapi_answer(request, path, request_id)
        return await self._discovered(request, path, request_id)

    async def _discovered(self, request: web.BaseRequest, path: str, request_id: str) -> web.Response:
        forms = _DISCOVERY if path in ("/api", "/apis") else _WHOLE
        accepted = negotiate.negotiate(request.headers.get("Accept", ""), forms)
        body = self._encoded.get((path, accepted))
        if body is None:
            found = self._document(path, accepted)
            if found is None:
                raise NotFound("the server could not find the requested resource")
            body = self._encoded[path, accepted] = await answers.encoded(found, accepted.media_type)
        content_type = accepted.media_type
        if accepted.form is Form.DISCOVERY:
            content_type += f";g=apidiscovery.k8s.io;v={accepted.version};as=APIGroupDiscoveryList"
        headers = {"Content-Type": content_type, "Vary": "Accept"}
        return answers.cacheable(request, body, request_id, answers.digest(body), headers=headers)

    def _document(self, path: str, accepted: Accepted) -> JsonObject | None:
        if path in ("/api", "/apis"):
            core = path == "/api"
            if accepted.form is Form.DISCOVERY:
                return self._discovery.aggregated(core=core, version=accepted.version)
            return self._discovery.api_versions() if core else self._discovery.group_list()
        return self._by_path(path.removeprefix("/").split("/"))

    def _by_path(self, parts: list[str]) -> JsonObject | None:
        match parts:
            case [""]:
                return {
                    "paths": [
                        "/api",
                        "/apis",
                        "/healthz",
                        "/livez",
                        "/metrics",
                        "/openapi/v2",
                        "/openapi/v3",
                        "/readyz",
                        "/version",
                    ]
                }
            case ["api", version]:
                return self._discovery.resource_list("", version)
            case ["apis", group]:
                return self._discovery.group(group)
            case ["apis", group, version]:
                return self._discovery.resource_list(group, version)
        return None

    async def _openapi_answer(self, request: web.BaseRequest, path: str, request_id: str) -> web.Response:
        if path == "/openapi/v2":
            wants_protobuf = openapi.V2_PROTOBUF in request.headers.get("Accept", "")
            body, media_type = openapi.version_two(protobuf=wants_protobuf)
            headers = {"Content-Type": media_type, "Vary": "Accept"}
            return answers.cacheable(request, body, request_id, answers.digest(body), headers=headers)
        made = await self._made()
        if path == "/openapi/v3":
            return answers.document(made.index(), request_id)
        found = made.document(path.removeprefix("/openapi/v3/"))
        if found is None:
            raise NotFound("the server could not find the requested resource")
        body, digest = found
        headers = {"Cache-Control": _CACHED_FOR_EVER}
        return answers.cacheable(request, body, request_id, digest, headers=headers)

    async def _made(self) -> OpenApi:
        """The documents of all kinds, made when they are first asked for: that takes some 0.2 s."""
        async with self._one_makes:
            if self._openapi is None:
                self._openapi = await asyncio.to_thread(OpenApi, self._discovery)
            return self._openapi
