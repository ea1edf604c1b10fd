"""The one-time addresses of uploads, for whoever knows them.

What is sent counts for the namespace that it is for, and so does its connection: nobody's uploads slow others
down, however many objects wait for some.
"""

from __future__ import annotations

from typing import Final

from aiohttp import web

from hyperd.api.access.authorization import Attributes
from hyperd.api.audit.log import AuditLog
from hyperd.api.limits.fairness import Fairness, source_key
from hyperd.api.serving import addresses
from hyperd.api.serving.middleware import RequestInfo, record_opening
from hyperd.api.sessions.uploads import SUBRESOURCE, Uploads, code_of
from hyperd.errors import HyperdError, NotFound
from hyperd.resources.values.names import GROUP
from hyperd.store.interface import User
from registry.intake import PATH, Expected

_USER: Final = "system:upload:"
"""What the logs call whoever knows the address of an object, whose namespace follows."""


class UploadAddresses:
    """Serves what is below ``PATH``."""

    def __init__(self, uploads: Uploads, fairness: Fairness, audit: AuditLog) -> None:
        self._uploads = uploads
        self._fairness = fairness
        self._audit = audit

    async def answer(
        self, request: web.BaseRequest, path: str, request_id: str, seen: RequestInfo
    ) -> web.Response:
        """What came of the request."""
        seen.verb, seen.attributes = "upload", Attributes("create", path=PATH)
        try:
            text = await self._answer(request, await self._find(request, path, seen), request_id, seen)
        except HyperdError as err:
            return addresses.refusal(err, code_of(err), request_id)
        return addresses.told(text, request_id)

    async def _find(self, request: web.BaseRequest, path: str, seen: RequestInfo) -> Expected:
        """Raises NotFound, later each time for who tries many."""
        if request.method not in ("GET", "PUT", "POST"):
            raise NotFound("Send the file with PUT or POST: curl -T FILE URL.")
        try:
            return self._uploads.find(path.removeprefix(PATH))
        except NotFound:
            await self._fairness.denied(source_key(seen.source))
            raise

    async def _answer(
        self, request: web.BaseRequest, expected: Expected, request_id: str, seen: RequestInfo
    ) -> str:
        to = expected.addressee
        seen.resource = f"{to.plural}/{SUBRESOURCE}"
        seen.attributes = Attributes("create", GROUP, to.plural, SUBRESOURCE, to.namespace, to.name)
        sender = User(f"{_USER}{to.namespace}")
        addresses.enter(request, seen, sender)
        if request.method == "GET":
            return f"Send the content of {to} here: curl -T FILE URL."
        record_opening(self._audit, request, request_id, seen)
        with self._fairness.session(sender, SUBRESOURCE):
            return await self._uploads.take(request, expected)
