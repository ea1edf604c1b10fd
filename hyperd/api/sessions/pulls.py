"""Reading the embedded registry from outside: tokens for who may export an image, and what is read with them.

A token is given to who may have the content anyway, for one repository and for reading alone. What is shown is
judged here, before it costs anything and whatever serves the registry's socket, and by the registry once more.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final

import aiohttp
from aiohttp import web
from yarl import URL

from hyperd import clock
from hyperd.api.access.authorization import Attributes, Decider
from hyperd.api.access.rules import MASTERS
from hyperd.api.limits.fairness import is_root
from hyperd.api.sessions.exports import SUBRESOURCE
from hyperd.api.sessions.lending import Lending
from hyperd.api.sessions.sending import Sending, abort
from hyperd.api.wire.subresources import GROUP
from hyperd.errors import BadRequest, Forbidden, NotFound, ServiceUnavailable
from hyperd.jsontypes import JsonObject
from hyperd.resources.all import CLUSTER_VIRTUAL_IMAGE, VIRTUAL_IMAGE
from hyperd.resources.schema.kind import Kind
from hyperd.shares import Shares
from hyperd.store.interface import Store, User
from registry.models import RegistryEndpoint
from registry.naming import REPOSITORY, owner_of
from registry.tokens import PULL, TOKEN_PATH, Tokens, pulls

PATH: Final = "/v2/"
SECONDS: Final = 300
"""How long a token is good: so long it outlives the loss of the right."""
_KINDS: Final = (VIRTUAL_IMAGE, CLUSTER_VIRTUAL_IMAGE)
_LONGEST: Final = 255
_DIGEST: Final = r"sha256:[0-9a-f]{64}"
_ASKED: Final = re.compile(
    rf"/v2/([a-z0-9._/-]{{1,{_LONGEST}}})/(?:(manifests)/(?:\w[\w.-]{{0,127}}|{_DIGEST})|(blobs)/{_DIGEST}|tags/list)",
    re.ASCII,
)
_ASKED_HEADERS: Final = ("Accept", "Authorization", "If-None-Match", "If-Range", "Range")
_ANSWERED_HEADERS: Final = ("Accept-Ranges", "Content-Range", "Content-Type", "Docker-Content-Digest", "ETag")
_AT_ONCE: Final = 8
_WAIT_SECONDS: Final = 20.0
_SILENT_SECONDS: Final = 60.0
_PIECE_BYTES: Final = 1 << 20


@dataclass(frozen=True)
class Asked:
    """What a request is for; ``repository`` is empty for the question whether there is a registry."""

    repository: str = ""
    blob: bool = False

    @classmethod
    def of(cls, path: str) -> Asked:
        """Raises NotFound for all that is not read in one repository."""
        if path == PATH:
            return cls()
        match = _ASKED.fullmatch(path)
        if match is None or not REPOSITORY.fullmatch(match[1]):
            raise NotFound("There are manifests, blobs and tags of single repositories here, and nothing else.")
        return cls(match[1], bool(match[3]))


@dataclass(frozen=True)
class Reader:
    """Who shows a token: ``name``, for whom it was made, and ``login``, who had it made and whose shares it takes.

    Of that one's groups there is only the one that has a reserve.
    """

    name: str
    login: User


class Pulls:
    """Tokens, and what is read. ``endpoint`` is that of an embedded registry."""

    def __init__(self, store: Store, endpoint: RegistryEndpoint, tokens: Tokens, lending: Lending) -> None:
        """``lending`` knows the URL that leads here from outside."""
        self._store = store
        self._endpoint = endpoint
        self._tokens = tokens
        self._places: Shares[str] = Shares(
            "pulls", _AT_ONCE, headroom=2, reserve=1, most=_AT_ONCE - 2, waiting=16, retry_after_seconds=10
        )
        self._lending = lending

    async def token(
        self, authorizer: Decider, user: User, login: User, service: str, scopes: Sequence[str]
    ) -> JsonObject:
        """What the protocol answers to ``login``, which asks as ``user``.

        Raises BadRequest, and Forbidden in the same words for what is not there.
        """
        if service != self._tokens.service:
            raise BadRequest(f"This is the token server of {self._tokens.service} alone.")
        if len(scopes) > 1:
            raise BadRequest("A token is for one repository: ask for one scope.")
        access = [pulls(await self._allowed(authorizer, user, scope)) for scope in scopes]
        beside: JsonObject = {"login": login.name, "uid": login.uid, "root": is_root(login)}
        token = await self._tokens.token(user.name, access, seconds=SECONDS, beside=beside)
        issued = clock.now().isoformat(timespec="seconds").replace("+00:00", "Z")
        return {"token": token, "access_token": token, "expires_in": SECONDS, "issued_at": issued}

    async def _allowed(self, authorizer: Decider, user: User, scope: str) -> str:
        type_, _, rest = scope.partition(":")
        repository, _, actions = rest.rpartition(":")
        if type_ != "repository" or len(repository) > _LONGEST or not REPOSITORY.fullmatch(repository):
            raise Forbidden("Tokens are given for repository:NAME:pull alone.")
        refusal = Forbidden(
            f'"{user.name}" may not {actions[:40] or "do anything"} in {repository}: to pull needs the right to '
            "export the image that it is of, and nothing else can be done from outside."
        )
        attributes = attributes_of(repository)
        if PULL not in actions.split(",") or attributes is None:
            raise refusal
        if not await authorizer.allows(user, attributes):
            raise refusal
        try:
            await self._store.get(_kind(attributes), attributes.namespace, attributes.name)
        except NotFound:
            raise refusal from None
        return repository

    async def reader(self, token: str, asked: Asked) -> Reader | None:
        """Who shows ``token``; None where it is not good for what is asked. Raises ServiceUnavailable."""
        shown = await self._tokens.shown(token)
        if shown is None or not (asked.repository == "" or shown.lets(pulls(asked.repository))):
            return None
        match shown.beside:
            case {"login": str(name), "uid": str(uid), "root": bool(root)}:
                return Reader(shown.subject, User(name, (MASTERS,) if root else (), uid=uid))
        return None

    def challenge(self, repository: str) -> str:
        """The header that leads a client to the tokens."""
        scope = f',scope="repository:{repository}:pull"' if repository else ""
        return f'Bearer realm="{self._lending.base}{TOKEN_PATH}",service="{self._tokens.service}"{scope}'

    async def hand_on(self, request: web.BaseRequest, path: str, user: User) -> web.StreamResponse:
        """What the registry has at ``path``, in a place of ``user``.

        Raises ServiceUnavailable where there is no registry, or it takes no token.
        """
        if request.method == "HEAD":
            async with self._asked(request, path) as answer:
                response = _begun(answer)
                await response.prepare(request)
                return response
        # Before the registry is asked: who waits holds no connection to it.
        place = await self._places.acquire(
            user.name, timeout=_WAIT_SECONDS, privileged=is_root(user), lose=lambda: abort(request)
        )
        with place:
            async with self._asked(request, path) as answer:
                sending = Sending(request, response := _begun(answer))
                async for piece in _pieces(request, answer):
                    await sending.write(piece)
                if not sending.begun:
                    await response.prepare(request)
                await sending.end()
                return response

    @asynccontextmanager
    async def _asked(self, request: web.BaseRequest, path: str) -> AsyncIterator[aiohttp.ClientResponse]:
        headers = {name: request.headers[name] for name in _ASKED_HEADERS if name in request.headers}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_SILENT_SECONDS, sock_read=_SILENT_SECONDS)
        connector = aiohttp.UnixConnector(path=str(self._endpoint.socket), force_close=True)
        session = aiohttp.ClientSession(
            connector=connector, timeout=timeout, auto_decompress=False, read_bufsize=_PIECE_BYTES
        )
        async with session:
            with _translated():
                url = URL(f"{self._endpoint.url}{path}", encoded=True)
                answer = await session.request(request.method, url, headers=headers, allow_redirects=False)
            async with answer:
                if answer.status in (401, 403):
                    self._tokens.doubt()
                    raise ServiceUnavailable("The registry takes no tokens yet.", retry_after_seconds=5)
                yield answer


def _begun(answer: aiohttp.ClientResponse) -> web.StreamResponse:
    """What ``answer`` says of what follows."""
    headers = {name: answer.headers[name] for name in _ANSWERED_HEADERS if name in answer.headers}
    response = web.StreamResponse(status=answer.status, headers=headers)
    response.content_length = answer.content_length
    return response


async def _pieces(request: web.BaseRequest, answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """What is cut cannot be told any more."""
    try:
        while piece := await answer.content.readany():
            yield piece
    except (aiohttp.ClientError, TimeoutError) as err:
        abort(request)
        raise ConnectionAbortedError("the registry has not sent all") from err


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (aiohttp.ClientError, TimeoutError) as err:
        raise ServiceUnavailable("The registry does not answer.", retry_after_seconds=5) from err


def _kind(attributes: Attributes) -> Kind:
    return next(kind for kind in _KINDS if kind.plural == attributes.resource)


def attributes_of(repository: str) -> Attributes | None:
    """What is asked for where ``repository`` is read; None for one that is not an image's."""
    for kind in _KINDS:
        if found := owner_of(kind, repository):
            return Attributes("get", GROUP, kind.plural, SUBRESOURCE, *found)
    return None
