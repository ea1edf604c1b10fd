"""The node's upkeep on request: garbage collection of the registry and the host, and a copy of the store."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from aiohttp import web

from hyperd.api.sessions.sending import Sending
from hyperd.api.wire.query import Query
from hyperd.api.wire.subresources import SubresourceHandlers
from hyperd.errors import NotFound, NotImplementedYet
from hyperd.store.interface import User

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Garbage:
    """What a collection removed, by kind of thing, and what it left alone for want of an owner."""

    removed: dict[str, int]
    kept: list[dict[str, str]] = field(default_factory=list)
    waits: str = ""
    """Why nothing is collected until an administrator accepts the store; empty when that need not be."""
    registry: Mapping[str, object] | None = None
    """Of a check: ``images``, ``ownerless``, ``removable`` with repository and tag, ``space`` in bytes."""


@dataclass(frozen=True)
class Ask:
    """What instead of a collection: list, ``accept`` the store as it is, remove what is kept of ``empty``, or say
    what a collection of the registry would find."""

    accept: bool = False
    empty: tuple[str, ...] = ()
    lists: bool = False
    checks: bool = False


Collect = Callable[[Ask], Awaitable[Garbage]]
"""Collects now; ``kept`` are texts: uid, kind, name, since and message, and ``owned`` of a second volume of an
owner that is there. Raises TemporaryError while imports
run, Conflict and NotFound for what cannot be emptied."""

Backup = Callable[[Path], Awaitable[None]]
"""Writes a copy of the store to a new file. Raises ServiceUnavailable."""


class Maintenance:
    """Handlers of ``nodes/collectgarbage`` and ``nodes/backup``."""

    def __init__(self, node_name: str, collect: Collect, *, backup: Backup | None, folder: Path) -> None:
        """``backup`` is None where another server stores the objects; copies pass through ``folder``."""
        self._node_name = node_name
        self._collect = collect
        self._backup = backup
        self._folder = folder

    def handlers(self) -> SubresourceHandlers:
        """The table for ``ApiServer``."""
        return {("nodes", "collectgarbage"): self._collect_garbage, ("nodes", "backup"): self._send_backup}

    async def _collect_garbage(self, request: web.BaseRequest, _: User, __: str, name: str) -> web.StreamResponse:
        self._require(name)
        query = Query(request.url.raw_query_string)
        garbage = await self._collect(
            Ask(
                accept=query.flag("accept"),
                empty=tuple(dict.fromkeys(query.all("empty"))),
                lists=query.flag("list"),
                checks=query.flag("check"),
            )
        )
        return web.json_response(
            {
                "kind": "GarbageCollection",
                "apiVersion": "v1",
                "removed": garbage.removed,
                "kept": garbage.kept,
                "waits": garbage.waits,
                **({} if garbage.registry is None else {"registry": garbage.registry}),
            }
        )

    async def _send_backup(self, request: web.BaseRequest, _: User, __: str, name: str) -> web.StreamResponse:
        self._require(name)
        if self._backup is None:
            raise NotImplementedYet("The objects are in the Kubernetes API server: back up its etcd instead.")
        async with self._copy(self._backup) as (file, size):
            response = web.StreamResponse(
                headers={"Content-Type": "application/vnd.sqlite3", "Content-Length": str(size)}
            )
            sending = Sending(request, response)
            while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
                await sending.write(chunk)
            await sending.end()
        return response

    @asynccontextmanager
    async def _copy(self, backup: Backup) -> AsyncIterator[tuple[BinaryIO, int]]:
        """A copy without a name: it goes when it is closed, however this ends."""
        path = self._folder / f"store.db.{secrets.token_hex(8)}.part"
        try:
            await backup(path)
            file = await asyncio.to_thread(path.open, "rb")
        finally:
            await asyncio.to_thread(path.unlink, missing_ok=True)
        try:
            yield file, (await asyncio.to_thread(path_size, file))
        finally:
            await asyncio.to_thread(file.close)

    def _require(self, name: str) -> None:
        if name != self._node_name:
            raise NotFound(f'nodes "{name}" not found')


def path_size(file: BinaryIO) -> int:
    """The size of an open file, which is left at its beginning."""
    size = file.seek(0, 2)
    file.seek(0)
    return size
