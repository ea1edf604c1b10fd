"""An HTTP source of an image: opened under the guard, read in blocks, its failures told apart.

What cannot get better by waiting (a 404, a web page, a forbidden address) is a PermanentError; what can
(a refused connection, a 503, a body that ends early) is a TemporaryError.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
from yarl import URL

from hyperd.errors import HyperdError, PermanentError, TemporaryError
from hyperd.imagefile.detect import FAILED
from hyperd.settings import Settings
from registry.addresses import AddressGuard, Pinned
from registry.answers import blocks_of

_MAX_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_WORTH_ANOTHER_TRY = (408, 425, 429)
_HEADERS = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "hyperd"}
_LONGEST_DELAY_SECONDS = 3600.0
_LONGEST_REASON = 80
_SLOWEST_BYTES = 64 << 10
"""What must come in each read timeout. A source that trickles would keep others' images out of its slot."""


@dataclass(frozen=True)
class Source:
    """An open source. ``length`` is None when it does not say; ``blocks`` are its bytes, each of about 2 MiB."""

    length: int | None
    blocks: AsyncIterator[bytes]


@asynccontextmanager
async def open_source(url: str, *, ca_bundle: str, settings: Settings) -> AsyncIterator[Source]:
    """GET ``url``, following redirects, each of which is judged like the first address."""
    guard = AddressGuard(settings.imports.allowed)
    tls = await asyncio.to_thread(_tls, ca_bundle)
    target = _parse(url)
    for _ in range(_MAX_REDIRECTS + 1):
        async with _get(target, guard=guard, tls=tls, settings=settings) as response:
            if response.status not in _REDIRECTS:
                yield _accept(response, _Pace(target.host or "", settings.imports.read_timeout_seconds))
                return
            target = _redirected(target, response.headers.get("Location", ""))
    raise PermanentError(f"{_shown(url)} redirects more than {_MAX_REDIRECTS} times.", key=FAILED)


@asynccontextmanager
async def _get(
    url: URL, *, guard: AddressGuard, tls: ssl.SSLContext, settings: Settings
) -> AsyncIterator[aiohttp.ClientResponse]:
    limits = settings.imports
    addresses = await guard.resolve(url.host or "", url.port or 0)
    timeout = aiohttp.ClientTimeout(
        total=None, sock_connect=limits.connect_timeout_seconds, sock_read=limits.read_timeout_seconds
    )
    connector = aiohttp.TCPConnector(resolver=Pinned(addresses), ssl=tls, use_dns_cache=False)
    async with aiohttp.ClientSession(
        connector=connector,
        timeout=timeout,
        auto_decompress=False,
        read_bufsize=1 << 20,
        headers=_HEADERS,
        cookie_jar=aiohttp.DummyCookieJar(),
    ) as session:
        try:
            async with session.get(url, allow_redirects=False) as response:
                yield response
        except HyperdError:
            raise
        except aiohttp.ClientSSLError as err:
            raise TemporaryError(
                f"{url.host} has no certificate that is trusted; give its authority as caBundle ({err}).",
                key=FAILED,
            ) from err
        except aiohttp.ClientPayloadError as err:
            raise TemporaryError(f"{url.host} ended the transfer before all bytes came.", key=FAILED) from err
        except aiohttp.ClientResponseError as err:
            # The parser's sentence quotes the bytes that came, which help nobody.
            raise TemporaryError(f"{url.host} answers with what is not HTTP.", key=FAILED) from err
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as err:
            raise TemporaryError(
                f"{url.host} does not answer ({str(err) or type(err).__name__}).", key=FAILED
            ) from err


class _Pace:
    """Called with the bytes of each read; raises TemporaryError when too few come."""

    def __init__(self, host: str, seconds: float) -> None:
        """``seconds`` is how long ``_SLOWEST_BYTES`` may take."""
        self._host, self._seconds = host, seconds
        self._since, self._bytes = time.monotonic(), 0

    def __call__(self, count: int) -> None:
        self._bytes += count
        now = time.monotonic()
        if self._bytes >= _SLOWEST_BYTES:
            self._since, self._bytes = now, 0
        elif now - self._since > self._seconds:
            raise TemporaryError(
                f"{self._host} sends too slowly: {self._bytes} bytes in {self._seconds:g} seconds.", key=FAILED
            )


def _accept(response: aiohttp.ClientResponse, pace: _Pace) -> Source:
    status, shown = response.status, _shown(str(response.url))
    if status in _WORTH_ANOTHER_TRY or status >= 500:
        wait = response.headers.get("Retry-After", "")
        delay = min(float(wait), _LONGEST_DELAY_SECONDS) if wait.isascii() and wait.isdigit() else None
        raise TemporaryError(f"{shown} answers {status} {_reason(response)}.", key=FAILED, delay=delay)
    if status != 200:
        raise PermanentError(f"{shown} answers {status} {_reason(response)}; check the URL.", key=FAILED)
    if response.content_type in ("text/html", "application/xhtml+xml"):
        raise PermanentError(
            f"{shown} is a web page ({response.content_type}), not a disk image; check the URL, "
            "it may ask for a login.",
            key=FAILED,
        )
    if response.content_length == 0:
        raise PermanentError(f"{shown} is an empty file, not a disk image.", key=FAILED)
    return Source(response.content_length, blocks_of(response.content, pace=pace))


def _reason(response: aiohttp.ClientResponse) -> str:
    return (response.reason or "")[:_LONGEST_REASON]


def _parse(url: str) -> URL:
    try:
        parsed = URL(url)
        port = parsed.port
    except ValueError as err:
        raise PermanentError(f"{url[:200]!r} is not a URL: {err}.", key=FAILED) from err
    if parsed.scheme not in ("http", "https") or not parsed.host or not port:
        raise PermanentError(f"Images are fetched over http and https only, not from {_shown(url)}.", key=FAILED)
    return parsed


def _redirected(url: URL, location: str) -> URL:
    if not location:
        raise PermanentError(f"{_shown(str(url))} redirects to nowhere.", key=FAILED)
    try:
        target = _parse(str(url.join(URL(location))))
    except ValueError as err:
        raise PermanentError(f"{_shown(str(url))} redirects to something that is not a URL.", key=FAILED) from err
    if url.scheme == "https" and target.scheme == "http":
        raise PermanentError(
            f"{_shown(str(url))} redirects from https to http, where anyone could change the image.", key=FAILED
        )
    return target


def _shown(url: str) -> str:
    """``url`` for a message: without a password or a token in it, and not endless."""
    try:
        return str(URL(url).with_user(None).with_query(None).with_fragment(None))[:200]
    except ValueError:
        return repr(url[:200])


def _tls(ca_bundle: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_bundle:
        try:
            context.load_verify_locations(cadata=base64.b64decode(ca_bundle, validate=True).decode("ascii"))
        except (binascii.Error, UnicodeDecodeError, ssl.SSLError) as err:
            raise PermanentError(f"caBundle is not PEM certificates in base64: {err}.", key=FAILED) from err
    return context
