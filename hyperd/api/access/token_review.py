"""Logins by tokens of a cluster, which its API server judges: of those who ask a daemon itself, not that."""

from __future__ import annotations

from typing import Final

import orjson

from hyperd.api.access.access_review import Asks
from hyperd.errors import Unauthorized
from hyperd.resources.schema.kind import Object
from hyperd.store.interface import User

_PATH: Final = "/apis/authentication.k8s.io/v1/tokenreviews"
_SCHEME: Final = "bearer "
_LONGEST: Final = 16 << 10


async def user_of(client: Asks, authorization: str) -> User:
    """Whose token an ``Authorization`` header has. Raises Unauthorized, and what the API server answers."""
    token = authorization[len(_SCHEME) :].strip()
    if not authorization.lower().startswith(_SCHEME) or not token or len(token) > _LONGEST:
        raise Unauthorized("Unauthorized: a token of the cluster is needed, as a ServiceAccount's.")
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
    status: Object = (await client.request("POST", _PATH, body=orjson.dumps(review))).get("status") or {}
    said: Object = status.get("user") or {}
    if status.get("authenticated") is not True or not said.get("username"):
        raise Unauthorized("Unauthorized: the cluster's API server does not know this token.")
    extra: Object = said.get("extra") or {}
    return User(
        str(said["username"]),
        tuple(map(str, said.get("groups") or ())),
        uid=str(said.get("uid") or ""),
        extra=tuple((key, tuple(map(str, values))) for key, values in sorted(extra.items())),
    )
