"""Reads HTTP answers with limits, and turns what a registry or the network refuses into our errors."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

import aiohttp

from hyperd.errors import HyperdError, InternalError, NotFound, PermanentError, ServiceUnavailable, TemporaryError
from hyperd.imagefile.detect import FAILED

BLOCK_BYTES = 2 << 20
MAX_DOCUMENT_BYTES = 4 << 20
_NO_SPACE = (b'"Err":28', b"no space left on device", b"disk quota exceeded")


async def blocks_of(
    content: aiohttp.StreamReader, size: int = BLOCK_BYTES, *, pace: Callable[[int], None] | None = None
) -> AsyncIterator[bytes]:
    """The body in blocks of at least ``size`` bytes (and at most a read more), the last one shorter.

    ``pace`` is called with the length of each read, and may raise.
    """
    pieces: list[bytes] = []
    held = 0
    while piece := await content.readany():
        pieces.append(piece)
        held += len(piece)
        if pace is not None:
            pace(len(piece))
        if held >= size:
            yield b"".join(pieces)
            pieces, held = [], 0
    if held:
        yield b"".join(pieces)


async def read_document(response: aiohttp.ClientResponse) -> bytes:
    """A small body; PermanentError when it is not small."""
    body = b"".join([block async for block in _up_to(response.content, MAX_DOCUMENT_BYTES + 1)])
    if len(body) > MAX_DOCUMENT_BYTES:
        raise PermanentError(f"The registry answered with more than {MAX_DOCUMENT_BYTES} bytes of metadata.")
    return body


async def _up_to(content: aiohttp.StreamReader, limit: int) -> AsyncIterator[bytes]:
    while limit > 0 and (piece := await content.read(limit)):
        limit -= len(piece)
        yield piece


@contextmanager
def translated(registry: str) -> Iterator[None]:
    """Network errors towards ``registry`` as ServiceUnavailable."""
    try:
        yield
    except aiohttp.ClientSSLError as err:
        raise ServiceUnavailable(f"The registry {registry} has no certificate that is trusted: {err}.") from err
    except (aiohttp.ClientError, TimeoutError, OSError) as err:
        raise ServiceUnavailable(
            f"The registry {registry} does not answer ({str(err) or type(err).__name__})."
        ) from err


def refusal(response: aiohttp.ClientResponse, body: bytes) -> HyperdError:
    """The error for an answer of 400 and more."""
    status, registry = response.status, response.url.host
    if status == 404:
        return NotFound(f"The registry {registry} has no {response.url.path}.")
    if any(sign in body for sign in _NO_SPACE):
        return TemporaryError(
            f"The registry {registry} has no space left; free some or grow its disk.", key=FAILED
        )
    if status in (401, 403):
        return TemporaryError(
            f"The registry {registry} refuses our credentials ({status}); check the settings registry.username "
            "and registry.password_file.",
            key=FAILED,
        )
    if status == 429 or status >= 500:
        wait = response.headers.get("Retry-After", "")
        seconds = min(int(wait), 3600) if wait.isascii() and wait.isdigit() else None
        return ServiceUnavailable(
            f"The registry {registry} answers {status}; it is busy or broken.", retry_after_seconds=seconds
        )
    return InternalError(f"The registry {registry} refused {response.method} {response.url.path}: {status}.")
