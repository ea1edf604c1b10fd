"""What an AdmissionReview asks, understood and judged by schema and rules: without waiting.

The functions are pure, so that they can run beside the event loop where a review is large: whoever connects may
ask, and nothing but ``MAX_VALUES`` bounds what an object holds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast

import orjson

from hyperd.errors import BadRequest, Cause
from hyperd.offload import Answer
from hyperd.resources.all import KINDS
from hyperd.resources.conversion import convert
from hyperd.resources.core import scale
from hyperd.resources.schema import structural
from hyperd.resources.schema.kind import AnyObject, Kind, Object
from hyperd.resources.schema.metadata import type_faults
from hyperd.resources.values.limits import check_values
from hyperd.store.interface import SYSTEM, AdmissionRequest, Reader, User

API_VERSION = "admission.k8s.io/v1"
KIND = "AdmissionReview"


@dataclass(frozen=True)
class Asked:
    """An AdmissionReview's request, read with care: it may come from anybody."""

    uid: str
    group: str
    kind: str
    subresource: str
    resource: tuple[str, str]
    """Group and plural of what the request is about, whatever kind its object is of."""
    name: str
    namespace: str
    operation: str
    user: User
    object: Object
    old: Object
    dry_run: bool

    @classmethod
    def of(cls, review: AnyObject) -> Asked:
        if review.get("apiVersion") != API_VERSION or review.get("kind") != KIND:
            raise BadRequest(f"the body must be an {KIND} of {API_VERSION}")
        request = review.get("request")
        if not isinstance(request, dict):
            raise BadRequest(f"the {KIND} has no request")
        kind, info = _object(request, "kind"), _object(request, "userInfo")
        resource = _object(request, "resource")
        groups = info.get("groups") or ()
        if not isinstance(groups, list | tuple) or not all(isinstance(group, str) for group in groups):
            raise BadRequest("request.userInfo.groups must be a list of strings")
        return cls(
            uid=_text(request, "uid"),
            group=_text(kind, "group"),
            kind=_text(kind, "kind"),
            subresource=_text(request, "subResource"),
            resource=(_text(resource, "group"), _text(resource, "resource")),
            name=_text(request, "name"),
            namespace=_text(request, "namespace"),
            operation=_text(request, "operation"),
            user=User(_text(info, "username"), tuple(groups), uid=_text(info, "uid"), extra=_extra(info)),
            object=_object(request, "object"),
            old=_object(request, "oldObject"),
            dry_run=request.get("dryRun") is True,
        )

    @property
    def scales(self) -> bool:
        """Whether the objects are Scales of what the request is about."""
        of = (self.group, self.kind)
        return self.subresource == scale.SUBRESOURCE and of == (scale.SCALE.group, scale.SCALE.kind)

    @property
    def about(self) -> Kind | None:
        """The kind in the stored version; None where there is nothing to judge."""
        kind = KINDS.by_resource(*self.resource) if self.scales else KINDS.by_kind(self.group, self.kind)
        return kind if self.operation in ("CREATE", "UPDATE", "DELETE") else None


@dataclass(frozen=True)
class Question:
    """``asked``, and the objects as the rules want them, in the stored version."""

    asked: Asked
    new: Object | None
    old: Object | None
    faults: list[Cause]
    """What the API server will refuse, or has refused, by schema and rules: our rules rely on both."""

    @classmethod
    def of(cls, review: AnyObject) -> Question:
        """Raises BadRequest when ``review`` is none, RequestEntityTooLarge when its objects are too large."""
        asked = Asked.of(review)
        for obj in (asked.object, asked.old, _less_objects(review)):
            check_values(obj, "the review")
        kind = asked.about
        if kind is None:
            return cls(asked, None, None, [])
        if asked.scales:
            return cls(asked, _counted(asked.object), _counted(asked.old), [])
        new = None if asked.operation == "DELETE" else _stored(kind, asked.object)
        old = None if asked.operation == "CREATE" else _stored(kind, asked.old)
        if new is not None and "status" in kind.subresources and not asked.subresource and not kind.core:
            # An API server asks before it lets go of the status that came with an object, and stores the former
            # one: clients with Go's types send zeros there, which nobody is to judge.
            new = less_status(new) | ({"status": old["status"]} if old is not None and "status" in old else {})
        if old is not None and (faults := _misshapen(kind, old)):
            raise BadRequest(f"request.oldObject is no {kind.kind}: {faults[0].field}: {faults[0].message}")
        return cls(asked, new, old, _faults(kind, new, old, asked.subresource))

    def request(self, reader: Reader, is_ours: Callable[[User], bool]) -> AdmissionRequest | None:
        """For the rules; None where there is nothing to judge. They may complete ``new`` in place."""
        asked, kind = self.asked, self.asked.about
        if kind is None:
            return None
        named = (self.new or self.old or {}).get("metadata", {}).get("name")
        return AdmissionRequest(
            cast(Literal["CREATE", "UPDATE", "DELETE"], asked.operation),
            kind,
            asked.namespace,
            asked.name or str(named or ""),
            self.new,
            self.old,
            SYSTEM if is_ours(asked.user) else asked.user,
            reader,
            subresource=asked.subresource,
            dry_run=asked.dry_run,
        )


def read(options: AnyObject, body: bytes) -> Answer:
    """For ``Offload``: the faults and the two objects of the question in ``body``."""
    question = Question.of(parsed(body))
    faults = [[cause.field, cause.message, cause.reason] for cause in question.faults]
    return {"faults": faults}, (orjson.dumps(question.new), orjson.dumps(question.old))


def reread(words: AnyObject, new: bytes, old: bytes, body: bytes) -> Question:
    """The question that ``read`` has read in another process."""
    asked = Asked.of(orjson.loads(body))
    faults = [Cause(*cause) for cause in words["faults"]]
    return Question(asked, orjson.loads(new), orjson.loads(old), faults)


def parsed(body: bytes) -> Object:
    """A review. Raises BadRequest."""
    try:
        review = orjson.loads(body)
    except orjson.JSONDecodeError as err:
        raise BadRequest(f"the body is not valid JSON: {err}") from err
    if not isinstance(review, dict):
        raise BadRequest("the body must be an object")
    return review


def warm() -> None:
    """Load what the functions load when they first run: later the process cannot read files."""


OFFLOADED = (read,)


def _less_objects(review: AnyObject) -> Object:
    """What the review holds beside the objects."""
    request = {name: value for name, value in review["request"].items() if name not in ("object", "oldObject")}
    return {**review, "request": request}


def less_status(obj: Object) -> Object:
    """``obj`` but for its status."""
    return {name: value for name, value in obj.items() if name != "status"}


def _counted(obj: Object) -> Object:
    """A Scale, as far as rules look at it. Raises BadRequest where it is none."""
    if faults := structural.validate(scale.SCALE.schema, obj):
        raise BadRequest(f"request holds no {scale.SCALE.kind}: {faults[0].field}: {faults[0].message}")
    return {"metadata": {}, "spec": {"replicas": (obj.get("spec") or {}).get("replicas") or 0}}


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


def _misshapen(kind: Kind, old: Object) -> list[Cause]:
    """Where the former object has values of other types than the schema says, which no API server has stored."""
    if kind.core:
        return []
    return [cause for cause in structural.validate(kind.schema, old) if cause.reason == "FieldValueTypeInvalid"]


def _faults(kind: Kind, new: Object | None, old: Object | None, subresource: str) -> list[Cause]:
    if kind.core or new is None or subresource:
        return []
    return structural.validate(kind.schema, new) or structural.check_rules(kind, new, old)


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
