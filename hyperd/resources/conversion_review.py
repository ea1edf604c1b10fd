"""Conversion as a cluster's API server asks for it: ConversionReview objects around ``convert``."""

from __future__ import annotations

from typing import Final

import orjson

from hyperd.errors import BadRequest
from hyperd.offload import Answer, Options
from hyperd.resources.conversion import convert
from hyperd.resources.schema.kind import Object

API_VERSION = "apiextensions.k8s.io/v1"
KIND = "ConversionReview"


def answer(review: Object) -> Object:
    """``review`` answered: all objects in the version it asks for, in their order, or why not.

    Raises BadRequest when ``review`` is no ConversionReview.
    """
    if review.get("apiVersion") != API_VERSION or review.get("kind") != KIND:
        raise BadRequest(f"the body must be a {KIND} of {API_VERSION}")
    request = review.get("request")
    if not isinstance(request, dict) or not isinstance(request.get("uid"), str):
        raise BadRequest(f"the {KIND} has no request with a uid")
    wanted, objects = request.get("desiredAPIVersion"), request.get("objects")
    if not isinstance(wanted, str) or not isinstance(objects, list):
        raise BadRequest("request needs desiredAPIVersion, a string, and objects, a list")
    response: Object = {"uid": request["uid"], "convertedObjects": [], "result": {"status": "Success"}}
    try:
        for obj in objects:
            if not isinstance(obj, dict):
                raise BadRequest("each of request.objects must be an object")
            response["convertedObjects"].append(convert(obj, wanted))
    except BadRequest as err:
        response |= {"convertedObjects": [], "result": err.status()}
    return {"apiVersion": API_VERSION, "kind": KIND, "response": response}


def answered(options: Options, body: bytes) -> Answer:
    """For ``Offload``: the answer to the review in ``body``. Raises BadRequest."""
    try:
        review = orjson.loads(body)
    except orjson.JSONDecodeError as err:
        raise BadRequest(f"the body is not valid JSON: {err}") from err
    if not isinstance(review, dict):
        raise BadRequest("the body must be an object")
    return {}, (orjson.dumps(answer(review)),)


def warm() -> None:
    """Load what the functions load when they first run: later the process cannot read files."""


OFFLOADED: Final = (answered,)
