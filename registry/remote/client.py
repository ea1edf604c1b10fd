"""Reads one repository of a registry that nobody vouches for: manifests and blobs, with a token where it asks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import aiohttp
from yarl import URL

from hyperd.errors import HyperdError, PermanentError, TemporaryError
from hyperd.imagefile.detect import FAILED
from hyperd.registryauth import Challenge, challenges, may_see_credentials, token_of
from hyperd.settings import Settings
from registry.answers import retry_after
from registry.fetch import reason, worth_another_try
from registry.pace import Pace
from registry.remote.reference import ImageReference
from registry.remote.secret import PULL_FAILED, Credentials, PullSecret
from registry.urls import Target, parse
from registry.visit import Visitor, told

MANIFEST_BYTES: Final = 4 << 20
"""As registries themselves have it."""
_TOKEN_BYTES = 256 << 10
_HTTPS = 443


class RemoteRegistry:
    """The repository of ``image``.

    Raises TemporaryError (``PULL_FAILED``) for what the registry refuses: images are pushed and secrets mended.
    PermanentError for an answer that no honest registry gives.
    """

    def __init__(self, image: ImageReference, secret: PullSecret, visitor: Visitor, settings: Settings) -> None:
        self.image = image
        self._secret = secret
        self._visitor = visitor
        self._limits = settings.imports
        self._authorization = ""

    async def document(self, path: str, *, accept: str) -> tuple[bytes, str]:
        """A small document and its media type."""
        async with self.opened(path, {"Accept": accept}) as (host, response):
            return await self._body(host, response, MANIFEST_BYTES), response.content_type

    @asynccontextmanager
    async def opened(
        self, path: str, headers: Mapping[str, str] = {}
    ) -> AsyncIterator[tuple[str, aiohttp.ClientResponse]]:
        """What is at ``path`` of the repository, and the host that sends it in the end: status 200 or 206."""
        async with AsyncExitStack() as stack:
            host, response = await self._get(stack, path, headers)
            if response.status not in (200, 206):
                raise self._refusal(host, response)
            yield host, response

    async def _get(
        self, stack: AsyncExitStack, path: str, headers: Mapping[str, str]
    ) -> tuple[str, aiohttp.ClientResponse]:
        """The answer, with another token if the registry does not take the one from before."""
        base = self.image.target(path)
        async with AsyncExitStack() as hop:
            target, response = await self._visitor.get(hop, Target(base.url, self._authorization), headers)
            # A server that the registry redirects to is asked without credentials, and gets none.
            if response.status != 401 or target.url.origin() != base.url.origin():
                await stack.enter_async_context(hop.pop_all())
                return target.host, response
            offered = challenges(response.headers.getall("WWW-Authenticate", []))
        self._authorization = await self._authorize(offered)
        target, response = await self._visitor.get(stack, Target(base.url, self._authorization), headers)
        return target.host, response

    async def _authorize(self, offered: list[Challenge]) -> str:
        """The value of the header that the registry asks for."""
        schemes = {challenge.scheme: challenge for challenge in reversed(offered)}
        credentials = self._secret.of(self.image.registry, self.image.repository)
        if "bearer" in schemes:
            return f"Bearer {await self._token(schemes['bearer'], credentials)}"
        if "basic" in schemes:
            if credentials is None:
                raise self._not_let_in()
            return credentials.basic
        raise TemporaryError(
            f"The registry {self.image.registry} asks for credentials in a way that is not known here; tokens "
            "and passwords are.",
            key=PULL_FAILED,
        )

    async def _token(self, challenge: Challenge, credentials: Credentials | None) -> str:
        realm = self._realm(challenge.parameters.get("realm", ""))
        own = self._secret.of(realm.host if realm.port == _HTTPS else f"{realm.host}:{realm.port}")
        if credentials is not None and not may_see_credentials(realm.host, self._registry_host):
            if own is None:
                raise PermanentError(
                    f"The registry {self.image.registry} wants its credentials to be shown to {realm.host}, which "
                    "is another host; they stay here. If that is its token server, give the Secret an entry for "
                    f"{realm.host} too.",
                    key=FAILED,
                )
            credentials = own
        query = {"scope": f"repository:{self.image.repository}:pull"}
        if service := challenge.parameters.get("service"):
            query["service"] = service
        async with AsyncExitStack() as stack:
            host, response = await self._ask_for_token(stack, realm, query, credentials)
            if response.status in (400, 401, 403):
                raise self._not_let_in()
            if response.status != 200:
                raise self._refusal(host, response)
            return token_of(await self._body(host, response, _TOKEN_BYTES), host, key=FAILED)

    async def _ask_for_token(
        self, stack: AsyncExitStack, realm: Target, query: dict[str, str], credentials: Credentials | None
    ) -> tuple[str, aiohttp.ClientResponse]:
        """An identity token is shown as OAuth2's refresh token, in a form; a password in a header."""
        headers = {"Accept": "application/json"}
        if credentials is not None and credentials.identity:
            grant = {"grant_type": "refresh_token", "refresh_token": credentials.identity, "client_id": "hyperd"}
            return realm.host, await self._visitor.post(stack, realm, {**query, **grant}, headers)
        asked = Target(realm.url.update_query(query), "" if credentials is None else credentials.basic)
        target, response = await self._visitor.get(stack, asked, headers)
        return target.host, response

    def _realm(self, text: str) -> Target:
        """The token server's address; its own credentials, if it has any, are dropped."""
        try:
            realm = parse(text)
        except HyperdError:
            realm = None
        if realm is None or realm.url.scheme != "https":
            raise PermanentError(
                f"The registry {self.image.registry} names no token server that is reached over https.", key=FAILED
            )
        return Target(URL(str(realm.url), encoded=True))

    @property
    def _registry_host(self) -> str:
        return self.image.target("").host

    async def _body(self, host: str, response: aiohttp.ClientResponse, most: int) -> bytes:
        pace = Pace(host, seconds=self._limits.read_timeout_seconds, speed=self._limits.slowest_bytes_per_second)
        pieces, held = [], 0
        with told(host):
            while piece := await pace.read(response.content):
                pieces.append(piece)
                held += len(piece)
                if held > most:
                    raise PermanentError(f"{host} answers with more than {most} bytes of metadata.", key=FAILED)
        return b"".join(pieces)

    def _not_let_in(self) -> TemporaryError:
        registry = self.image.registry
        if self._secret.of(registry, self.image.repository) is not None:
            sentence = f"The registry {registry} refuses the credentials of the Secret in imagePullSecret."
        elif self._secret.given:
            sentence = f"The registry {registry} asks for credentials, and the Secret has none for it."
        else:
            sentence = f"The registry {registry} asks for credentials; name a Secret with them as imagePullSecret."
        return TemporaryError(sentence, key=PULL_FAILED)

    def _refusal(self, host: str, response: aiohttp.ClientResponse) -> HyperdError:
        status = response.status
        if status in (401, 403) and host == self._registry_host:
            return self._not_let_in()
        if status == 404:
            return TemporaryError(f"{self.image} is not in its registry.", key=PULL_FAILED)
        delay = retry_after(response.headers) if worth_another_try(status) else None
        return TemporaryError(f"{host} answers {status} {reason(response)}.", key=PULL_FAILED, delay=delay)
