"""What disks, snapshots and images hold, as files: whole, or from any byte on, so that a broken transfer goes on.

Who may read an object may not read its content for that: a disk has its guest's secrets. It is an editor's right,
as Secrets are, and who has it may read a snapshot's or an image's as well.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import hashlib
import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass, replace
from typing import Final
from weakref import WeakValueDictionary

from aiohttp import web

from hyperd import clock
from hyperd.api.access import impersonation
from hyperd.api.limits.fairness import is_root
from hyperd.api.sessions.lending import LENT_SECONDS, Lending, Lent
from hyperd.api.sessions.sending import Sending, abort
from hyperd.api.sessions.target import flag
from hyperd.api.wire import ranges
from hyperd.api.wire.subresources import SubresourceHandler, SubresourceHandlers
from hyperd.background import hear
from hyperd.errors import (
    BadRequest,
    HyperdError,
    NotFound,
    NotImplementedYet,
    RangeNotSatisfiable,
    ServiceUnavailable,
    TemporaryError,
)
from hyperd.imagefile.exporting import Content, Image, Piece, image_of
from hyperd.imagefile.handle import DiskFormat
from hyperd.imagefile.maps import Maps
from hyperd.resources.all import CLUSTER_VIRTUAL_IMAGE, VIRTUAL_DISK, VIRTUAL_DISK_SNAPSHOT, VIRTUAL_IMAGE
from hyperd.resources.schema.kind import Kind
from hyperd.settings import Settings
from hyperd.shares import Shares
from hyperd.store.interface import User

_log = logging.getLogger(__name__)

SUBRESOURCE: Final = "export"
KINDS: Final[tuple[Kind, ...]] = (VIRTUAL_DISK, VIRTUAL_DISK_SNAPSHOT, VIRTUAL_IMAGE, CLUSTER_VIRTUAL_IMAGE)
_AT_ONCE: Final = 8
_SUMS_AT_ONCE: Final = 4
_WAIT_SECONDS: Final = 20.0
_TOLD_SECONDS: Final = 5.0
"""Between two lines of a checksum that is being computed."""
_REMEMBERED: Final = 256
_TYPES: Final = {DiskFormat.RAW: "application/octet-stream", DiskFormat.QCOW2: "application/x-qemu-disk"}

Open = Callable[[Kind, str, str], AbstractAsyncContextManager[Content]]
"""Opens what an object holds, by kind, namespace and name. Raises NotFound and Conflict."""


@dataclass(frozen=True)
class Wanted:
    """What a request asks for."""

    format: DiskFormat
    checksum: bool
    address: bool

    @classmethod
    def of(cls, request: web.BaseRequest, default: DiskFormat = DiskFormat.RAW) -> Wanted:
        """Raises BadRequest."""
        format_, checksum = request.query.get("format", default), request.query.get("checksum", "")
        if format_ not in set(DiskFormat):
            raise BadRequest(f"format={format_[:40]!r} is neither raw nor qcow2.")
        if checksum not in ("", "sha256"):
            raise BadRequest(f"checksum={checksum[:40]!r} is not known: sha256 is.")
        return cls(DiskFormat(format_), bool(checksum), flag(request, "address"))


class Exports:
    """The handlers."""

    def __init__(self, open_: Open, settings: Settings) -> None:
        self._open = open_
        self.lending = Lending()
        self._settings = settings
        self._places: Shares[str] = Shares(
            "exports", _AT_ONCE, headroom=2, reserve=1, most=_AT_ONCE - 2, waiting=16, retry_after_seconds=10
        )
        self._maps = Maps()
        self._checksums = OrderedDict[str, str]()
        """sha256 by tag, of what was read to its end."""
        self._summing: Shares[str] = Shares(
            "checksums", _SUMS_AT_ONCE, headroom=1, most=1, waiting=_AT_ONCE, retry_after_seconds=10
        )
        self._by_tag = WeakValueDictionary[str, asyncio.Lock]()
        """Held by who computes that one."""

    def handlers(self) -> SubresourceHandlers:
        """The table for ``ApiServer``."""
        return {(kind.plural, SUBRESOURCE): self._handler(kind) for kind in KINDS}

    def _handler(self, kind: Kind) -> SubresourceHandler:
        async def serve(request: web.BaseRequest, user: User, namespace: str, name: str) -> web.StreamResponse:
            wanted = Wanted.of(request)
            lent = Lent(kind, namespace, name, "", wanted.format, user)
            return await self._serve(request, wanted, lent, user)

        return serve

    async def serve_lent(self, request: web.BaseRequest, lent: Lent) -> web.StreamResponse:
        """What an address is for, in a place of its maker."""
        wanted = Wanted.of(request, default=lent.format)
        if wanted.address or wanted.format is not lent.format:
            raise BadRequest(f"This address is for {lent.format} alone.")
        if lent.read and not wanted.checksum:
            raise NotFound("All was read at this address already. Ask for another one.")
        return await self._serve(request, wanted, lent, lent.user)

    async def _serve(self, request: web.BaseRequest, wanted: Wanted, lent: Lent, user: User) -> web.StreamResponse:
        place = await self._places.acquire(
            user.name, timeout=_WAIT_SECONDS, privileged=is_root(user), lose=functools.partial(abort, request)
        )
        with place:
            try:
                async with self._open(lent.kind, lent.namespace, lent.name) as content:
                    if wanted.address:
                        return self._lend(request, replace(lent, uid=content.uid))
                    if lent.uid not in ("", content.uid):
                        raise NotFound(f"{content.title} is another one than this address is for.")
                    async with image_of(
                        content, wanted.format, self._settings, self._maps, user=user.name
                    ) as image:
                        _log.info("%s is exported to %s", content.title, user.name)
                        return await self._answer(request, wanted, content, image, lent, user)
            except TemporaryError as err:
                raise ServiceUnavailable(err.message, retry_after_seconds=5) from err

    def _lend(self, request: web.BaseRequest, lent: Lent) -> web.StreamResponse:
        if impersonation.asked(request.headers):
            raise BadRequest("An address ends with its maker's token: ask for it as yourself.")
        if not self.lending.base:
            raise NotImplementedYet("There are no addresses here: this hyperd listens on its socket alone.")
        url = self.lending.lend(lent)
        return web.json_response(
            {"kind": "ExportAddress", "apiVersion": "v1", "url": url, "seconds": LENT_SECONDS}
        )

    async def _answer(
        self, request: web.BaseRequest, wanted: Wanted, content: Content, image: Image, lent: Lent, user: User
    ) -> web.StreamResponse:
        if wanted.checksum:
            return await self._send_checksum(request, image, _file_name(content, wanted), user)
        response = web.StreamResponse(headers=self._headers(wanted, content, image))
        try:
            part = ranges.asked(request.headers, size=image.size, etag=response.headers["ETag"])
        except RangeNotSatisfiable as err:
            refusal = web.json_response(err.status(), status=err.code)
            refusal.headers.update({"Content-Range": f"bytes */{image.size}", "ETag": response.headers["ETag"]})
            return refusal
        if part is None:
            part = range(image.size)
        else:
            response.set_status(206)
            response.headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{image.size}"
        response.content_length = len(part)
        if request.method == "HEAD":
            await response.prepare(request)
            return response
        async with aclosing(_ahead(image.pieces(part.start, part.stop))) as pieces:
            await self._send(request, response, pieces, content, image if len(part) == image.size else None)
        lent.read = lent.read or part.stop == image.size
        lent.used = clock.elapsed()
        return response

    def _headers(self, wanted: Wanted, content: Content, image: Image) -> dict[str, str]:
        headers = {
            "Content-Type": _TYPES[wanted.format],
            "Content-Disposition": f'attachment; filename="{_file_name(content, wanted)}"',
            "Accept-Ranges": "bytes",
            "Cache-Control": "private",
            "ETag": f'"{image.tag}"',
        }
        if known := self._checksums.get(image.tag):
            headers["Repr-Digest"] = f"sha-256=:{base64.b64encode(bytes.fromhex(known)).decode()}:"
        return headers

    async def _send(
        self,
        request: web.BaseRequest,
        response: web.StreamResponse,
        pieces: AsyncGenerator[Piece, None],
        content: Content,
        whole: Image | None,
    ) -> None:
        """What cannot be read is told before an answer begins; later it is cut, and who goes on is told."""
        sha256 = hashlib.sha256()
        sending = Sending(request, response)
        await _write(sending, await anext(pieces, b""), sha256 if whole else None)
        try:
            async for piece in pieces:
                await _write(sending, piece, sha256 if whole else None)
        except HyperdError as err:
            _log.warning("The export of %s is cut: %s", content.title, err.message)
            abort(request)
            raise ConnectionAbortedError("what is exported cannot be read") from err
        await sending.end()
        if whole is not None:
            self._remember(whole.tag, sha256.hexdigest())

    async def _send_checksum(
        self, request: web.BaseRequest, image: Image, name: str, user: User
    ) -> web.StreamResponse:
        """As ``sha256sum`` writes it, after lines that only say how far it is."""
        headers = {"Content-Type": "text/plain; charset=utf-8", "ETag": f'"{image.tag}"'}
        response = web.StreamResponse(headers=headers)
        if request.method == "HEAD":
            await response.prepare(request)
            return response
        sending = Sending(request, response)
        known = self._checksums.get(image.tag) or await self._computed(sending, image, user)
        await sending.write(f"{known}  {name}\n".encode())
        await sending.end()
        return response

    async def _computed(self, sending: Sending, image: Image, user: User) -> str:
        done = [0]
        summing = asyncio.ensure_future(self._summed(image, user, done))
        try:
            while not (await asyncio.wait({summing}, timeout=_TOLD_SECONDS))[0]:
                # Until there is something to tell, what cannot be read is told as such.
                await sending.write(f"# {100 * done[0] // image.size} %\n".encode())
            return summing.result()
        except HyperdError as err:
            if sending.begun:
                # What follows is a cut, which says nothing itself.
                await sending.write(f"# {err.message}\n".encode())
            raise
        finally:
            summing.cancel()
            await asyncio.wait({summing})
            hear(summing)

    async def _summed(self, image: Image, user: User, done: list[int]) -> str:
        """One at a time for each user, and for each content; ``done`` is how many bytes have been read."""
        with await self._summing.acquire(user.name):
            lock = self._by_tag.setdefault(image.tag, asyncio.Lock())
            async with lock:
                if known := self._checksums.get(image.tag):
                    return known
                sha256 = hashlib.sha256()
                async with aclosing(_ahead(image.pieces(0, image.size))) as pieces:
                    async for piece in pieces:
                        await asyncio.to_thread(sha256.update, piece)
                        done[0] += len(piece)
                self._remember(image.tag, sha256.hexdigest())
                return sha256.hexdigest()

    def _remember(self, tag: str, digest: str) -> None:
        self._checksums[tag] = digest
        self._checksums.move_to_end(tag)
        while len(self._checksums) > _REMEMBERED:
            self._checksums.popitem(last=False)


async def _write(sending: Sending, piece: Piece, sha256: hashlib._Hash | None) -> None:
    hashing = None if sha256 is None else asyncio.ensure_future(asyncio.to_thread(sha256.update, piece))
    try:
        await sending.write(piece)
    finally:
        if hashing is not None:
            await asyncio.wait({hashing})


async def _ahead(pieces: AsyncGenerator[Piece, None]) -> AsyncGenerator[Piece, None]:
    """The same, with the next one on its way while one is sent."""
    coming = asyncio.ensure_future(_next(pieces))
    try:
        while (piece := await coming) is not None:
            coming = asyncio.ensure_future(_next(pieces))
            yield piece
    finally:
        coming.cancel()
        await asyncio.wait({coming})
        hear(coming)
        await pieces.aclose()


async def _next(pieces: AsyncGenerator[Piece, None]) -> Piece | None:
    return await anext(pieces, None)


def _file_name(content: Content, wanted: Wanted) -> str:
    if wanted.format is DiskFormat.QCOW2:
        return f"{content.name}.qcow2"
    return f"{content.name}.{'iso' if content.iso else 'img'}"
