"""The wire to a Kubernetes API server: credentials, requests, and what its answers mean as our errors.

kubernetes-asyncio reads the kubeconfig (certificates, tokens, exec plugins, in-cluster accounts) and holds the
session; bodies cross as bytes, because its generated models would parse and rebuild every object. The rule it
keeps: whatever goes wrong on the way becomes an error of ``hyperd.errors``, and a server that cannot be reached is
always ServiceUnavailable, so that controllers wait instead of failing.
"""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import quote, urlencode

import aiohttp
import orjson
import yarl
from kubernetes_asyncio import config as kube_config
from kubernetes_asyncio.client import ApiClient, Configuration
from kubernetes_asyncio.config.config_exception import ConfigException

from hyperd import __version__, errors
from hyperd.background import Background
from hyperd.errors import BadRequest, Cause, HyperdError, InternalError, PermanentError, ServiceUnavailable
from hyperd.resources.schema.kind import Kind, Object

_REQUEST_SECONDS: Final = 70.0
"""A little longer than the API server itself gives a request (60 s)."""
_CONNECT_SECONDS: Final = 10.0
_BUSY_ATTEMPTS: Final = 6
_MAX_BUSY_SECONDS: Final = 10
_TOKEN_REFRESH_SECONDS: Final = 60.0
_WARNING: Final = re.compile(r'\s*299 \S+ "((?:[^"\\]|\\.)*)"(?:\s+"[^"]*")?\s*,?')

_BY_REASON: Final[Mapping[str, type[HyperdError]]] = {
    cls.reason: cls
    for cls in (
        errors.BadRequest, errors.Unauthorized, errors.Forbidden, errors.NotFound, errors.MethodNotAllowed,
        errors.NotAcceptable, errors.AlreadyExists, errors.Conflict, errors.Expired,
        errors.RequestEntityTooLarge, errors.UnsupportedMediaType, errors.Invalid, errors.TooManyRequests,
        errors.ServiceUnavailable, errors.Timeout, errors.InternalError,
    )
} | {"Gone": errors.Expired, "ServerTimeout": errors.Timeout}  # fmt: skip
_BY_CODE: Final[Mapping[int, type[HyperdError]]] = {
    400: errors.BadRequest, 401: errors.Unauthorized, 403: errors.Forbidden, 404: errors.NotFound,
    405: errors.MethodNotAllowed, 406: errors.NotAcceptable, 409: errors.Conflict, 410: errors.Expired,
    413: errors.RequestEntityTooLarge, 415: errors.UnsupportedMediaType, 422: errors.Invalid,
    429: errors.TooManyRequests, 502: errors.ServiceUnavailable, 503: errors.ServiceUnavailable,
    504: errors.Timeout,
}  # fmt: skip

Query = Sequence[tuple[str, str]]


class KubernetesClient:
    """One session with one API server. ``start`` before use, ``close`` at the end."""

    def __init__(self, kubeconfig: Path | None, *, context: str = "") -> None:
        """``kubeconfig`` None uses the service account of the Pod that this process runs in."""
        self._kubeconfig = kubeconfig
        self._context = context
        self.closed = False
        self._api: Any = None
        self._background = Background()

    @property
    def host(self) -> str:
        """The API server's URL, for messages; empty before the start."""
        return "" if self._api is None else str(self._api.configuration.host)

    async def start(self) -> None:
        """Read the credentials. Raises PermanentError when they cannot be used; does not connect."""
        configuration = Configuration()
        loader: Any = None
        try:
            if self._kubeconfig is None:
                kube_config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
            else:
                loader = await kube_config.load_kube_config(
                    str(self._kubeconfig),
                    context=self._context or None,
                    client_configuration=configuration,
                    persist_config=False,
                )
        except (ConfigException, OSError, ValueError) as err:
            source = "The Pod's service account" if self._kubeconfig is None else f"Kubeconfig {self._kubeconfig}"
            raise PermanentError(f"{source} cannot be used: {err}") from err
        configuration.connection_pool_maxsize = 0  # every watch holds a connection: no limit
        self._api = ApiClient(configuration)
        self._api.user_agent = f"hyperd/{__version__}"
        if loader is not None:
            # A plugin that fails once must not be the end of it: its token would expire for good.
            refresh = kube_config.kube_config.refresh_token
            self._background.spawn(
                functools.partial(refresh, loader, configuration, _TOKEN_REFRESH_SECONDS), "token refresh"
            )

    async def close(self) -> None:
        """Drop all connections; open watches end. Safe to call twice."""
        self.closed = True
        await self._background.stop()
        if self._api is not None:
            await self._api.close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Query = (),
        body: bytes | None = None,
        content_type: str = "application/json",
        warn: Callable[[str], None] | None = None,
    ) -> Object:
        """Send, and return the answer's JSON; its warnings go to ``warn``. Raises the error that a Status says."""
        _, answer = await self.exchange(method, path, query=query, body=body, content_type=content_type, warn=warn)
        return answer

    async def exchange(
        self,
        method: str,
        path: str,
        *,
        query: Query = (),
        body: bytes | None = None,
        content_type: str = "application/json",
        warn: Callable[[str], None] | None = None,
    ) -> tuple[int, Object]:
        """As ``request``; the HTTP status too, where it says more than that it went well."""
        for attempt in range(1, _BUSY_ATTEMPTS + 1):
            timeout = aiohttp.ClientTimeout(total=_REQUEST_SECONDS, sock_connect=_CONNECT_SECONDS)
            async with self._sent(method, path, query, body, content_type, timeout=timeout) as response:
                data = await response.read()
                if response.status == 429 and attempt < _BUSY_ATTEMPTS:
                    # Refused before it was looked at (flow control), so sending it again is safe.
                    await asyncio.sleep(_retry_after(response.headers.get("Retry-After", "")))
                    continue
                if warn is not None:
                    for text in _warnings(response.headers.getall("Warning", [])):
                        warn(text)
                if response.status >= 400:
                    raise error_of(data, response.status)
                return response.status, _parsed(data)
        raise AssertionError("the last attempt returns or raises")

    @asynccontextmanager
    async def stream(self, path: str, *, query: Query, idle: float) -> AsyncIterator[aiohttp.StreamReader]:
        """An answer without end. Raises as ``request``; a silence of ``idle`` seconds is ServiceUnavailable."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=idle)
        async with self._sent("GET", path, query, None, "application/json", timeout=timeout) as response:
            if response.status >= 400:
                raise error_of(await response.read(), response.status)
            yield response.content

    @asynccontextmanager
    async def _sent(
        self,
        method: str,
        path: str,
        query: Query,
        body: bytes | None,
        content_type: str,
        *,
        timeout: aiohttp.ClientTimeout,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        api = self._api
        if api is None:
            raise ServiceUnavailable("The connection to the Kubernetes API server is not started.")
        headers = {"Accept": "application/json", **api.default_headers}
        if body is not None:
            headers["Content-Type"] = content_type
        extra: dict[str, Any] = {}
        rest = api.rest_client
        for name in ("proxy", "proxy_headers"):
            if getattr(rest, name):
                extra[name] = getattr(rest, name)
        if rest.server_hostname:
            extra["server_hostname"] = rest.server_hostname
        url = f"{api.configuration.host}{path}"
        if query:
            url += "?" + urlencode(query)
        try:
            await api.update_params_for_auth(headers, [], ["BearerToken"])
            session: aiohttp.ClientSession = rest.pool_manager
            async with session.request(
                method,
                yarl.URL(url, encoded=True),
                data=body,
                headers=headers,
                timeout=timeout,
                allow_redirects=False,
                **extra,
            ) as response:
                yield response
        except (aiohttp.ClientError, OSError, TimeoutError) as err:
            raise unreachable(self.host, err) from err
        except RuntimeError as err:
            if not rest.pool_manager.closed:
                raise
            raise ServiceUnavailable("The connection to the Kubernetes API server is closed.") from err


def unreachable(host: str, err: BaseException) -> ServiceUnavailable:
    """The error for a connection that could not be made, broke, or fell silent."""
    why = str(err) or type(err).__name__
    return ServiceUnavailable(f"The Kubernetes API server at {host} cannot be reached: {why}.")


def error_of(answer: bytes | Object, code: int) -> HyperdError:
    """The error that a Status object, or failing that the HTTP status ``code``, says."""
    try:
        body: Any = orjson.loads(answer) if isinstance(answer, bytes) else answer
    except orjson.JSONDecodeError:
        body = None
    if not isinstance(body, dict) or body.get("kind") != "Status":
        shown = answer[:200].decode(errors="replace").strip() if isinstance(answer, bytes) else ""
        return _BY_CODE.get(code, InternalError)(
            f"The Kubernetes API server answered {code}: {shown or 'nothing'}"
        )
    code = int(body.get("code") or code)
    cls = _BY_REASON.get(body.get("reason") or "") or _BY_CODE.get(code, InternalError)
    details = body.get("details") or {}
    causes = [
        Cause(cause.get("field", ""), cause.get("message", ""), cause.get("reason", ""))
        for cause in details.get("causes") or ()
    ]
    return cls(
        body.get("message") or f"The Kubernetes API server answered {code} without a message.",
        causes=causes,
        retry_after_seconds=details.get("retryAfterSeconds"),
        kind=details.get("kind", ""),
        group=details.get("group", ""),
        name=details.get("name", ""),
        uid=details.get("uid", ""),
    )


def collection_path(kind: Kind, namespace: str | None) -> str:
    """Where objects of ``kind`` are listed and created; None is all namespaces."""
    root = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
    if kind.namespaced and namespace is not None:
        return f"{root}/namespaces/{_segment(namespace)}/{kind.plural}"
    return f"{root}/{kind.plural}"


def object_path(kind: Kind, namespace: str, name: str, subresource: str = "") -> str:
    """Where one object is. Raises BadRequest for a name that would lead somewhere else."""
    path = f"{collection_path(kind, namespace)}/{_segment(name)}"
    return f"{path}/{_segment(subresource)}" if subresource else path


def can_be_segment(text: str) -> bool:
    """Whether ``text`` can be a name in a path: an empty one would be the collection, dots another resource."""
    return bool(text) and text not in (".", "..") and "/" not in text and "%" not in text


def _segment(text: str) -> str:
    if not can_be_segment(text):
        raise BadRequest(f"{text[:64]!r} is not a valid path segment name")
    return quote(text, safe="")


def _parsed(data: bytes) -> Object:
    try:
        return cast(Object, orjson.loads(data))
    except orjson.JSONDecodeError as err:
        raise InternalError(f"The Kubernetes API server answered what is no JSON: {data[:100]!r}.") from err


def _retry_after(text: str) -> float:
    return float(min(int(text), _MAX_BUSY_SECONDS)) if text.isascii() and text.isdecimal() else 1.0


def _warnings(headers: Sequence[str]) -> list[str]:
    """The texts of ``Warning: 299 - "text"`` headers (RFC 7234, as Kubernetes sends them)."""
    found = (match for header in headers for match in _WARNING.finditer(header))
    return [re.sub(r"\\(.)", r"\1", match.group(1)) for match in found]
