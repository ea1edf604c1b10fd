"""Bad input is refused at once, in a sentence, and nothing is written."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from hyperd.resources.schema.kind import Object
from tests.unit.api.conftest import GROUP, Api, config_map, machine

MAPS = "/api/v1/namespaces/default/configmaps"
VMS = f"{GROUP}/namespaces/default/virtualmachines"
SECRETS = "/api/v1/namespaces/default/secrets"
EVENTS = "/api/v1/namespaces/default/events"
DISKS = f"{GROUP}/namespaces/default/virtualdisks"
DISK: Object = {
    "metadata": {"name": "kept"},
    "spec": {"dataSource": {"type": "ObjectRef", "objectRef": {"kind": "VirtualImage", "name": "debian"}}},
}


def _spec(**changes: Any) -> Object:
    body = machine("a")
    body["spec"] |= changes
    return body


APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
BAD: list[tuple[str, str, str, Any, str, int, str]] = [
    (
        "unknown field",
        "POST",
        f"{VMS}?fieldValidation=Strict",
        machine("a") | {"spce": 1},
        "",
        400,
        'unknown field "spce"',
    ),
    (
        "duplicate field",
        "POST",
        f"{VMS}?fieldValidation=Strict",
        b'{"spec":{"cpu":1,"cpu":2}}',
        "",
        400,
        'duplicate field "spec.cpu"',
    ),
    ("no body", "POST", MAPS, b"", "", 400, "needs a body"),
    ("array", "POST", MAPS, b"[]", "", 400, "must be an object, not an array"),
    ("broken JSON", "POST", MAPS, b'{"metadata":', "", 400, "not valid JSON"),
    ("too large", "POST", MAPS, b'{"x":"' + b"a" * (3 << 20) + b'"}', "", 413, "larger than the limit"),
    ("wrong type", "POST", MAPS, b"<html>", "text/html", 415, "text/html"),
    (
        "wrong kind",
        "POST",
        MAPS,
        {"kind": "Secret", "metadata": {"name": "a"}},
        "",
        400,
        "the kind in the data (Secret)",
    ),
    (
        "wrong version",
        "POST",
        MAPS,
        {"apiVersion": "v2", "metadata": {"name": "a"}},
        "",
        400,
        "the API version in the data (v2)",
    ),
    (
        "wrong namespace",
        "POST",
        MAPS,
        {"metadata": {"name": "a", "namespace": "b"}},
        "",
        400,
        "does not match the namespace",
    ),
    ("wrong name", "PUT", f"{MAPS}/kept", config_map("b"), "", 400, "does not match the name on the URL"),
    ("no metadata", "POST", MAPS, {"metadata": []}, "", 400, "metadata: must be an object"),
    ("no name", "POST", MAPS, {"metadata": {}}, "", 422, "name"),
    ("bad name", "POST", MAPS, config_map("Not_a_name"), "", 422, "metadata.name"),
    ("name of a number", "POST", MAPS, {"metadata": {"name": 1}}, "", 400, "metadata.name: must be a string"),
    (
        "a list as data",
        "POST",
        MAPS,
        config_map("a") | {"data": [1]},
        "",
        400,
        "data: Invalid value: must be of type",
    ),
    ("a number in data", "POST", MAPS, config_map("a") | {"data": {"k": 1}}, "", 400, "data.k: Invalid value"),
    ("no base64", "POST", SECRETS, {"metadata": {"name": "a"}, "data": {"k": "?"}}, "", 400, "illegal base64"),
    (
        "an event of no object",
        "POST",
        EVENTS,
        {"metadata": {"name": "a"}, "involvedObject": 3},
        "",
        400,
        "involvedObject: Invalid value: must be of type object",
    ),
    (
        "an event of no time",
        "POST",
        EVENTS,
        {"metadata": {"name": "a"}, "lastTimestamp": "x"},
        "",
        400,
        "lastTimestamp: Invalid value: must be of type date-time",
    ),
    (
        "an owner of no text",
        "POST",
        MAPS,
        {"metadata": {"name": "a", "ownerReferences": [{"uid": {}}]}},
        "",
        400,
        "metadata.ownerReferences[0].uid: Invalid value: must be of type string",
    ),
    (
        "a patch to a wrong type",
        "PATCH",
        f"{MAPS}/kept",
        b'{"data":{"k":{}}}',
        MERGE,
        422,
        "data.k: Invalid value: must be of type string",
    ),
    (
        "a static address that is missing",
        "POST",
        f"{GROUP}/namespaces/default/virtualmachineipaddresses",
        {"metadata": {"name": "a"}, "spec": {"type": "Static"}},
        "",
        422,
        "type Static requires staticIP",
    ),
    ("wrong field type", "POST", VMS, machine("a") | {"spec": []}, "", 422, "spec"),
    ("unknown dry run", "POST", f"{MAPS}?dryRun=Some", config_map("a"), "", 422, "dryRun"),
    ("unknown validation", "POST", f"{MAPS}?fieldValidation=Some", config_map("a"), "", 422, "fieldValidation"),
    ("merge patch of an array", "PATCH", f"{MAPS}/kept", b"[]", MERGE, 400, "must be an object"),
    (
        "JSON patch of an object",
        "PATCH",
        f"{MAPS}/kept",
        b"{}",
        "application/json-patch+json",
        400,
        "must be an array",
    ),
    (
        "strategic patch of ours",
        "PATCH",
        f"{VMS}/kept",
        b"{}",
        "application/strategic-merge-patch+json",
        415,
        "media types",
    ),
    ("patch of no type", "PATCH", f"{MAPS}/kept", b"{}", "application/json", 415, "media types"),
    ("apply by nobody", "PATCH", f"{VMS}/kept", b"{}", APPLY, 422, "fieldManager: Required value"),
    ("apply of nothing", "PATCH", f"{VMS}/kept?fieldManager=me", b"", APPLY, 400, "invalid object type: /, Kind="),
    ("apply of a list", "PATCH", f"{VMS}/kept?fieldManager=me", b"[1]", APPLY, 400, "must be an object"),
    ("apply of no YAML", "PATCH", f"{VMS}/kept?fieldManager=me", b"{a: [", APPLY, 400, "not valid YAML"),
    (
        "apply by an unprintable manager",
        "PATCH",
        f"{VMS}/kept?fieldManager=%07",
        b"{}",
        APPLY,
        422,
        "invalid characters",
    ),
    (
        "apply as CBOR",
        "PATCH",
        f"{VMS}/kept?fieldManager=me",
        b"x",
        "application/apply-patch+cbor",
        415,
        "media types",
    ),
    (
        "force without apply",
        "PATCH",
        f"{VMS}/kept?force=true",
        b"{}",
        "application/merge-patch+json",
        422,
        "may not be specified for non-apply patch",
    ),
    (
        "stale version",
        "PUT",
        f"{MAPS}/kept",
        {"metadata": {"name": "kept", "resourceVersion": "1"}},
        "",
        409,
        "modified",
    ),
    ("unconditional replace", "PUT", f"{VMS}/kept", machine("kept"), "", 422, "metadata.resourceVersion"),
    (
        "unsupported selector",
        "DELETE",
        f"{MAPS}?fieldSelector=data.k%3Dv",
        b"",
        "",
        400,
        "field label not supported",
    ),
    ("broken selector", "DELETE", f"{MAPS}?labelSelector=a%3Db%3Dc", b"", "", 400, "unable to parse requirement"),
    ("delete with an object", "DELETE", f"{MAPS}/kept", config_map("kept"), "", 400, "must be DeleteOptions"),
    (
        "delete of another",
        "DELETE",
        f"{MAPS}/kept",
        {"preconditions": {"uid": "x"}},
        "",
        409,
        "Precondition failed",
    ),
    (
        "absent namespace",
        "POST",
        MAPS.replace("default", "absent"),
        config_map("a"),
        "",
        404,
        'namespaces "absent" not found',
    ),
    ("odd limit", "GET", f"{MAPS}?limit=many", b"", "", 400, "limit"),
    ("all namespaces at once", "DELETE", "/api/v1/namespaces", b"", "", 405, "does not allow this method"),
]


@pytest.mark.parametrize(
    ("method", "path", "body", "content_type", "status", "words"),
    [case[1:] for case in BAD],
    ids=[c[0] for c in BAD],
)
async def test_bad_input_is_refused_in_words_and_writes_nothing(
    api: Api, method: str, path: str, body: Any, content_type: str, status: int, words: str
) -> None:
    await api.call("POST", MAPS, config_map("kept"))
    await api.call("POST", VMS, machine("kept"))
    await api.call("POST", DISKS, DISK)
    before = await api.version()
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    headers = {"Content-Type": content_type or "application/json"}
    got, answer = await api.call(method, path, data=data, headers=headers)
    assert got == status, answer
    assert answer["kind"] == "Status"
    assert words in answer["message"]
    assert "Traceback" not in answer["message"]
    assert await api.version() == before
