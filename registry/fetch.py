"""An HTTP source of an image: opened under the guard, read in blocks, its failures told apart.

What cannot get better by waiting (a 404, a forbidden address) is a PermanentError; what can (a refused connection,
a 503, a body that ends early, a server that is too slow) is a TemporaryError.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass

import aiohttp

from hyperd.errors import HyperdError, PermanentError, TemporaryError
from hyperd.imagefile.detect import FAILED
from hyperd.settings import ImportSettings, Settings
from registry.addresses import AddressGuard
from registry.answers import quotable, reading, retry_after
from registry.pace import Pace, paced_blocks
from registry.urls import Target, parse, shown
from registry.wire import connector

_MAX_REDIRECTS = 50
"""As curl has it; a server and its mirrors seldom need more than three."""
_REDIRECTS = (301, 302, 303, 307, 308)
_WORTH_ANOTHER_TRY = (408, 425, 429)
_HEADERS = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "hyperd"}
_LONGEST_REASON = 80
_PAGES = ("text/html", "application/xhtml+xml")
_CERTIFICATE = re.compile(
    rb"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----.+?-----END (?:X509 |TRUSTED )?CERTIFICATE-----", re.DOTALL
)


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

    ``received`` is told of every read. All that comes before the content has one time limit.
    """
    limits = settings.imports
    first = parse(url)
    seconds = limits.connect_timeout_seconds + limits.read_timeout_seconds
    async with AsyncExitStack() as stack:
        try:
            async with asyncio.timeout(seconds):
                tls = await asyncio.to_thread(_tls, ca_bundle)
                target, response = await _follow(stack, first, tls=tls, settings=settings)
        except TimeoutError as err:
            raise TemporaryError(
                f"{first.host} does not answer: no content within {seconds:g} seconds.", key=FAILED
            ) from err
        pace = Pace(target.host, seconds=limits.read_timeout_seconds, speed=limits.slowest_bytes_per_second)
        # Around the reading alone: what fails in the hands of who reads is not the source's fault.
        blocks = reading(paced_blocks(response.content, pace, received=received), _told(target.host))
        yield _accept(response, blocks)


async def _follow(
    stack: AsyncExitStack, first: Target, *, tls: ssl.SSLContext, settings: Settings
) -> tuple[Target, aiohttp.ClientResponse]:
    """The answer at the end of all redirects, open until ``stack`` is closed."""
    limits = settings.imports
    guard = AddressGuard(limits.allowed, settings.network.virtual_machine_cidrs)
    target = first
    for _ in range(_MAX_REDIRECTS + 1):
        hop = await stack.enter_async_context(AsyncExitStack())
        response = await hop.enter_async_context(_get(target, guard=guard, tls=tls, limits=limits))
        if response.status not in _REDIRECTS:
            return target, response
        target = target.redirected(response.headers.get("Location", ""), first)
        await hop.aclose()
    raise PermanentError(f"{shown(str(first.url))} redirects more than {_MAX_REDIRECTS} times.", key=FAILED)


@asynccontextmanager
async def _get(
    target: Target, *, guard: AddressGuard, tls: ssl.SSLContext, limits: ImportSettings
) -> AsyncIterator[aiohttp.ClientResponse]:
    addresses = await guard.resolve(target.host, target.port)
    headers = {**_HEADERS, **({"Authorization": target.authorization} if target.authorization else {})}
    async with aiohttp.ClientSession(
        connector=connector(addresses, tls, limits),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=limits.connect_timeout_seconds),
        auto_decompress=False,
        read_bufsize=1 << 20,
        headers=headers,
        cookie_jar=aiohttp.DummyCookieJar(),
    ) as session:
        with _told(target.host):
            response = await session.get(target.url, allow_redirects=False)
        async with response:
            yield response


@contextmanager
def _told(host: str) -> Iterator[None]:
    """What the network and the HTTP library raise, as our errors."""
    try:
        yield
    except HyperdError:
        raise
    except aiohttp.ClientSSLError as err:
        raise TemporaryError(
            f"{host} has no certificate that is trusted; give its authority as caBundle ({err}).", key=FAILED
        ) from err
    except aiohttp.ClientPayloadError as err:
        raise TemporaryError(f"{host} ended the transfer before all bytes came.", key=FAILED) from err
    except aiohttp.ClientResponseError as err:
        # The parser's sentence quotes the bytes that came, which help nobody.
        raise TemporaryError(f"{host} answers with what is not HTTP.", key=FAILED) from err
    except (aiohttp.ClientError, ConnectionError) as err:
        raise TemporaryError(f"{host} does not answer ({str(err) or type(err).__name__}).", key=FAILED) from err


def _accept(response: aiohttp.ClientResponse, blocks: AsyncIterator[bytes]) -> Source:
    status, name = response.status, shown(str(response.url))
    if status in _WORTH_ANOTHER_TRY or status >= 500:
        raise TemporaryError(
            f"{name} answers {status} {_reason(response)}.", key=FAILED, delay=retry_after(response.headers)
        )
    if status != 200:
        raise PermanentError(f"{name} answers {status} {_reason(response)}; check the URL.", key=FAILED)
    if response.content_length == 0:
        raise PermanentError(f"{name} is an empty file, not a disk image.", key=FAILED)
    coding = response.headers.get("Content-Encoding", "").strip().lower()
    return Source(
        response.content_length,
        blocks,
        coding="" if coding == "identity" else coding,
        page=response.content_type in _PAGES,
    )


def _reason(response: aiohttp.ClientResponse) -> str:
    return quotable(response.reason or "", _LONGEST_REASON)


def _tls(ca_bundle: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_bundle:
        try:
            decoded = base64.b64decode("".join(ca_bundle.split()), validate=True)
            # Around the certificates people write comments, in whatever encoding.
            found = _CERTIFICATE.findall(decoded)
            context.load_verify_locations(cadata=b"\n".join(found or [decoded]).decode("ascii"))
        except (binascii.Error, UnicodeDecodeError, ssl.SSLError) as err:
            raise PermanentError(f"caBundle is not PEM certificates in base64: {err}.", key=FAILED) from err
    return context
