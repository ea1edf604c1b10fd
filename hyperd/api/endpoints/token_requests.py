"""``tokenrequests``: how administrators make tokens.

The name is the token's; what is kept is a Secret of that name, whose deletion revokes it.
"""

from __future__ import annotations

from hyperd import clock
from hyperd.api.access.tokens import Grant, Tokens, timestamp
from hyperd.api.endpoints.answers import Call
from hyperd.api.wire import options
from hyperd.api.wire.review_kinds import TOKEN_REQUEST
from hyperd.errors import AlreadyExists, Cause
from hyperd.jsontypes import Json
from hyperd.resources.all import NAMESPACE
from hyperd.resources.schema.kind import Object
from hyperd.resources.schema.metadata import quoted
from hyperd.resources.schema.structural import check_metadata, invalid
from hyperd.resources.values.names import SYSTEM_NAMESPACE
from hyperd.roles import Role
from hyperd.store.interface import Write

_DEFAULT_SECONDS = 86_400
_MIN_SECONDS = 60


class TokenRequests:
    """Checks requests, and has their tokens made. ``max_seconds`` is how long one may last."""

    def __init__(self, tokens: Tokens, max_seconds: int) -> None:
        self._tokens = tokens
        self._max_seconds = max_seconds

    async def create(self, call: Call, asked: Object) -> Object:
        """The status with the token; a rehearsal shows none. Raises AlreadyExists, Invalid."""
        name = str(asked["metadata"].get("name") or "")
        grant = self._grant(name, asked.get("spec", {}))
        end = {"expirationTimestamp": timestamp(grant.expires)}
        try:
            if options.write_options("CreateOptions", call.query).dry_run:
                await self._tokens.make_room(name, write=Write(user=call.user, dry_run=True))
                return end
            token, item = await self._tokens.create(name, grant, write=Write(user=call.user))
        except AlreadyExists as err:
            raise AlreadyExists(
                f'{TOKEN_REQUEST.qualified_resource} "{name}" already exists: revoke that token first, or choose '
                "another name",
                kind=TOKEN_REQUEST.plural,
                group=TOKEN_REQUEST.group,
                name=name,
            ) from err
        call.made = name
        made = item.object()["metadata"]
        asked["metadata"] = {"name": name, "uid": item.uid, "creationTimestamp": made["creationTimestamp"]}
        return {"token": token, **end}

    def _grant(self, name: str, spec: Object) -> Grant:
        """What is asked for, checked."""
        causes = (
            [] if name else [Cause("metadata.name", "Required value: a token needs a name", "FieldValueRequired")]
        )
        causes += check_metadata(TOKEN_REQUEST, {"metadata": {"name": name}}) if name else []
        role, namespaces = spec.get("role"), spec.get("namespaces") or []
        roles = [one.value for one in Role]
        if role not in roles:
            listed = ", ".join(f'"{one}"' for one in roles)
            causes.append(
                Cause(
                    "spec.role",
                    f"Unsupported value: {quoted(role)}: supported values: {listed}",
                    "FieldValueNotSupported",
                )
            )
        if not isinstance(namespaces, list):
            causes.append(Cause("spec.namespaces", "Invalid value: must be a list of names"))
            namespaces = []
        for index, namespace in enumerate(namespaces):
            causes += _namespace_faults(f"spec.namespaces[{index}]", namespace)
        seconds = spec.get("expirationSeconds", _DEFAULT_SECONDS)
        if (
            not isinstance(seconds, int)
            or isinstance(seconds, bool)
            or not _MIN_SECONDS <= seconds <= self._max_seconds
        ):
            text = f"must be a number of seconds from {_MIN_SECONDS} to {self._max_seconds}"
            causes.append(Cause("spec.expirationSeconds", f"Invalid value: {quoted(seconds)}: {text}"))
        if causes:
            raise invalid(TOKEN_REQUEST, name, causes)
        return Grant(Role(str(role)), tuple(dict.fromkeys(namespaces)), float(int(clock.wall()) + seconds))


def _namespace_faults(field: str, namespace: Json) -> list[Cause]:
    """A namespace need not exist yet; it must be able to."""
    if not isinstance(namespace, str) or check_metadata(NAMESPACE, {"metadata": {"name": namespace}}):
        return [Cause(field, f"Invalid value: {quoted(namespace)}: must be the name of a namespace")]
    if namespace == SYSTEM_NAMESPACE:
        return [Cause(field, f"Forbidden: {namespace} is the system's own", "FieldValueForbidden")]
    return []
