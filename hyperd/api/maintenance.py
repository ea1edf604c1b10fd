"""The node's upkeep on request: garbage collection of the registry and the host."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from hyperd.api.subresources import SubresourceHandlers
from hyperd.errors import NotFound
from hyperd.store.interface import User

Collect = Callable[[], Awaitable[dict[str, int]]]
"""Collects now; what was removed, by kind of thing. Raises TemporaryError while imports run."""


class Maintenance:
    """Handlers of ``nodes/collectgarbage``."""

    def __init__(self, node_name: str, collect: Collect) -> None:
        self._node_name = node_name
        self._collect = collect

    def handlers(self) -> SubresourceHandlers:
        """The table for ``ApiServer``."""
        return {("nodes", "collectgarbage"): self._collect_garbage}

    async def _collect_garbage(self, _: web.BaseRequest, __: User, ___: str, name: str) -> web.StreamResponse:
        if name != self._node_name:
            raise NotFound(f'nodes "{name}" not found')
        removed = await self._collect()
        return web.json_response({"kind": "GarbageCollection", "apiVersion": "v1", "removed": removed})
