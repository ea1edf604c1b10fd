"""Kinds that are only ever asked: a POST is answered, and nothing is kept.

They are Kubernetes' reviews, and the request that makes a token. Discovery and OpenAPI take them like other kinds;
the store never meets them.
"""

from __future__ import annotations

from typing import Final

from hyperd.api.wire.messages import MESSAGES, Field
from hyperd.jsontypes import JsonObject
from hyperd.resources.schema.kind import Kind, Object, Registry
from hyperd.roles import TOKEN_GROUP, TOKEN_VERSION, Role

ASKED = Registry()
"""All of them."""

_SCALARS: Final[dict[str, Object]] = {
    "string": {"type": "string"},
    "int": {"type": "integer", "format": "int64"},
    "bool": {"type": "boolean"},
    "ExtraValue": {"type": "array", "items": {"type": "string"}},
}


def _schema(message: str) -> Object:
    """A message's fields, those of messages inside it included."""
    fields = MESSAGES[message].fields
    return {
        "type": "object",
        "properties": {field.name: _field(field) for field in fields if field.name != "metadata"},
    }


def _field(field: Field) -> Object:
    one = dict(_SCALARS[field.type]) if field.type in _SCALARS else _schema(field.type)
    if field.shape == "list":
        return {"type": "array", "items": one}
    return {"type": "object", "additionalProperties": one} if field.shape == "map" else one


def _review(group: str, kind: str, *, namespaced: bool = False) -> Kind:
    singular = kind.lower()
    return ASKED.add(
        Kind(
            group=group,
            version="v1",
            kind=kind,
            plural=f"{singular}s",
            singular=singular,
            namespaced=namespaced,
            verbs=("create",),
            openapi=_schema(kind),
        )
    )


_AUTHORIZATION, _AUTHENTICATION = "authorization.k8s.io", "authentication.k8s.io"
SELF_ACCESS = _review(_AUTHORIZATION, "SelfSubjectAccessReview")
SELF_RULES = _review(_AUTHORIZATION, "SelfSubjectRulesReview")
ACCESS = _review(_AUTHORIZATION, "SubjectAccessReview")
LOCAL_ACCESS = _review(_AUTHORIZATION, "LocalSubjectAccessReview", namespaced=True)
SELF_SUBJECT = _review(_AUTHENTICATION, "SelfSubjectReview")
TOKEN_REVIEW = _review(_AUTHENTICATION, "TokenReview")

_TOKEN_SCHEMA: Final[JsonObject] = {
    "type": "object",
    "description": "A request for a bearer token; the answer shows it, once.",
    "required": ["spec"],
    "properties": {
        "spec": {
            "type": "object",
            "required": ["role"],
            "properties": {
                "role": {
                    "type": "string",
                    "enum": [role.value for role in Role],
                    "description": "What the token lets do.",
                },
                "namespaces": {
                    "type": "array",
                    "items": {"type": "string"},
                    "description": "Where; none is everywhere, cluster-wide kinds included.",
                },
                "expirationSeconds": {
                    "type": "integer",
                    "format": "int64",
                    "description": "How long it lasts; a day when it is not given.",
                },
            },
        },
        "status": {
            "type": "object",
            "properties": {
                "token": {"type": "string", "description": "What to send as Authorization: Bearer …"},
                "expirationTimestamp": {"type": "string", "format": "date-time", "description": "Its end."},
            },
        },
    },
}
TOKEN_REQUEST = ASKED.add(
    Kind(
        group=TOKEN_GROUP,
        version=TOKEN_VERSION,
        kind="TokenRequest",
        plural="tokenrequests",
        singular="tokenrequest",
        namespaced=False,
        verbs=("create",),
        openapi=_TOKEN_SCHEMA,
    )
)
QUESTIONS = frozenset(ASKED) - {TOKEN_REQUEST}
"""Those that change nothing."""
PREFIXES = tuple({f"/apis/{kind.group}/{kind.version}/" for kind in ASKED})
"""Where their paths begin."""
