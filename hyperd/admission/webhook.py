"""Admission as a cluster's API server asks for it: AdmissionReview objects around the very same ``review``.

The API server has pruned and defaulted the object by its schema before it asks for changes, and has checked schema
and CEL rules before it asks for a verdict. So ``mutate`` only completes, and only what is valid; what rules refuse
and what they warn of is ``validate``'s to say. Between the two the world may change, and others change the object:
``validate`` lets through only what is complete, and neither lets through what it could not judge. Nothing here
writes, so a rehearsal (``dryRun``) is answered like a real write.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, cast

import orjson

from hyperd.admission.jsonpatch import difference
from hyperd.errors import BadRequest, Cause, Forbidden, HyperdError, ServiceUnavailable
from hyperd.resources import structural
from hyperd.resources.all import KINDS
from hyperd.resources.conversion import convert
from hyperd.resources.kind import Kind, Object
from hyperd.resources.metadata import type_faults
from hyperd.store.interface import SYSTEM, AdmissionRequest, AdmissionResponse, Admit, Reader, User

API_VERSION = "admission.k8s.io/v1"
KIND = "AdmissionReview"


@dataclass(frozen=True)
class AdmissionWebhook:
    """Answers AdmissionReviews. ``is_ours`` says whether a controller of ours writes under that account."""

    admit: Admit
    reader: Reader
    is_ours: Callable[[User], bool]

    async def mutate(self, review: Object) -> Object:
        """What the object lacks, as a JSON patch. Raises BadRequest when ``review`` is none.

        An object that is to get its name from ``generateName`` has none yet.
        """
        asked = _Asked.of(review)
        request = self._request(asked)
        if request is None or request.new is None or _faults(request):
            return asked.allow()
        try:
            judged = await self.admit(request)
        except HyperdError as err:
            # Without its finalizer and its defaults nothing may get in.
            return asked.deny(err)
        if judged.object is None:
            return asked.allow()
        completed = convert(judged.object, str(asked.object.get("apiVersion")))
        # Whatever came as a status is the API server's to let go.
        return asked.allow(patch=difference(_less_status(asked.object), _less_status(completed)))

    async def validate(self, review: Object) -> Object:
        """The verdict, with warnings and causes. Raises BadRequest when ``review`` is none."""
        asked = _Asked.of(review)
        request = self._request(asked)
        if request is None:
            return asked.allow()
        if faults := _faults(request):
            # What an older schema allowed may stay, as for the API server itself, until the spec is changed.
            same = request.old is not None and (request.new or {}).get("spec") == request.old.get("spec")
            return asked.allow() if same else asked.deny(_invalid(request, faults))
        came = orjson.dumps(request.new)
        try:
            judged = await self.admit(request)
        except HyperdError as err:
            return asked.deny(err)
        error = _refusal(request, judged) or _incomplete(request, orjson.loads(came), judged.object)
        if error is not None:
            return asked.deny(error, judged.warnings)
        return asked.allow(judged.warnings)

    def _request(self, asked: _Asked) -> AdmissionRequest | None:
        """The request as the rules want it, in the stored version; None where there is nothing to judge."""
        kind = KINDS.by_kind(asked.group, asked.kind)
        if kind is None or asked.operation not in ("CREATE", "UPDATE", "DELETE"):
            return None
        new = None if asked.operation == "DELETE" else _stored(kind, asked.object)
        old = None if asked.operation == "CREATE" else _stored(kind, asked.old)
        if new is not None and "status" in kind.subresources and not asked.subresource and not kind.core:
            # An API server asks before it lets go of the status that came with an object, and stores the former
            # one: clients with Go's types send zeros there, which nobody is to judge.
            new = _less_status(new) | ({"status": old["status"]} if old is not None and "status" in old else {})
        if old is not None and (faults := _misshapen(kind, old)):
            raise BadRequest(f"request.oldObject is no {kind.kind}: {faults[0].field}: {faults[0].message}")
        named = (new or old or {}).get("metadata", {}).get("name")
        user = asked.user
        return AdmissionRequest(
            cast(Literal["CREATE", "UPDATE", "DELETE"], asked.operation),
            kind,
            asked.namespace,
            asked.name or str(named or ""),
            new,
            old,
            SYSTEM if self.is_ours(user) else user,
            self.reader,
            subresource=asked.subresource,
            dry_run=asked.dry_run,
        )


def _stored(kind: Kind, obj: Object) -> Object:
    """``obj`` in the stored version, of the shape that rules rely on. Raises BadRequest where it has another."""
    if not kind.core:
        # A copy, since rules complete it in place. Encoding refuses what is nested too deeply for what follows.
        obj = orjson.loads(orjson.dumps(convert(obj, kind.api_version)))
    meta = obj.get("metadata")
    faults = type_faults(meta) if isinstance(meta, dict) else [Cause("metadata", "Required value")]
    if faults:
        raise BadRequest(f"request holds no {kind.kind}: {faults[0].field}: {faults[0].message}")
    return obj


def _less_status(obj: Object) -> Object:
    return {name: value for name, value in obj.items() if name != "status"}


def _misshapen(kind: Kind, old: Object) -> list[Cause]:
    """Where the former object has values of other types than the schema says, which no API server has stored."""
    if kind.core:
        return []
    return [cause for cause in structural.validate(kind.schema, old) if cause.reason == "FieldValueTypeInvalid"]


def _faults(request: AdmissionRequest) -> list[Cause]:
    """What the API server will refuse, or has refused, by schema and rules: our rules rely on both."""
    kind, new = request.kind, request.new
    if kind.core or new is None or request.subresource:
        return []
    return structural.validate(kind.schema, new) or structural.check_rules(kind, new, request.old)


def _refusal(request: AdmissionRequest, judged: AdmissionResponse) -> HyperdError | None:
    kind = request.kind
    if judged.forbidden:
        return Forbidden(judged.forbidden, kind=kind.plural, group=kind.group, name=request.name)
    return _invalid(request, judged.causes) if judged.causes else None


def _incomplete(request: AdmissionRequest, came: Object | None, completed: Object | None) -> HyperdError | None:
    """What is wrong if something that ``mutate`` fills in is missing: its source changed, or it was taken out."""
    if came is None or completed is None or not (lacking := difference(came, completed)):
        return None
    kind, paths = (
        request.kind,
        ", ".join(sorted({operation["path"][1:].replace("/", ".") for operation in lacking})),
    )
    return ServiceUnavailable(
        f'{kind.kind} "{request.name}" lacks what hyperd fills in ({paths}): what it depends on has just changed. '
        "Try again.",
        retry_after_seconds=1,
    )


def _invalid(request: AdmissionRequest, causes: list[Cause]) -> HyperdError:
    return structural.invalid(request.kind, request.name, causes)


@dataclass(frozen=True)
class _Asked:
    """An AdmissionReview's request, read with care: it may come from anybody."""

    uid: str
    group: str
    kind: str
    subresource: str
    name: str
    namespace: str
    operation: str
    user: User
    object: Object
    old: Object
    dry_run: bool

    @classmethod
    def of(cls, review: Object) -> _Asked:
        if review.get("apiVersion") != API_VERSION or review.get("kind") != KIND:
            raise BadRequest(f"the body must be an {KIND} of {API_VERSION}")
        request = review.get("request")
        if not isinstance(request, dict):
            raise BadRequest(f"the {KIND} has no request")
        kind, info = _object(request, "kind"), _object(request, "userInfo")
        groups = info.get("groups") or ()
        if not isinstance(groups, list | tuple) or not all(isinstance(group, str) for group in groups):
            raise BadRequest("request.userInfo.groups must be a list of strings")
        return cls(
            uid=_text(request, "uid"),
            group=_text(kind, "group"),
            kind=_text(kind, "kind"),
            subresource=_text(request, "subResource"),
            name=_text(request, "name"),
            namespace=_text(request, "namespace"),
            operation=_text(request, "operation"),
            user=User(_text(info, "username"), tuple(groups), uid=_text(info, "uid"), extra=_extra(info)),
            object=_object(request, "object"),
            old=_object(request, "oldObject"),
            dry_run=request.get("dryRun") is True,
        )

    def allow(self, warnings: list[str] | None = None, *, patch: list[Any] | None = None) -> Object:
        response: Object = {"uid": self.uid, "allowed": True}
        if patch:
            response |= {"patchType": "JSONPatch", "patch": base64.b64encode(orjson.dumps(patch)).decode()}
        return _answer(response, warnings)

    def deny(self, error: HyperdError, warnings: list[str] | None = None) -> Object:
        return _answer({"uid": self.uid, "allowed": False, "status": error.status()}, warnings)


def _answer(response: Object, warnings: list[str] | None) -> Object:
    if warnings:
        response["warnings"] = warnings
    return {"apiVersion": API_VERSION, "kind": KIND, "response": response}


def _extra(info: Object) -> tuple[tuple[str, tuple[str, ...]], ...]:
    extra = _object(info, "extra")
    if not all(isinstance(values, list) and all(isinstance(v, str) for v in values) for values in extra.values()):
        raise BadRequest("request.userInfo.extra must be lists of strings by key")
    return tuple((key, tuple(values)) for key, values in sorted(extra.items()))


def _object(parent: Object, name: str) -> Object:
    value = parent.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadRequest(f"request.{name} must be an object")
    return value


def _text(parent: Object, name: str) -> str:
    value = parent.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadRequest(f"{name} must be a string")
    return value
