"""The errors every floor speaks.

An error carries a Kubernetes ``reason`` and HTTP ``code``, a sentence for the user, and field ``causes``;
the API turns it into a ``Status`` without knowing who raised it. Whether a controller retries is in the type.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from hyperd.jsontypes import Json

Status = dict[str, Any]
"""A ``Status`` of Kubernetes, as JSON."""


@dataclass(frozen=True)
class Cause:
    """One field's fault, as in ``Status.details.causes``."""

    field: str
    message: str
    reason: str = "FieldValueInvalid"


def _cause_entry(cause: Cause) -> Json:
    if not cause.field:
        return {"reason": cause.reason, "message": cause.message}
    return {"reason": cause.reason, "message": cause.message, "field": cause.field}


EXCEEDED_QUOTA: Final = "exceeded quota"
"""How an API server's quota says so, among what is forbidden for other reasons."""


class HyperdError(Exception):
    """Base of all errors that a user may see; ``str()`` is a whole sentence."""

    reason: ClassVar[str] = "InternalError"
    code: ClassVar[int] = 500

    def __init__(
        self,
        message: str,
        *,
        causes: Sequence[Cause] = (),
        retry_after_seconds: int | None = None,
        kind: str = "",
        group: str = "",
        name: str = "",
        uid: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.causes = tuple(causes)
        self.retry_after_seconds = retry_after_seconds
        self.kind = kind
        self.group = group
        self.name = name
        self.uid = uid

    def status(self) -> Status:
        """This error as a Kubernetes ``Status`` object."""
        details: Status = {}
        for key in ("name", "group", "kind", "uid"):
            if getattr(self, key):
                details[key] = getattr(self, key)
        if self.causes:
            details["causes"] = [_cause_entry(cause) for cause in self.causes]
        if self.retry_after_seconds is not None:
            details["retryAfterSeconds"] = self.retry_after_seconds
        body: Status = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        }
        if details:
            body["details"] = details
        return body


class BadRequest(HyperdError):
    """The request cannot be understood."""

    reason = "BadRequest"
    code = 400


class Unauthorized(HyperdError):
    """No or wrong credentials."""

    reason = "Unauthorized"
    code = 401


class Forbidden(HyperdError):
    """The user may not do that, or an admission rule says no."""

    reason = "Forbidden"
    code = 403

    @property
    def is_of_quota(self) -> bool:
        """Whether a quota says no."""
        return EXCEEDED_QUOTA in self.message


class QuotaExceeded(Forbidden):
    """A namespace has no more of something; it may have again once something else is gone."""


class NotFound(HyperdError):
    """The object, or its type, does not exist."""

    reason = "NotFound"
    code = 404


class MethodNotAllowed(HyperdError):
    """The resource exists, the verb does not; ``allow`` is what it has, as in the header of that name."""

    reason = "MethodNotAllowed"
    code = 405

    def __init__(self, message: str, *, allow: str = "", **kwargs: Any) -> None:
        super().__init__(message, **kwargs)
        self.allow = allow


class NotAcceptable(HyperdError):
    """No representation matches ``Accept``."""

    reason = "NotAcceptable"
    code = 406


class RequestTimeout(HyperdError):
    """The body of the request did not come in time."""

    reason = "Timeout"
    code = 408


class AlreadyExists(HyperdError):
    """An object of that name is there already."""

    reason = "AlreadyExists"
    code = 409


class Conflict(HyperdError):
    """The object changed since it was read, or a precondition failed."""

    reason = "Conflict"
    code = 409


class Expired(HyperdError):
    """The resourceVersion or continue token is older than what is kept.

    ``continue_token`` leads to the rest of the list as it is now.
    """

    reason = "Expired"
    code = 410

    def __init__(self, message: str, *, continue_token: str = "", **kwargs: Any) -> None:
        super().__init__(message, **kwargs)
        self.continue_token = continue_token

    def status(self) -> Status:
        body = super().status()
        if self.continue_token:
            body["metadata"] = {"continue": self.continue_token}
        return body


class RequestEntityTooLarge(HyperdError):
    """The body is beyond the limit."""

    reason = "RequestEntityTooLarge"
    code = 413


class UnsupportedMediaType(HyperdError):
    """The body's type is not understood for this resource."""

    reason = "UnsupportedMediaType"
    code = 415


class RangeNotSatisfiable(HyperdError):
    """Of what is asked for in part, that part does not exist."""

    reason = "BadRequest"
    code = 416


class Invalid(HyperdError):
    """The object breaks its schema or a rule; ``causes`` name the fields."""

    reason = "Invalid"
    code = 422


class TooManyRequests(HyperdError):
    """Ask again later."""

    reason = "TooManyRequests"
    code = 429


class RequestHeaderFieldsTooLarge(HyperdError):
    """The request line or a header is beyond the limit."""

    reason = "RequestHeaderFieldsTooLarge"
    code = 431


class NotImplementedYet(HyperdError):
    """A part of the grammar that this version does not speak."""

    reason = "MethodNotAllowed"
    code = 501


class ServiceUnavailable(HyperdError):
    """Something this request needs is down; it heals without the user changing the object."""

    reason = "ServiceUnavailable"
    code = 503


class Timeout(HyperdError):
    """The server gave up waiting."""

    reason = "Timeout"
    code = 504


class InternalError(HyperdError):
    """A defect; the log has the details under the request id."""


class PermanentError(HyperdError):
    """Trying again cannot help until the object changes. ``key`` is a reason of the reference."""

    def __init__(self, message: str, *, key: str = "", **kwargs: Any) -> None:
        super().__init__(message, **kwargs)
        self.key = key


class TemporaryError(HyperdError):
    """Trying again may help. ``delay`` is in seconds; None leaves it to the queue's back-off."""

    def __init__(self, message: str, *, key: str = "", delay: float | None = None, **kwargs: Any) -> None:
        super().__init__(message, **kwargs)
        self.key = key
        self.delay = delay
