"""Reads HTTP answers with limits, and turns what a registry or the network refuses into our errors."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from email.utils import parsedate_to_datetime

import aiohttp

from hyperd import clock
from hyperd.errors import HyperdError, InternalError, NotFound, PermanentError, ServiceUnavailable, TemporaryError
from hyperd.imagefile.detect import FAILED

BLOCK_BYTES = 2 << 20
MAX_DOCUMENT_BYTES = 4 << 20
LONGEST_DELAY_SECONDS = 3600.0
_NO_SPACE = (b'"Err":28', b"no space left on device", b"disk quota exceeded")


async def blocks_of(read: Callable[[], Awaitable[bytes]], size: int = BLOCK_BYTES) -> AsyncIterator[bytes]:
    """What ``read`` gives until that is empty, in blocks of at least ``size`` bytes, the last one shorter.

    A block has at most one read more.
    """
    pieces: list[bytes] = []
    held = 0
    while piece := await read():
        pieces.append(piece)
        held += len(piece)
        if held >= size:
            yield b"".join(pieces)
            pieces, held = [], 0
    if held:
        yield b"".join(pieces)


async def reading(blocks: AsyncIterator[bytes], translation: AbstractContextManager[None]) -> AsyncIterator[bytes]:
    """``blocks``; ``translation`` is of what reading them raises, and not of what fails in the reader's hands."""
    with translation:
        async for block in blocks:
            yield block


def retry_after(headers: Mapping[str, str]) -> float | None:
    """How many seconds an answer asks to wait, at most an hour; None if it does not say.

    A date is told by the server's own clock, where it says what that shows.
    """
    said = headers.get("Retry-After", "").strip()
    if said.isascii() and said.isdigit():
        return min(float(said[:9]), LONGEST_DELAY_SECONDS)
    try:
        now = parsedate_to_datetime(headers["Date"]) if "Date" in headers else clock.now()
        until = parsedate_to_datetime(said)
        return min(max((until - now).total_seconds(), 0.0), LONGEST_DELAY_SECONDS)
    except (ValueError, TypeError, OverflowError):
        return None


def quotable(text: str, longest: int) -> str:
    """What a server said, as it may stand in a message: messages end in statuses, logs and terminals."""
    return "".join(char for char in text[:longest] if char.isprintable())


async def read_document(response: aiohttp.ClientResponse, registry: str) -> bytes:
    """A small body; PermanentError when it is not small, ServiceUnavailable when ``registry`` breaks it off."""
    with translated(registry):
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
        delay = retry_after(response.headers)
        return ServiceUnavailable(
            f"The registry {registry} answers {status}; it is busy or broken.",
            retry_after_seconds=None if delay is None else math.ceil(delay),
        )
    return InternalError(f"The registry {registry} refused {response.method} {response.url.path}: {status}.")
