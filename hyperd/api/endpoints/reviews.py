"""Answers to questions about access: may I, may they, what may I, who am I, whose is this token.

Anybody may ask about oneself; only administrators about others.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping

from aiohttp import web

from hyperd.api.access.authorization import Attributes, Authorizer, Rule
from hyperd.api.access.tokens import Tokens
from hyperd.api.endpoints import answers
from hyperd.api.endpoints.answers import Call
from hyperd.api.endpoints.token_requests import TokenRequests
from hyperd.api.wire import bodies
from hyperd.api.wire.review_kinds import (
    ACCESS,
    LOCAL_ACCESS,
    SELF_ACCESS,
    SELF_RULES,
    SELF_SUBJECT,
    TOKEN_REQUEST,
    TOKEN_REVIEW,
)
from hyperd.errors import BadRequest, Cause, Unauthorized
from hyperd.jsontypes import Json
from hyperd.resources.schema.kind import Kind, Object
from hyperd.resources.schema.structural import invalid
from hyperd.store.interface import Item, User

_Answer = Callable[[Call, Object], Awaitable[Object]]


class Reviews:
    """The answers, by kind; each gets the request's spec and gives a status."""

    def __init__(
        self, authorizer: Authorizer, tokens: Tokens, *, max_body_bytes: int, max_token_seconds: int
    ) -> None:
        self._authorizer = authorizer
        self._tokens = tokens
        self._max_body = max_body_bytes
        self._answers: Mapping[Kind, _Answer] = {
            SELF_ACCESS: self._self_access,
            SELF_RULES: self._self_rules,
            ACCESS: self._access,
            LOCAL_ACCESS: self._access,
            SELF_SUBJECT: self._self_subject,
            TOKEN_REVIEW: self._token,
            TOKEN_REQUEST: TokenRequests(tokens, max_token_seconds).create,
        }

    @property
    def kinds(self) -> Collection[Kind]:
        """What can be asked."""
        return self._answers.keys()

    async def create(self, call: Call) -> web.StreamResponse:
        """Answer what is asked. Raises BadRequest, Invalid, and UnsupportedMediaType."""
        kind = call.target.kind
        body = await bodies.read(call.request, self._max_body)
        asked, _ = await bodies.parse_object(
            body,
            call.request.content_type,
            protobuf_allowed=kind is not TOKEN_REQUEST,
            share=call.share,
        )
        for name, wanted in (("apiVersion", kind.api_version), ("kind", kind.kind)):
            if asked.setdefault(name, wanted) != wanted:
                raise BadRequest(
                    f"the {name} in the data ({str(asked[name])[:100]}) does not match the expected {name} "
                    f"({wanted})"
                )
        metadata, spec = _object(asked, "metadata"), _object(asked, "spec")
        named = {key: metadata[key] for key in ("name", "namespace") if isinstance(metadata.get(key), str)}
        answer: Object = {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": named}
        if spec:
            answer["spec"] = spec
        answer["status"] = await self._answers[kind](call, answer)
        return await answers.item(call, Item.of(answer), status=201)

    async def _self_access(self, call: Call, asked: Object) -> Object:
        return await self._judge(call, call.user, asked)

    async def _access(self, call: Call, asked: Object) -> Object:
        spec = asked.get("spec", {})
        user = User(
            _text(spec, "user"),
            tuple(_texts(spec, "groups")),
            uid=_text(spec, "uid"),
            extra=tuple((key, tuple(_texts(_object(spec, "extra"), key))) for key in _object(spec, "extra")),
        )
        if not user.name and not user.groups:
            raise invalid(
                call.target.kind,
                "",
                [Cause("spec.user", 'Invalid value: "": at least one of user or group must be specified')],
            )
        return await self._judge(call, user, asked)

    async def _judge(self, call: Call, user: User, asked: Object) -> Object:
        spec = asked.get("spec", {})
        resource, path = _object(spec, "resourceAttributes"), _object(spec, "nonResourceAttributes")
        if bool(resource) == bool(path):
            text = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
            raise invalid(call.target.kind, "", [Cause("spec.resourceAttributes", f"Invalid value: {text}")])
        if path:
            wanted = Attributes(_text(path, "verb"), path=_text(path, "path"))
        else:
            names = ("group", "resource", "subresource", "namespace", "name")
            wanted = Attributes(_text(resource, "verb"), **{name: _text(resource, name) for name in names})
        within = call.target.scope
        if within and wanted.namespace != within:
            text = f"must be the namespace of the request, {within}"
            raise invalid(
                call.target.kind, "", [Cause("spec.resourceAttributes.namespace", f"Invalid value: {text}")]
            )
        return {"allowed": await self._authorizer.allows(user, wanted)}

    async def _self_rules(self, call: Call, asked: Object) -> Object:
        namespace = _text(asked.get("spec", {}), "namespace")
        if not namespace:
            raise BadRequest("no namespace on request")
        rules = await self._authorizer.rules(call.user, namespace)
        return {
            "resourceRules": [_resource_rule(rule) for rule in rules if not rule.paths],
            "nonResourceRules": [
                {"verbs": list(rule.verbs), "nonResourceURLs": list(rule.paths)} for rule in rules if rule.paths
            ],
            "incomplete": False,
        }

    async def _self_subject(self, call: Call, asked: Object) -> Object:
        return {"userInfo": _user_info(call.user)}

    async def _token(self, call: Call, asked: Object) -> Object:
        token = _text(asked.get("spec", {}), "token")
        if not token:
            raise BadRequest("token is required for TokenReview in authentication")
        try:
            return {"authenticated": True, "user": _user_info(await self._tokens.user(token))}
        except Unauthorized as err:
            return {"error": err.message}


def _resource_rule(rule: Rule) -> Object:
    shown: dict[str, list[str]] = {
        "verbs": list(rule.verbs),
        "apiGroups": list(rule.groups),
        "resources": list(rule.resources),
    }
    return shown | ({"resourceNames": list(rule.names)} if rule.names else {})


def _user_info(user: User) -> Object:
    info: Object = {"username": user.name, "uid": user.uid, "groups": list(user.groups)}
    info["extra"] = {key: list(values) for key, values in user.extra}
    return {key: value for key, value in info.items() if value}


def _object(parent: Object, name: str) -> Object:
    value: Json = parent.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadRequest(f"{name}: must be an object")
    return value


def _text(parent: Object, name: str) -> str:
    value = parent.get(name) or ""
    if not isinstance(value, str):
        raise BadRequest(f"{name}: must be a string")
    return value


def _texts(parent: Object, name: str) -> list[str]:
    value = parent.get(name) or []
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise BadRequest(f"{name}: must be a list of strings")
    return value
