"""The embedded registry as others see it: its token server, and reading with tokens, as the distribution has it.

Clients such as skopeo, docker and oras log in with any name and a hyperd token as the password, or with a client
certificate. Refusals have the form that they show.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable
from typing import Final

from aiohttp import web

from hyperd.api.access import impersonation
from hyperd.api.access.authentication import Authenticator, Peer
from hyperd.api.access.authorization import Attributes, Authorizer
from hyperd.api.access.tokens import Tokens, while_valid
from hyperd.api.audit.log import AuditLog
from hyperd.api.endpoints import answers
from hyperd.api.limits.fairness import Fairness, source_key
from hyperd.api.serving import addresses
from hyperd.api.serving.middleware import RequestInfo, record_opening
from hyperd.api.sessions.exports import SUBRESOURCE
from hyperd.api.sessions.pulls import Asked, Pulls, attributes_of
from hyperd.errors import BadRequest, HyperdError, MethodNotAllowed, NotFound, ServiceUnavailable, Unauthorized
from hyperd.store.interface import User
from registry.tokens import TOKEN_PATH

_USER: Final = "system:pull:"
"""What the logs call whoever shows a token; for whom it was made follows."""
_CODES: Final = {400: "UNSUPPORTED", 401: "UNAUTHORIZED", 403: "DENIED", 404: "NAME_UNKNOWN", 405: "UNSUPPORTED",
                 429: "TOOMANYREQUESTS", 503: "UNAVAILABLE"}  # fmt: skip
_VERSION: Final = {"Docker-Distribution-Api-Version": "registry/2.0"}
_BEARER: Final = "bearer "
_ASK_BASIC: Final = 'Basic realm="hyperd"'


class RegistryTokens:
    """Serves ``TOKEN_PATH``."""

    def __init__(
        self,
        pulls: Pulls,
        tokens: Tokens,
        authenticator: Authenticator,
        authorizer: Authorizer,
        fairness: Fairness,
    ) -> None:
        self._pulls = pulls
        self._tokens = tokens
        self._authenticator = authenticator
        self._authorizer = authorizer
        self._fairness = fairness

    async def answer(
        self, request: web.BaseRequest, path: str, request_id: str, seen: RequestInfo, peer: Peer
    ) -> web.StreamResponse:
        """A token, or why not."""
        seen.verb, seen.attributes = "registrytoken", Attributes("get", path=TOKEN_PATH)
        return await _told(self._answer(request, path, seen, peer), request_id, _ASK_BASIC)

    async def _answer(
        self, request: web.BaseRequest, path: str, seen: RequestInfo, peer: Peer
    ) -> web.StreamResponse:
        if path != TOKEN_PATH:
            raise NotFound(f"Tokens are given at {TOKEN_PATH}.")
        if request.method != "GET":
            raise MethodNotAllowed("Tokens are asked for with GET.", allow="GET")
        try:
            login = await self._user(request, peer)
        except Unauthorized:
            await self._fairness.denied(source_key(peer.source))
            raise
        addresses.enter(request, seen, login)
        scopes = [scope for text in request.query.getall("scope", []) for scope in text.split()]
        with await self._fairness.begin(login):
            user = login
            if impersonation.asked(request.headers):
                seen.user = user = await impersonation.impersonated(request, login, self._authorizer)
                seen.by = login
            service = request.query.get("service", "")
            return web.json_response(await self._pulls.token(self._authorizer, user, login, service, scopes))

    async def _user(self, request: web.BaseRequest, peer: Peer) -> User:
        """As everywhere; and a token may come as a password, for these clients know nothing else."""
        shown = request.headers.getall("Authorization", [])
        scheme, _, packed = shown[0].strip().partition(" ") if len(shown) == 1 else ("", "", "")
        if scheme.lower() != "basic":
            return await self._authenticator.user(request, peer)
        try:
            name, _, password = base64.b64decode(packed.strip(), validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            raise Unauthorized("What is sent as name and password is none.") from None
        if not name:
            raise Unauthorized("Log in with any name, and a hyperd token as the password.")
        return await self._tokens.user(password)


class RegistryReading:
    """Serves what is below ``PATH``."""

    def __init__(self, pulls: Pulls, logins: Tokens, fairness: Fairness, audit: AuditLog) -> None:
        self._pulls = pulls
        self._logins = logins
        self._fairness = fairness
        self._audit = audit

    async def answer(
        self, request: web.BaseRequest, path: str, request_id: str, seen: RequestInfo, peer: Peer
    ) -> web.StreamResponse:
        """The registry's, or why not."""
        seen.verb, seen.attributes = "pull", Attributes("get", path="/v2/")
        return await _told(self._answer(request, path, request_id, seen, peer), request_id, "")

    async def _answer(
        self, request: web.BaseRequest, path: str, request_id: str, seen: RequestInfo, peer: Peer
    ) -> web.StreamResponse:
        if request.method not in ("GET", "HEAD"):
            raise MethodNotAllowed("The registry is read here; hyperd alone writes to it.", allow="GET, HEAD")
        asked = Asked.of(path)
        if len(request.headers.getall("Authorization", [])) > 1:
            raise BadRequest("There are several Authorization headers.")
        if not request.headers.get("Authorization", "").lower().startswith(_BEARER):
            return self._challenge(asked)
        if impersonation.asked(request.headers):
            raise BadRequest("A token is read with as whom it was made for: ask for one as somebody else.")
        try:
            reader = await self._pulls.reader(request.headers["Authorization"][len(_BEARER) :].strip(), asked)
        except ServiceUnavailable:
            await self._fairness.denied(source_key(peer.source))
            raise
        if reader is None or not await self._logins.holds(reader.login):
            await self._fairness.denied(source_key(peer.source))
            return self._challenge(asked)
        if (attributes := attributes_of(asked.repository)) is not None:
            seen.resource, seen.attributes = f"{attributes.resource}/{SUBRESOURCE}", attributes
        addresses.enter(request, seen, User(f"{_USER}{reader.name}"), reader.login)
        seen.by = reader.login if reader.login.name != reader.name else None
        if asked.blob:
            record_opening(self._audit, request, request_id, seen)
        with self._fairness.session(reader.login, SUBRESOURCE):
            work = self._pulls.hand_on(request, path, reader.login)
            return await while_valid(self._logins, reader.login, request, work)

    def _challenge(self, asked: Asked) -> web.Response:
        response = _refusal(Unauthorized("A token for this repository is needed, which is got with a login."))
        response.headers["WWW-Authenticate"] = self._pulls.challenge(asked.repository)
        return response


async def _told(answer: Awaitable[web.StreamResponse], request_id: str, challenge: str) -> web.StreamResponse:
    try:
        response = await answer
    except HyperdError as err:
        response = _refusal(err)
        if challenge and isinstance(err, Unauthorized):
            response.headers["WWW-Authenticate"] = challenge
    if not response.prepared:
        response.headers.update({answers.REQUEST_ID: request_id, **_VERSION})
    return response


def _refusal(err: HyperdError) -> web.Response:
    body = {"errors": [{"code": _CODES.get(err.code, "UNKNOWN"), "message": err.message}]}
    response = web.json_response(body, status=err.code)
    if err.retry_after_seconds is not None:
        response.headers["Retry-After"] = str(err.retry_after_seconds)
    return response
