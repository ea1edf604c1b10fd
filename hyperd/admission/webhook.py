"""Admission as a cluster's API server asks for it: AdmissionReview objects around the very same ``review``.

The API server has pruned and defaulted the object by its schema before it asks for changes, and has checked schema
and CEL rules before it asks for a verdict. So ``mutate`` only completes, and only what is valid; what rules refuse
and what they warn of is ``validate``'s to say. Between the two the world may change, and others change the object:
``validate`` lets through only what is complete, and neither lets through what it could not judge. Nothing here
writes, so a rehearsal (``dryRun``) is answered like a real write.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import NotRequired, TypedDict

import orjson

from hyperd.admission.jsonpatch import Operation, difference
from hyperd.admission.question import API_VERSION, KIND, Asked, Question, less_status
from hyperd.errors import Cause, Forbidden, HyperdError, ServiceUnavailable
from hyperd.offload import is_large
from hyperd.resources.conversion import convert
from hyperd.resources.schema import structural
from hyperd.resources.schema.kind import AnyObject
from hyperd.store.interface import AdmissionRequest, AdmissionResponse, Admit, Reader, User


class Verdict(TypedDict):
    """What an AdmissionReview answers; ``patch`` is a JSON patch in base64, ``status`` says why not."""

    uid: str
    allowed: bool
    patchType: NotRequired[str]
    patch: NotRequired[str]
    status: NotRequired[AnyObject]
    warnings: NotRequired[list[str]]


class Review(TypedDict):
    """An AdmissionReview as the API server gets it back."""

    apiVersion: str
    kind: str
    response: Verdict


@dataclass(frozen=True)
class AdmissionWebhook:
    """Answers AdmissionReviews. ``is_ours`` says whether a controller of ours writes under that account."""

    admit: Admit
    reader: Reader
    is_ours: Callable[[User], bool]

    async def mutate(self, question: Question) -> Review:
        """What the object lacks, as a JSON patch.

        An object that is to get its name from ``generateName`` has none yet.
        """
        asked = question.asked
        request = question.request(self.reader, self.is_ours)
        if request is None or request.new is None or request.subresource or question.faults:
            return allow(asked)
        try:
            judged = await self.admit(request)
        except HyperdError as err:
            # Without its finalizer and its defaults nothing may get in.
            return deny(asked, err)
        if judged.object is None:
            return allow(asked)
        completed = convert(judged.object, str(asked.object.get("apiVersion")))
        # Whatever came as a status is the API server's to let go.
        return allow(asked, patch=await _difference(less_status(asked.object), less_status(completed)))

    async def validate(self, question: Question) -> Review:
        """The verdict, with warnings and causes."""
        asked = question.asked
        request = question.request(self.reader, self.is_ours)
        if request is None:
            return allow(asked)
        if faults := question.faults:
            # What an older schema allowed may stay, as for the API server itself, until the spec is changed.
            same = request.old is not None and (request.new or {}).get("spec") == request.old.get("spec")
            return allow(asked) if same else deny(asked, _invalid(request, faults))
        came = orjson.dumps(request.new)
        try:
            judged = await self.admit(request)
        except HyperdError as err:
            return deny(asked, err)
        error = _refusal(request, judged) or await _incomplete(request, orjson.loads(came), judged.object)
        if error is not None:
            return deny(asked, error, judged.warnings)
        return allow(asked, judged.warnings)


async def _difference(before: AnyObject, after: AnyObject) -> list[Operation]:
    if not is_large(orjson.dumps(before), orjson.dumps(after)):
        return difference(before, after)
    return await asyncio.to_thread(difference, before, after)


def _refusal(request: AdmissionRequest, judged: AdmissionResponse) -> HyperdError | None:
    kind = request.kind
    if judged.forbidden:
        return Forbidden(judged.forbidden, kind=kind.plural, group=kind.group, name=request.name)
    return _invalid(request, judged.causes) if judged.causes else None


async def _incomplete(
    request: AdmissionRequest, came: AnyObject | None, completed: AnyObject | None
) -> HyperdError | None:
    """What is wrong if something that ``mutate`` fills in is missing: its source changed, or it was taken out."""
    if came is None or completed is None or not (lacking := await _difference(came, completed)):
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


def allow(asked: Asked, warnings: list[str] | None = None, *, patch: list[Operation] | None = None) -> Review:
    """Let it pass, as ``patch`` changes it."""
    response: Verdict = {"uid": asked.uid, "allowed": True}
    if patch:
        response["patchType"], response["patch"] = "JSONPatch", base64.b64encode(orjson.dumps(patch)).decode()
    return _answer(response, warnings)


def deny(asked: Asked, error: HyperdError, warnings: list[str] | None = None) -> Review:
    """Refuse it with the code and the words of ``error``."""
    return _answer({"uid": asked.uid, "allowed": False, "status": error.status()}, warnings)


def _answer(response: Verdict, warnings: list[str] | None) -> Review:
    if warnings:
        response["warnings"] = warnings
    return {"apiVersion": API_VERSION, "kind": KIND, "response": response}
