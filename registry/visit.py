"""One GET to a server that nobody vouches for, under the guard; the network's failures as our errors.

Each redirect is judged like the first address, and carries credentials only within the origin that they are for.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager

import aiohttp

from hyperd.errors import HyperdError, PermanentError, TemporaryError
from hyperd.imagefile.detect import FAILED
from hyperd.settings import Settings
from registry.addresses import AddressGuard
from registry.urls import Target, shown
from registry.wire import connector

REDIRECTS = (301, 302, 303, 307, 308)
_MAX_REDIRECTS = 50
"""As curl has it; a server and its mirrors seldom need more than three."""
_HEADERS = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "hyperd"}
_CERTIFICATE = re.compile(
    rb"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----.+?-----END (?:X509 |TRUSTED )?CERTIFICATE-----", re.DOTALL
)


class Visitor:
    """Makes the requests of one import: under one guard, trusting the same authorities."""

    def __init__(self, settings: Settings, tls: ssl.SSLContext) -> None:
        self._limits = settings.imports
        self._guard = AddressGuard(settings.imports.allowed, settings.network.virtual_machine_cidrs)
        self._tls = tls

    @classmethod
    async def trusting(cls, ca_bundle: str, settings: Settings) -> Visitor:
        """One that trusts the system's authorities and those of ``ca_bundle``; PermanentError if it is none."""
        return cls(settings, await asyncio.to_thread(_tls, ca_bundle))

    async def get(
        self, stack: AsyncExitStack, first: Target, headers: Mapping[str, str] = {}
    ) -> tuple[Target, aiohttp.ClientResponse]:
        """The answer at the end of all redirects, open until ``stack`` is closed.

        All that comes before its content has one time limit.
        """
        seconds = self._limits.connect_timeout_seconds + self._limits.read_timeout_seconds
        try:
            async with asyncio.timeout(seconds):
                return await self._follow(stack, first, headers)
        except TimeoutError as err:
            raise TemporaryError(
                f"{first.host} does not answer: no content within {seconds:g} seconds.", key=FAILED
            ) from err

    async def post(
        self, stack: AsyncExitStack, target: Target, form: Mapping[str, str], headers: Mapping[str, str] = {}
    ) -> aiohttp.ClientResponse:
        """The answer to a form, open until ``stack`` is closed; a redirect is one: the form goes nowhere else."""
        seconds = self._limits.connect_timeout_seconds + self._limits.read_timeout_seconds
        try:
            async with asyncio.timeout(seconds):
                return await stack.enter_async_context(self._open(target, headers, form))
        except TimeoutError as err:
            raise TemporaryError(
                f"{target.host} does not answer a form within {seconds:g} seconds.", key=FAILED
            ) from err

    async def _follow(
        self, stack: AsyncExitStack, first: Target, headers: Mapping[str, str]
    ) -> tuple[Target, aiohttp.ClientResponse]:
        target = first
        for _ in range(_MAX_REDIRECTS + 1):
            hop = await stack.enter_async_context(AsyncExitStack())
            response = await hop.enter_async_context(self._open(target, headers))
            if response.status not in REDIRECTS:
                return target, response
            target = target.redirected(response.headers.get("Location", ""), first)
            await hop.aclose()
        raise PermanentError(f"{shown(str(first.url))} redirects more than {_MAX_REDIRECTS} times.", key=FAILED)

    @asynccontextmanager
    async def _open(
        self, target: Target, headers: Mapping[str, str], form: Mapping[str, str] | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        addresses = await self._guard.resolve(target.host, target.port)
        own = {"Authorization": target.authorization} if target.authorization else {}
        async with aiohttp.ClientSession(
            connector=connector(addresses, self._tls, self._limits),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._limits.connect_timeout_seconds),
            auto_decompress=False,
            read_bufsize=1 << 20,
            headers={**_HEADERS, **headers, **own},
            cookie_jar=aiohttp.DummyCookieJar(),
        ) as session:
            with told(target.host):
                method = "GET" if form is None else "POST"
                response = await session.request(method, target.url, data=form, allow_redirects=False)
            async with response:
                yield response


class Broken(TemporaryError):
    """The connection is gone; what has come so far is what was sent."""

    def __init__(self, message: str) -> None:
        super().__init__(message, key=FAILED)


@contextmanager
def told(host: str) -> Iterator[None]:
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
        raise Broken(f"{host} ended the transfer before all bytes came.") from err
    except aiohttp.ClientResponseError as err:
        # The parser's sentence quotes the bytes that came, which help nobody.
        raise TemporaryError(f"{host} answers with what is not HTTP.", key=FAILED) from err
    except (aiohttp.ClientError, ConnectionError) as err:
        raise Broken(f"{host} does not answer ({str(err) or type(err).__name__}).") from err


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
