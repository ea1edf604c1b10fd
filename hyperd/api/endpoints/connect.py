"""The way to console, vnc and the other connect subresources: found, allowed, handed over."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from urllib.parse import unquote

from aiohttp import web

from hyperd.api.access.authorization import Attributes
from hyperd.api.endpoints.answers import REQUEST_ID
from hyperd.api.limits.fairness import Fairness
from hyperd.api.wire.subresources import CLUSTER_SCOPED, DECLARED, GROUP, SubresourceHandlers
from hyperd.errors import MethodNotAllowed, NotFound, NotImplementedYet
from hyperd.store.interface import User

METHODS = {"get": "GET", "update": "PUT", "create": "POST"}
_FILES = frozenset({"export"})
"""What HEAD is answered for."""


@dataclass(frozen=True)
class Wanted:
    """One connect subresource of one object."""

    plural: str
    subresource: str
    namespace: str
    name: str

    @property
    def attributes(self) -> Attributes:
        return Attributes(
            DECLARED[self.plural, self.subresource][0],
            group=GROUP,
            resource=self.plural,
            subresource=self.subresource,
            namespace=self.namespace,
            name=self.name,
        )


class Connect:
    """The handlers, and the sessions that run in them."""

    def __init__(self, handlers: SubresourceHandlers, fairness: Fairness) -> None:
        self._handlers = handlers
        self._fairness = fairness
        self._running: set[asyncio.Task[object]] = set()

    def close(self) -> None:
        """Cancel every session; each says goodbye in its own way."""
        for task in self._running:
            task.cancel()

    def resolve(self, path: str) -> Wanted:
        """``[namespaces/NS/]PLURAL/NAME/SUBRESOURCE``. Raises NotFound for what no version has."""
        namespace, parts = "", [unquote(part) for part in path.split("/")]
        if len(parts) == 5 and parts[0] == "namespaces":
            namespace, parts = parts[1], parts[2:]
        known = len(parts) == 3 and all(parts) and (parts[0], parts[2]) in DECLARED
        if known and bool(namespace) != (parts[0] in CLUSTER_SCOPED):
            return Wanted(plural=parts[0], subresource=parts[2], namespace=namespace, name=parts[1])
        raise NotFound("the server could not find the requested resource")

    async def serve(
        self, wanted: Wanted, request: web.BaseRequest, user: User, request_id: str
    ) -> web.StreamResponse:
        """Run the handler. Raises MethodNotAllowed, NotImplementedYet, TooManyRequests, and what that raises."""
        verbs = DECLARED[wanted.plural, wanted.subresource]
        method = "GET" if request.method == "HEAD" and wanted.subresource in _FILES else request.method
        if method not in {METHODS[verb] for verb in verbs}:
            raise MethodNotAllowed(
                f"{wanted.plural}/{wanted.subresource} takes {' or '.join(METHODS[verb] for verb in verbs)} only"
            )
        handler = self._handlers.get((wanted.plural, wanted.subresource))
        if handler is None:
            raise NotImplementedYet(
                f"{wanted.plural}/{wanted.subresource} is not built in this version of hyperd; nothing was done."
            )
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  a coroutine runs in a task
        self._running.add(task)
        try:
            with self._fairness.session(user, wanted.subresource):
                response = await handler(request, user, wanted.namespace, wanted.name)
        finally:
            self._running.discard(task)
        if not response.prepared:
            response.headers[REQUEST_ID] = request_id
        return response
