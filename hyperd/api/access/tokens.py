"""Bearer tokens: made once, shown once, kept as a hash.

A token is a Secret of a type of its own in the system's namespace, which only administrators reach: it holds the
hash, the role, the namespaces and the end. Revoking is deleting it. A login reads the Secret each time, so that
what was revoked a moment ago is refused.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from aiohttp import web

from hyperd import clock
from hyperd.api.access.authentication import Peer
from hyperd.api.access.rules import AUTHENTICATED
from hyperd.errors import AlreadyExists, HyperdError, NotFound, Unauthorized
from hyperd.resources.all import NAMESPACE, SECRET
from hyperd.resources.schema.kind import Object
from hyperd.resources.values.names import SYSTEM_NAMESPACE
from hyperd.roles import LOGIN_TYPE, NAMESPACES_EXTRA, Role
from hyperd.store.interface import FieldRequirement, Item, Preconditions, Selector, Store, User, Write

_PREFIX = "hyperd"
_USER_PREFIX = "token:"
_CHECK_SECONDS = 5.0
"""How long a watch or a session may outlive its token's revocation."""
_TOKEN = re.compile(r"hyperd\.([a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?)\.([A-Za-z0-9_-]{43})")
_SECRET_BYTES = 32
_KEPT_AFTER_END = 86_400.0
_REFUSED = "Unauthorized: the token is not known here, or was revoked."


@dataclass(frozen=True)
class Grant:
    """What a token gives. No ``namespaces`` means everywhere; ``expires`` is in seconds since 1970."""

    role: Role
    namespaces: tuple[str, ...]
    expires: float


@dataclass(frozen=True)
class _Kept:
    grant: Grant
    digest: str
    user: User


class Tokens:
    """The tokens in one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._read: dict[str, tuple[str, _Kept]] = {}
        self._first: dict[str, float] = {}
        """When each token ends by ``clock.elapsed``, as was reckoned when it was first seen; by uid."""
        self._ended = clock.Seen()

    async def user(self, token: str) -> User:
        """Whose token it is. Raises Unauthorized."""
        parts = _TOKEN.fullmatch(token)
        if parts is None:
            raise Unauthorized(_REFUSED)
        try:
            item = await self._store.get(SECRET, SYSTEM_NAMESPACE, parts[1])
        except NotFound:
            self._read.pop(parts[1], None)
            raise Unauthorized(_REFUSED) from None
        kept = self._parsed(item)
        # What is compared are hashes of 256 random bits; constant time is one habit more.
        if kept is None or not hmac.compare_digest(kept.digest, _digest(token)):
            raise Unauthorized(_REFUSED)
        if self._left(kept) <= 0:
            raise Unauthorized("Unauthorized: the token has expired; ask an administrator for a new one.")
        return kept.user

    async def ended(self, user: User) -> None:
        """Return once the token behind ``user`` has expired or was revoked; at once for a user of none."""
        while (left := await self._left_to(user)) > 0:
            await asyncio.sleep(min(left, _CHECK_SECONDS))

    async def holds(self, user: User) -> bool:
        """Whether the token behind ``user`` is still good; True for a user of none."""
        return not user.name.startswith(_USER_PREFIX) or await self._left_to(user) > 0

    async def _left_to(self, user: User) -> float:
        """Seconds that its token is still good for."""
        try:
            item = await self._store.get(SECRET, SYSTEM_NAMESPACE, user.name.removeprefix(_USER_PREFIX))
        except NotFound:
            return 0
        kept = self._parsed(item)
        return self._left(kept) if kept is not None and kept.user.uid == user.uid else 0

    def _left(self, kept: _Kept) -> float:
        """Seconds that a token is still good for.

        Its end is a date, so the wall clock ends it; but a clock that is set back neither prolongs it nor brings
        it back, as far as this process has seen it.
        """
        left = kept.grant.expires - clock.wall()
        first = self._first.setdefault(kept.user.uid, clock.elapsed() + left)
        return min(left, first - clock.elapsed())

    def _parsed(self, item: Item) -> _Kept | None:
        known = self._read.get(item.name)
        if known is not None and known[0] == item.resource_version:
            return known[1]
        kept = _parse(item.object())
        if kept is None:
            self._read.pop(item.name, None)
        else:
            self._read[item.name] = (item.resource_version, kept)
        return kept

    async def create(self, name: str, grant: Grant, *, write: Write) -> tuple[str, Item]:
        """A new token and its Secret; an expired one of that name makes room. Raises AlreadyExists, Invalid."""
        token = f"{_PREFIX}.{name}.{secrets.token_urlsafe(_SECRET_BYTES)}"
        with suppress(AlreadyExists):
            await self._store.create(NAMESPACE, "", {"metadata": {"name": SYSTEM_NAMESPACE}})
        data = {
            "sha256": _digest(token),
            "role": grant.role.value,
            "expires": timestamp(grant.expires),
            "namespaces": " ".join(grant.namespaces),
        }
        secret: Object = {
            "metadata": {"name": name, "namespace": SYSTEM_NAMESPACE},
            "type": LOGIN_TYPE,
            "immutable": True,
            "data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()},
        }
        await self.make_room(name, write=write)
        return token, await self._store.create(SECRET, SYSTEM_NAMESPACE, secret, write=write)

    async def make_room(self, name: str, *, write: Write) -> None:
        """Remove a token of that name which has expired. Raises AlreadyExists where it has not."""
        try:
            item = await self._store.get(SECRET, SYSTEM_NAMESPACE, name)
        except NotFound:
            return
        kept = _parse(item.object())
        if kept is None or self._left(kept) > 0:
            raise AlreadyExists(f'secrets "{name}" already exists')
        same = Preconditions(uid=item.uid)
        await self._store.delete(SECRET, SYSTEM_NAMESPACE, name, preconditions=same, write=write)

    async def sweep(self) -> None:
        """Remove what has been expired for a day."""
        wanted = Selector(fields=(FieldRequirement("type", LOGIN_TYPE),))
        items = (await self._store.list(SECRET, SYSTEM_NAMESPACE, selector=wanted)).items
        for gone in self._first.keys() - {item.uid for item in items}:
            del self._first[gone]
        for item in items:
            kept = _parse(item.object())
            if kept is None or self._left(kept) > 0:
                continue
            # Counted from when it was seen to have ended: a clock that was ahead for a while removes nothing.
            if self._ended.age(item.uid) > _KEPT_AFTER_END:
                with suppress(HyperdError):
                    unchanged = Preconditions(uid=item.uid, resource_version=item.resource_version)
                    await self._store.delete(SECRET, SYSTEM_NAMESPACE, item.name, preconditions=unchanged)
                self._read.pop(item.name, None)


async def while_valid(
    tokens: Tokens, user: User, request: web.BaseRequest, work: Awaitable[web.StreamResponse]
) -> web.StreamResponse:
    """A long answer, which ends with the token that asked for it. Raises ConnectionAbortedError then."""
    task = asyncio.current_task()
    if task is None or not user.name.startswith(_USER_PREFIX):
        return await work
    watching = asyncio.create_task(tokens.ended(user), name="token's end")
    watching.add_done_callback(lambda done: None if done.cancelled() else task.cancel())
    try:
        return await work
    except asyncio.CancelledError:
        if not watching.done() or watching.cancelled():
            raise
        task.uncancel()
        if request.transport is not None:
            # Not closed: what is buffered for a slow reader is not sent either.
            request.transport.abort()
        raise ConnectionAbortedError("the token has ended") from None
    finally:
        watching.cancel()


class TokenLogin:
    """``Authorization: Bearer …``. Whoever sends that header is who it says, or nobody.

    ``tokens`` is None where there are none: in a cluster its API server knows them.
    """

    def __init__(self, tokens: Tokens | None) -> None:
        self._tokens = tokens

    async def __call__(self, request: web.BaseRequest, peer: Peer) -> User | None:
        header = request.headers.get("Authorization")
        if header is None:
            return None
        if len(request.headers.getall("Authorization")) > 1:
            raise Unauthorized("Unauthorized: there are several Authorization headers.")
        scheme, _, token = header.strip().partition(" ")
        if self._tokens is None:
            raise Unauthorized("Unauthorized: this listener knows no tokens; the cluster's API server does.")
        if scheme.lower() != "bearer":
            raise Unauthorized("Unauthorized: of the Authorization header only bearer tokens are understood.")
        return await self._tokens.user(token.strip())


def _parse(secret: Object) -> _Kept | None:
    """What a Secret says; None where it is no token, or one that is going."""
    metadata = secret["metadata"]
    if secret.get("type") != LOGIN_TYPE or "deletionTimestamp" in metadata:
        return None
    try:
        data = {key: base64.b64decode(value).decode() for key, value in secret.get("data", {}).items()}
        namespaces = tuple(data.get("namespaces", "").split())
        expires = datetime.fromisoformat(data["expires"]).timestamp()
        grant = Grant(Role(data["role"]), namespaces, expires)
        digest = data["sha256"]
    except (KeyError, ValueError):
        return None
    extra = ((NAMESPACES_EXTRA, namespaces),) if namespaces else ()
    groups = (AUTHENTICATED, grant.role.group)
    return _Kept(
        grant, digest, User(f"{_USER_PREFIX}{metadata['name']}", groups, uid=metadata["uid"], extra=extra)
    )


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def timestamp(seconds: float) -> str:
    """Seconds since 1970 as RFC 3339."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
