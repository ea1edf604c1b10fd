"""Everything that is no resource: health, version, discovery, OpenAPI, metrics."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Iterable
from functools import partial
from typing import Any

from aiohttp import web

from hyperd import __version__
from hyperd.api import answers, metrics, negotiate
from hyperd.api.discovery import Discovery
from hyperd.api.metrics import Metrics
from hyperd.api.negotiate import Form
from hyperd.api.openapi import OpenApi
from hyperd.errors import MethodNotAllowed, NotFound
from hyperd.resources.kind import Kind

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
_CACHED_FOR_EVER = "public, immutable, max-age=31536000"


class Documents:
    """The documents of one server, made from its kinds once."""

    def __init__(self, kinds: Iterable[Kind], metrics_: Metrics) -> None:
        self._discovery = Discovery(kinds)
        self._metrics = metrics_
        self._openapi: OpenApi | None = None

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
        """Raises NotFound, MethodNotAllowed."""
        if request.method not in ("GET", "HEAD"):
            raise MethodNotAllowed("the server does not allow this method on the requested resource")
        path = path.rstrip("/")
        if path == "/metrics":
            process = await asyncio.to_thread(lambda: list(metrics.process_samples()))
            return answers.text(self._metrics.render(process), request_id, content_type=metrics.CONTENT_TYPE)
        if path.startswith("/openapi/"):
            return self._openapi_answer(path, request_id)
        return self._discovered(request, path, request_id)

    def _discovered(self, request: web.BaseRequest, path: str, request_id: str) -> web.Response:
        accept = request.headers.get("Accept", "")
        document = partial(answers.document, request_id=request_id)
        if path in ("/api", "/apis"):
            core = path == "/api"
            accepted = negotiate.negotiate(accept, _DISCOVERY)
            if accepted.form is Form.DISCOVERY:
                form = f"application/json;g=apidiscovery.k8s.io;v={accepted.version};as=APIGroupDiscoveryList"
                aggregated = self._discovery.aggregated(core=core, version=accepted.version)
                return document(aggregated, headers={"Content-Type": form, "Vary": "Accept"})
            legacy = self._discovery.api_versions() if core else self._discovery.group_list()
            return document(legacy, headers={"Vary": "Accept"})
        found = self._by_path(path.strip("/").split("/"))
        if found is None:
            raise NotFound("the server could not find the requested resource")
        return document(found)

    def _by_path(self, parts: list[str]) -> dict[str, Any] | None:
        match parts:
            case [""]:
                return {
                    "paths": [
                        "/api",
                        "/apis",
                        "/healthz",
                        "/livez",
                        "/metrics",
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

    def _openapi_answer(self, path: str, request_id: str) -> web.Response:
        if self._openapi is None:
            self._openapi = OpenApi(self._discovery)
        if path == "/openapi/v3":
            return answers.document(self._openapi.index(), request_id)
        found = self._openapi.document(path.removeprefix("/openapi/v3/"))
        if found is None:
            raise NotFound("the server could not find the requested resource")
        body, digest = found
        headers = {"ETag": f'"{digest}"', "Cache-Control": _CACHED_FOR_EVER}
        return answers.document(body, request_id, headers=headers)
