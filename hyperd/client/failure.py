"""A home's refusal as an error of ours: the ``Status`` it sent, or what went wrong on the way."""

from __future__ import annotations

import json
from errno import EACCES, ECONNREFUSED, ENOENT

from hyperd import errors
from hyperd.client.home import Home
from hyperd.resources.values.names import GROUP, SYSTEM_NAMESPACE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hyperd.resources.schema.kind import Object

_BY_REASON: dict[str, type[errors.HyperdError]] = {
    kind.reason: kind
    for kind in (
        errors.BadRequest, errors.Unauthorized, errors.Forbidden, errors.NotFound, errors.AlreadyExists,
        errors.Conflict, errors.Expired, errors.RequestEntityTooLarge, errors.UnsupportedMediaType,
        errors.Invalid, errors.TooManyRequests, errors.ServiceUnavailable, errors.Timeout,
        errors.MethodNotAllowed, errors.NotAcceptable,
    )
}  # fmt: skip
_UNAVAILABLE = "service unavailable"
_UNREACHED = ("error trying to reach service", "error dialing backend")
_UNASKED = (f'.{GROUP}": failed to call webhook', f"conversion webhook for {GROUP}/")
"""Parts of what an API server says when hyperd cannot be asked to serve, to judge and to convert."""
_BY_REASON["Gone"] = errors.Expired
_BY_CODE = {kind.code: kind for kind in reversed(_BY_REASON.values())}


def from_response(status: int, body: bytes, *, request_id: str = "") -> errors.HyperdError:
    """The error an answer of 400 or more stands for; a body that is no Status is quoted, shortened."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or document.get("kind") != "Status":
        text = body[:200].decode("utf-8", "replace").strip()
        if status == 503 and (why := _unreached(text)) is not None:
            return _without_hyperd(why)
        document = {"message": f"The server answered {status}" + (f": {text}" if text else ".")}
    return from_status(document, status=status, request_id=request_id)


def from_status(document: Object, *, status: int = 0, request_id: str = "") -> errors.HyperdError:
    """A ``Status`` object as an error; ``status`` is the HTTP code where the object has none."""
    said = document.get("code")
    code = said if type(said) is int and said else status or 500
    kind = _BY_REASON.get(str(document.get("reason", ""))) or _BY_CODE.get(code, errors.InternalError)
    details = document.get("details")
    if not isinstance(details, dict):
        details = {}
    message = str(document.get("message") or f"The server answered {code}.")
    if any(sign in message for sign in _UNASKED):
        return _without_hyperd(message.rpartition('": ')[2])
    if code >= 500 and request_id:
        message = f"{message} (request {request_id})"
    listed = details.get("causes")
    causes = [
        errors.Cause(str(cause.get("field", "")), str(cause.get("message", "")), str(cause.get("reason", "")))
        for cause in (listed if isinstance(listed, list) else ())
        if isinstance(cause, dict)
    ]
    return kind(
        message,
        causes=causes,
        retry_after_seconds=seconds if type(seconds := details.get("retryAfterSeconds")) is int else None,
        kind=str(details.get("kind", "")),
        group=str(details.get("group", "")),
        name=str(details.get("name", "")),
    )


def _unreached(text: str) -> str | None:
    """What an API server's proxy says of its failure to reach the aggregated hyperd; None where it is not that."""
    if text == _UNAVAILABLE:
        return ""
    prefix, _, why = text.partition(": ")
    return why if prefix in _UNREACHED else None


def _without_hyperd(why: str) -> errors.ServiceUnavailable:
    return errors.ServiceUnavailable(
        f"The API server gets no answer from hyperd{f' ({why})' if why else ''}. Virtual machines run on; start "
        f"hyperd, or see its Pods: kubectl get pods -n {SYSTEM_NAMESPACE}."
    )


def from_os_error(err: OSError, home: Home) -> errors.HyperdError:
    """Why ``home`` cannot be reached, and what to do about it."""
    if home.ssh and not isinstance(err, TimeoutError):
        from hyperd.client.ssh import unanswered

        return unanswered(home)
    if home.socket and _is(err, FileNotFoundError, ENOENT):
        return errors.ServiceUnavailable(
            f"hyperd does not run here: there is no socket {home.socket}. Start hyperd, or name another home "
            "with --socket, --kubeconfig or --context."
        )
    if home.socket and _is(err, ConnectionRefusedError, ECONNREFUSED):
        return errors.ServiceUnavailable(f"hyperd does not answer at {home.socket}; see `hv doctor`.")
    if home.socket and _is(err, PermissionError, EACCES):
        return errors.Forbidden(
            f"You may not open {home.socket}: become root, or a member of the group that owns it."
        )
    if isinstance(err, TimeoutError):
        return errors.Timeout(f"{home.where} does not answer in time.")
    return errors.ServiceUnavailable(f"{home.where} cannot be reached: {why(err)}.")


def why(err: OSError) -> str:
    """What went wrong, without a full stop."""
    return str(err.strerror or err).rstrip(".")


def _is(err: OSError, kind: type[OSError], number: int) -> bool:
    """Whether it is of that kind; a library's own class only has the number."""
    return isinstance(err, kind) or err.errno == number
