"""One blob on its way into the registry.

The body of a PATCH is ended properly even when the import fails, since only then does the server let go of the
upload and can it be cancelled without a trace; a connection cut in the middle leaves the partial file behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from yarl import URL

from hyperd.errors import HyperdError
from registry import tree
from registry.tokens import Access, deletes, pushes

if TYPE_CHECKING:
    import aiohttp

    from registry.models import RegistryEndpoint

_QUEUED_BLOCKS = 2
_CANCEL_SECONDS = 10.0


class Transport(Protocol):
    """What an upload needs of the client."""

    endpoint: RegistryEndpoint

    def request(
        self,
        method: str,
        url: URL,
        *access: Access,
        data: bytes | AsyncIterable[bytes] | None = None,
        headers: Mapping[str, str] = {},
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]: ...

    def own(self, location: str) -> URL: ...


class Upload:
    """Send blocks, then commit; leaving without a commit cancels. Made by ``RegistryClient.upload``."""

    def __init__(self, transport: Transport, repository: str, location: URL) -> None:
        self._transport = transport
        self._repository = repository
        self._location = location
        self._blocks: asyncio.Queue[bytes | None] = asyncio.Queue(_QUEUED_BLOCKS)
        self._sending = asyncio.create_task(self._patch(), name="registry-upload")
        self._committed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._committed:
            await asyncio.shield(self._cancel())

    async def send(self, block: bytes) -> None:
        """Append ``block``; raises what the registry says meanwhile."""
        await self._queue(block)

    @property
    def id(self) -> str:
        """The registry's name of this upload."""
        return self._location.name

    async def flush(self) -> None:
        """End the body; returns when the registry has all of it."""
        if not self._sending.done():
            await self._queue(None)
        await self._sending

    async def commit(self, digest: str) -> None:
        """Flush and finish; the registry refuses if what it got has another digest."""
        await self.flush()
        target = self._location.update_query(digest=digest)
        access = pushes(self._repository)
        async with self._transport.request("PUT", target, access, headers={"Content-Length": "0"}):
            self._committed = True

    async def _queue(self, block: bytes | None) -> None:
        put = asyncio.ensure_future(self._blocks.put(block))
        try:
            await asyncio.wait({put, self._sending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            put.cancel()
        if self._sending.done():
            await self._sending

    async def _patch(self) -> None:
        headers = {"Content-Type": "application/octet-stream"}
        async with self._transport.request(
            "PATCH", self._location, pushes(self._repository), data=self._queued(), headers=headers
        ) as response:
            self._location = self._transport.own(response.headers.get("Location", ""))

    async def _queued(self) -> AsyncIterator[bytes]:
        while (block := await self._blocks.get()) is not None:
            yield block

    async def _cancel(self) -> None:
        root = self._transport.endpoint.root
        with suppress(HyperdError, OSError, TimeoutError):
            async with asyncio.timeout(_CANCEL_SECONDS):
                await self._end_body()
                if root is None:
                    async with self._transport.request("DELETE", self._location, deletes(self._repository)):
                        return
        if root is not None:
            with suppress(HyperdError, OSError):
                await asyncio.to_thread(tree.discard_upload, root, self._repository, self.id)

    async def _end_body(self) -> None:
        while not self._blocks.empty():
            self._blocks.get_nowait()
        self._blocks.put_nowait(None)
        try:
            await asyncio.wait({self._sending})
        finally:
            self._sending.cancel()
        with suppress(HyperdError):
            await self._sending
