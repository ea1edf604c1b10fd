"""Authorization by a cluster's API server: SubjectAccessReviews, whose answers are kept for some seconds."""

from __future__ import annotations

import logging
from typing import Final, Protocol

import orjson

from hyperd import clock
from hyperd.api.access.authorization import Attributes
from hyperd.api.access.rules import MASTERS
from hyperd.resources.schema.kind import Object
from hyperd.store.interface import User

_LOG = logging.getLogger(__name__)
_PATH: Final = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
_ALLOWED_SECONDS: Final = 10.0
_DENIED_SECONDS: Final = 10.0
_REMEMBERED: Final = 4096


class Asks(Protocol):
    """How the API server is reached."""

    async def request(self, method: str, path: str, *, body: bytes | None = None) -> Object: ...


class AccessReviews:
    """Asks the API server. What it cannot be asked is not allowed: the error goes to the user."""

    def __init__(
        self, client: Asks, *, allowed_seconds: float = _ALLOWED_SECONDS, denied_seconds: float = _DENIED_SECONDS
    ) -> None:
        self._client = client
        self._seconds = {True: allowed_seconds, False: denied_seconds}
        self._known: dict[tuple[User, Attributes], tuple[float, bool]] = {}

    async def allows(self, user: User, attributes: Attributes) -> bool:
        """Whether ``user`` may. Raises the API server's error when it does not answer."""
        if MASTERS in user.groups:
            return True  # as every API server does; its aggregator asks as one of them
        key = (user, attributes)
        now = clock.elapsed()
        known = self._known.get(key)
        if known is not None and now < known[0]:
            return known[1]
        answer = await self._client.request("POST", _PATH, body=orjson.dumps(_review(user, attributes)))
        status = answer.get("status") or {}
        allowed = status.get("allowed") is True and status.get("denied") is not True
        if status.get("evaluationError"):
            _LOG.warning("An access review was incomplete: %s", status["evaluationError"])
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[key] = (now + self._seconds[allowed], allowed)
        return allowed


def _review(user: User, attributes: Attributes) -> Object:
    spec: Object = {
        "user": user.name,
        "groups": list(user.groups),
        "uid": user.uid,
        "extra": {key: list(values) for key, values in user.extra},
    }
    if attributes.path:
        spec["nonResourceAttributes"] = {"path": attributes.path, "verb": attributes.verb}
    else:
        spec["resourceAttributes"] = {
            "verb": attributes.verb,
            "group": attributes.group,
            "resource": attributes.resource,
            "subresource": attributes.subresource,
            "namespace": attributes.namespace,
            "name": attributes.name,
        }
    return {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
