"""An HTTP source of an image: opened under the guard, read in blocks, its failures told apart.

What cannot get better by waiting (a 404, a forbidden address) is a PermanentError; what can (a refused connection,
a 503, a body that ends early, a server that is too slow) is a TemporaryError.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import aiohttp

from hyperd.errors import PermanentError, TemporaryError
from hyperd.imagefile.detect import FAILED
from hyperd.settings import Settings
from registry.answers import quotable, retry_after
from registry.resume import Unbroken, Version
from registry.urls import parse, shown
from registry.visit import Visitor

_WORTH_ANOTHER_TRY = (408, 425, 429)
_LONGEST_REASON = 80
_PAGES = ("text/html", "application/xhtml+xml")


@dataclass(frozen=True)
class Source:
    """An open source. ``length`` is None when it does not say; ``blocks`` are its bytes, each of about 2 MiB.

    ``coding`` is the Content-Encoding that it names though none was asked for; ``page`` says that it calls the
    content a web page, which is no proof.
    """

    length: int | None
    blocks: AsyncIterator[bytes]
    coding: str = ""
    page: bool = False


@asynccontextmanager
async def open_source(
    url: str, *, ca_bundle: str, settings: Settings, received: Callable[[int], None] | None = None
) -> AsyncIterator[Source]:
    """GET ``url``, following redirects, each of which is judged like the first address.

    A connection that breaks is made again. ``received`` is told of every read.
    """
    first = parse(url)
    visitor = await Visitor.trusting(ca_bundle, settings)
    async with AsyncExitStack() as stack:

        async def ask(hop: AsyncExitStack, headers: Mapping[str, str]) -> tuple[str, aiohttp.ClientResponse]:
            target, response = await visitor.get(hop, first, headers)
            return target.host, response

        host, response = await ask(stack, {})
        body = Unbroken(stack, response, host, ask=ask, version=Version.of(response.headers))
        yield _accept(response, body.blocks(settings.imports, received))


def _accept(response: aiohttp.ClientResponse, blocks: AsyncIterator[bytes]) -> Source:
    status, name = response.status, shown(str(response.url))
    if worth_another_try(status):
        raise TemporaryError(
            f"{name} answers {status} {reason(response)}.", key=FAILED, delay=retry_after(response.headers)
        )
    if status != 200:
        raise PermanentError(f"{name} answers {status} {reason(response)}; check the URL.", key=FAILED)
    if response.content_length == 0:
        raise PermanentError(f"{name} is an empty file, not a disk image.", key=FAILED)
    coding = response.headers.get("Content-Encoding", "").strip().lower()
    return Source(
        response.content_length,
        blocks,
        coding="" if coding == "identity" else coding,
        page=response.content_type in _PAGES,
    )


def worth_another_try(status: int) -> bool:
    """Whether what answers so is busy or broken, and may not be later."""
    return status in _WORTH_ANOTHER_TRY or status >= 500


def reason(response: aiohttp.ClientResponse) -> str:
    """The words beside the number, as they may be repeated."""
    return quotable(response.reason or "", _LONGEST_REASON)
