"""The one-time addresses of exports, for whoever knows them: what is read counts for who has made the address."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from hyperd.api.access.authorization import Attributes
from hyperd.api.access.tokens import Tokens, while_valid
from hyperd.api.audit.log import AuditLog
from hyperd.api.endpoints import answers
from hyperd.api.limits.fairness import Fairness, source_key
from hyperd.api.serving import addresses
from hyperd.api.serving.middleware import RequestInfo, record_opening
from hyperd.api.sessions.exports import SUBRESOURCE, Exports
from hyperd.api.sessions.lending import PATH
from hyperd.api.wire.subresources import GROUP
from hyperd.errors import HyperdError, MethodNotAllowed, NotFound
from hyperd.store.interface import User

_USER: Final = "system:export:"
"""What the logs call whoever knows an address, whose maker follows."""


class ExportAddresses:
    """Serves what is below ``PATH``."""

    def __init__(self, exports: Exports, logins: Tokens, fairness: Fairness, audit: AuditLog) -> None:
        self._exports = exports
        self._logins = logins
        self._fairness = fairness
        self._audit = audit

    async def answer(
        self, request: web.BaseRequest, path: str, request_id: str, seen: RequestInfo
    ) -> web.StreamResponse:
        """The content, or why not."""
        seen.verb, seen.attributes = "export", Attributes("get", path=PATH)
        try:
            return await self._answer(request, path, request_id, seen)
        except HyperdError as err:
            if answers.begun(request):
                raise
            return addresses.refusal(err, err.code, request_id)

    async def _answer(
        self, request: web.BaseRequest, path: str, request_id: str, seen: RequestInfo
    ) -> web.StreamResponse:
        if request.method not in ("GET", "HEAD"):
            raise MethodNotAllowed("Read what is here with GET: curl -O -J URL.", allow="GET, HEAD")
        try:
            lent = self._exports.lending.find(path.removeprefix(PATH))
            if not await self._logins.holds(lent.user):
                raise NotFound("The token of who has made this address has ended. Ask for another one.")
        except NotFound:
            await self._fairness.denied(source_key(seen.source))
            raise
        seen.resource = f"{lent.kind.plural}/{SUBRESOURCE}"
        seen.attributes = Attributes("get", GROUP, lent.kind.plural, SUBRESOURCE, lent.namespace, lent.name)
        # Connections are the address's: whoever knows it keeps its maker from none.
        addresses.enter(request, seen, User(f"{_USER}{lent.user.name}"))
        record_opening(self._audit, request, request_id, seen)
        with self._fairness.session(lent.user, SUBRESOURCE):
            work = self._exports.serve_lent(request, lent)
            return await while_valid(self._logins, lent.user, request, work)
