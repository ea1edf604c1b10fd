"""``kubectl --as``: somebody who administers asks as somebody else, to see what that one may.

Each name that is taken on is authorised by itself, as kube-apiserver does it; the headers are never ignored, or a
command that was meant to do little would do all.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from urllib.parse import unquote

from aiohttp import web

from hyperd.api.access.authentication import require_text
from hyperd.api.access.authorization import Attributes, Authorizer, require
from hyperd.api.access.rules import AUTHENTICATED
from hyperd.errors import BadRequest
from hyperd.store.interface import User

_USER, _GROUP, _UID = "Impersonate-User", "Impersonate-Group", "Impersonate-Uid"
_EXTRA = "impersonate-extra-"
_ANY = "impersonate-"
_GROUP_OF_API = "authentication.k8s.io"


async def impersonated(request: web.BaseRequest, user: User, authorizer: Authorizer) -> User:
    """Whom ``user`` asks as. Raises Forbidden, BadRequest."""
    headers = request.headers
    name = headers.get(_USER, "")
    if not name:
        raise BadRequest(f"requested impersonation, but {_USER} does not say of whom")
    extra: dict[str, list[str]] = {}
    for header, value in headers.items():
        lowered = header.lower()
        if lowered.startswith(_EXTRA):
            extra.setdefault(unquote(lowered.removeprefix(_EXTRA)), []).append(value)
    groups = headers.getall(_GROUP, [])
    uid = headers.get(_UID, "")
    require_text((name, uid, *groups, *itertools.chain(*extra.values())))
    wanted = [Attributes("impersonate", resource="users", name=name)]
    wanted += [Attributes("impersonate", resource="groups", name=group) for group in groups]
    if uid:
        wanted.append(Attributes("impersonate", _GROUP_OF_API, "uids", name=uid))
    wanted += [
        Attributes("impersonate", _GROUP_OF_API, "userextras", subresource=key, name=value)
        for key, values in extra.items()
        for value in values
    ]
    for attributes in wanted:
        await require(authorizer, user, attributes)
    everybody = () if AUTHENTICATED in groups else (AUTHENTICATED,)
    return User(
        name,
        (*groups, *everybody),
        uid=uid,
        extra=tuple((key, tuple(values)) for key, values in sorted(extra.items())),
    )


def asked(headers: Iterable[str]) -> bool:
    """Whether a request with these headers wants to be somebody else's."""
    # On the way of every request: the first letter spares nearly all of the work.
    for header in headers:  # noqa: SIM110  five times as fast as any()
        if header[:1] in "iI" and header[: len(_ANY)].lower() == _ANY:
            return True
    return False
