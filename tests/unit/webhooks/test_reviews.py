"""Reviews are answered as an API server wants them, whoever asks and whatever they send."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import copy
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperd.admission import review
from hyperd.admission.dispatch import FINALIZERS
from hyperd.admission.jsonpatch import difference
from hyperd.admission.question import Question
from hyperd.admission.webhook import AdmissionWebhook
from hyperd.api.serving.evictions import Evictions
from hyperd.api.serving.middleware import Middleware, RequestInfo
from hyperd.api.serving.webhooks import Webhooks
from hyperd.api.wire.metrics import Metrics
from hyperd.errors import BadRequest, ServiceUnavailable
from hyperd.resources.schema.kind import Kind
from hyperd.resources.schema.structural import apply_defaults
from hyperd.store.grammar.patching import json_patch
from hyperd.store.interface import AdmissionRequest, AdmissionResponse
from tests.parts import Part, part
from tests.unit.admission.world import POLICY, World, kind_of, make
from tests.unit.resources import samples

DEFAULT = {"virtualmachineclass.virtualization.deckhouse.io/is-default-class": "true"}
CLASS = make("VirtualMachineClass", "generic", spec={"cpu": {"type": "Host"}}, metadata={"annotations": DEFAULT})
SPEC: Part = {
    "cpu": {"cores": 1},
    "memory": {"size": "1Gi"},
    "blockDeviceRefs": [{"kind": "VirtualDisk", "name": "root"}],
}
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from([0.5, 1.0]) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b/c", "~d", ""]), inner),
    max_leaves=12,
)


def machine(**more: Any) -> Part:
    obj = make("VirtualMachine", "web", spec=copy.deepcopy(SPEC), **more)
    apply_defaults(kind_of(obj).schema, obj)
    return obj


def asked(new: Part | None, old: Part | None = None, **more: Any) -> Part:
    subject = new or old or {}
    group, version = subject["apiVersion"].split("/")
    request = {
        "uid": "u-1",
        "kind": {"group": group, "version": version, "kind": subject["kind"]},
        "operation": "CREATE" if old is None else "UPDATE" if new is not None else "DELETE",
        "name": subject["metadata"].get("name", ""),
        "namespace": subject["metadata"].get("namespace", ""),
        "userInfo": {"username": "alice", "groups": ["system:authenticated"]},
        "object": new,
        "oldObject": old,
        **more,
    }
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}


@dataclass
class Asking:
    """The webhook, asked as over HTTP."""

    own: AdmissionWebhook

    async def mutate(self, review_: Part) -> Part:
        return await self.own.mutate(Question.of(review_))

    async def validate(self, review_: Part) -> Part:
        return await self.own.validate(Question.of(review_))


def webhook(world: World | None = None, *, ours: str = "hyperd") -> Asking:
    async def admit(request: AdmissionRequest) -> AdmissionResponse:
        return await review(request, policy=POLICY)

    return Asking(AdmissionWebhook(admit, world or World([CLASS]), lambda user: user.name == ours))


def patch_of(answer: Part) -> list[Any]:
    response = answer["response"]
    assert response["patchType"] == "JSONPatch"
    patch: list[Any] = json.loads(base64.b64decode(response["patch"]))
    return patch


class Strict(World):
    """A store in which nothing can be asked for without a name."""

    async def find(self, kind: Kind, namespace: str, name: str) -> Any:
        assert name
        return await super().find(kind, namespace, name)


async def test_what_is_lacking_comes_as_a_patch() -> None:
    obj = machine()
    answer = await webhook().mutate(asked(obj))
    assert (answer["response"]["uid"], answer["response"]["allowed"]) == ("u-1", True)
    completed = json_patch(obj, patch_of(answer))
    assert completed["spec"]["virtualMachineClassName"] == "generic"
    assert completed["spec"]["cpu"]["coreFraction"] == "100%"
    assert completed["metadata"]["finalizers"] == ["virtualization.deckhouse.io/vm-cleanup"]
    assert "patch" not in (await webhook().mutate(asked(completed)))["response"], "it is complete"


async def test_a_verdict_has_the_status_of_the_embedded_home() -> None:
    obj = machine()
    obj["spec"]["blockDeviceRefs"] *= 2
    completed = json_patch(obj, patch_of(await webhook().mutate(asked(obj))))
    response = (await webhook().validate(asked(completed)))["response"]
    assert response["allowed"] is False
    status = response["status"]
    assert (status["code"], status["reason"]) == (422, "Invalid")
    assert status["details"]["causes"][0]["field"] == "spec.blockDeviceRefs[1]"
    assert "patch" not in response


async def test_warnings_come_with_the_verdict_alone() -> None:
    obj = machine()
    obj["spec"]["provisioning"] = {"type": "UserData", "userData": "hello"}
    assert "warnings" not in (await webhook().mutate(asked(obj)))["response"]
    assert "cloud-init" in (await webhook().validate(asked(obj)))["response"]["warnings"][0]


async def test_hyperds_own_account_is_the_system() -> None:
    new = machine()
    new["metadata"]["labels"] = {"virtualization.deckhouse.io/mine": "1"}
    for name, allowed in (("hyperd", True), ("alice", False)):
        user = {"username": name}
        answer = await webhook().validate(asked(new, machine(), userInfo=user))
        assert answer["response"]["allowed"] is allowed


async def test_another_version_is_judged_and_completed_in_its_own_words() -> None:
    policy = {"cores": {"min": 1, "max": 4}, "coreFractions": ["5%"], "defaultCoreFraction": "20%"}
    obj = make("VirtualMachineClass", "small", spec={"cpu": {"type": "Host"}, "sizingPolicies": [policy]})
    obj["apiVersion"] = "virtualization.deckhouse.io/v1alpha3"
    status = (await webhook().validate(asked(obj)))["response"]["status"]
    assert "20: must be one of coreFractions: 5" in status["message"]
    assert (await webhook().mutate(asked(obj)))["response"]["allowed"] is True


async def test_what_its_schema_refuses_is_the_api_servers_to_refuse() -> None:
    obj = machine()
    obj["spec"]["cpu"] = "many"
    assert (await webhook().mutate(asked(obj)))["response"] == {"uid": "u-1", "allowed": True}
    assert (await webhook().validate(asked(obj)))["response"]["allowed"] is False


async def test_what_an_older_schema_allowed_can_still_be_let_go() -> None:
    old = machine()
    old["spec"]["osType"] = "Amiga"
    new = copy.deepcopy(old)
    new["metadata"]["finalizers"] = []
    assert (await webhook().validate(asked(new, old)))["response"]["allowed"] is True
    new["spec"]["cpu"]["cores"] = 2
    assert (await webhook().validate(asked(new, old)))["response"]["allowed"] is False


async def test_deletions_kinds_without_rules_and_their_parts_are_allowed() -> None:
    assert (await webhook().validate(asked(None, machine())))["response"]["allowed"] is True
    pod = {"apiVersion": "core.example.org/v1", "kind": "Pod", "metadata": {"name": "p"}}
    assert (await webhook().validate(asked(pod)))["response"]["allowed"] is True
    status = asked(machine(), machine(), subResource="status")
    assert (await webhook().validate(status))["response"]["allowed"] is True


async def test_a_reader_that_is_down_is_told_as_such() -> None:
    class Down(World):
        async def find_all(self, kind: Kind, namespace: str | None = None) -> list[Part]:
            raise ServiceUnavailable("The Kubernetes API server cannot be reached.")

    for ask in (webhook(Down()).mutate, webhook(Down()).validate):
        response = (await ask(asked(machine())))["response"]
        assert (response["allowed"], response["status"]["code"]) == (False, 503)


@pytest.mark.parametrize("obj", samples.examples(), ids=lambda obj: f"{obj['kind']}-{obj['metadata']['name']}")
async def test_who_gets_a_name_later_is_completed_all_the_same(obj: Part) -> None:
    """An API server asks for changes before it makes a name of ``generateName``."""
    apply_defaults(kind_of(obj).schema, obj)
    nameless = copy.deepcopy(obj)
    del nameless["metadata"]["name"]
    nameless["metadata"]["generateName"] = "some-"
    answers = [await webhook(Strict([CLASS])).mutate(asked(one)) for one in (obj, nameless)]
    assert [answer["response"]["allowed"] for answer in answers] == [True, True]
    assert answers[0]["response"].get("patch") == answers[1]["response"].get("patch")
    if kind_of(obj) in FINALIZERS:
        completed = json_patch(nameless, patch_of(answers[1]))
        assert FINALIZERS[kind_of(obj)] in completed["metadata"]["finalizers"]


@pytest.mark.parametrize("status", [{"phase": ""}, {"phase": None}, {}, None, [], "", 0, {"conditions": None}])
async def test_whatever_came_as_a_status_is_not_judged(status: Any) -> None:
    """An API server asks before it lets go of it."""
    plain, with_status = machine(), {**machine(), "status": status}
    patches = [patch_of(await webhook().mutate(asked(obj))) for obj in (plain, with_status)]
    assert patches[0] == patches[1]
    complete = {**json_patch(plain, patches[0]), "status": status}
    old = {**complete, "status": {"phase": "Running"}}
    for review_ in (asked(complete), asked(complete, old)):
        assert (await webhook().validate(review_))["response"]["allowed"] is True
        assert "patch" not in (await webhook().mutate(review_))["response"]


async def test_what_is_not_complete_does_not_get_in() -> None:
    """Another webhook took out what ours filled in, or ours was not asked."""
    obj = machine()
    complete = json_patch(obj, patch_of(await webhook().mutate(asked(obj))))
    assert (await webhook().validate(asked(complete)))["response"]["allowed"] is True
    for path in (("metadata", "finalizers"), ("spec", "virtualMachineClassName"), ("spec", "cpu", "coreFraction")):
        part = broken = copy.deepcopy(complete)
        for name in path[:-1]:
            part = part[name]
        del part[path[-1]]
        response = (await webhook().validate(asked(broken)))["response"]
        assert (response["allowed"], response["status"]["code"]) == (False, 503)
        assert path[-1] in response["status"]["message"]


@given(st.dictionaries(st.text(max_size=2), JSON_VALUES), st.dictionaries(st.text(max_size=2), JSON_VALUES))
def test_a_difference_makes_one_of_the_other(before: Part, after: Part) -> None:
    patched = json_patch(copy.deepcopy(before), difference(before, after))
    assert json.dumps(patched, sort_keys=True) == json.dumps(after, sort_keys=True)


# Over HTTP, from anybody.


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    webhooks = Webhooks(webhook().own, Evictions(part(World())), max_body_bytes=1 << 16)

    async def answer(request: web.BaseRequest, request_id: str, seen: RequestInfo) -> web.StreamResponse:
        return await webhooks.answer(request, request.path, request_id)

    runner = web.ServerRunner(web.Server(Middleware(answer, Metrics(()))))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    async with aiohttp.ClientSession(f"http://{host}:{port}") as session:
        yield session
    await runner.cleanup()


def conversion(*objects: Any, version: Any = "virtualization.deckhouse.io/v1alpha3") -> Part:
    request = {"uid": "u-2", "desiredAPIVersion": version, "objects": list(objects)}
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "request": request}


async def post(client: aiohttp.ClientSession, path: str, body: Any, **kwargs: Any) -> tuple[int, Any]:
    sent = {"data": body} if isinstance(body, bytes) else {"json": body}
    headers = kwargs.pop("headers", {"Content-Type": "application/json"})
    async with client.post(path, headers=headers, **sent) as answer:
        return answer.status, await answer.json()


async def test_objects_come_back_in_the_version_asked_for(client: aiohttp.ClientSession) -> None:
    status, answer = await post(client, "/convert", conversion(CLASS, CLASS))
    response = answer["response"]
    assert (status, response["uid"], response["result"]["status"]) == (200, "u-2", "Success")
    assert [obj["apiVersion"].rpartition("/")[2] for obj in response["convertedObjects"]] == ["v1alpha3"] * 2


@pytest.mark.parametrize("objects", [[machine()], [{}], ["text"], [CLASS, {"kind": "Nothing"}]])
async def test_what_cannot_be_converted_fails_with_a_sentence(
    client: aiohttp.ClientSession, objects: list[Any]
) -> None:
    status, answer = await post(client, "/convert", conversion(*objects))
    assert status == 200
    assert (answer["response"]["result"]["status"], answer["response"]["convertedObjects"]) == ("Failure", [])
    assert answer["response"]["result"]["message"]


@pytest.mark.parametrize("path", ["/mutate", "/validate", "/convert"])
@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b"{}", 400),
        (b'{"request":' * 2000 + b"1" + b"}" * 2000, 400),
        (b'"' + b"x" * (1 << 19) + b'"', 413),
        ({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}, 400),
        ({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "request": {"uid": 1}}, 400),
    ],
    ids=["empty", "broken", "list", "nothing", "deep", "large", "bare-admission", "bare-conversion"],
)
async def test_what_is_no_review_is_refused(
    client: aiohttp.ClientSession, path: str, body: Any, code: int
) -> None:
    status, said = await post(client, path, body)
    assert (status, said["kind"]) == (code, "Status")


async def test_other_methods_and_types_are_refused(client: aiohttp.ClientSession) -> None:
    async with client.get("/validate") as answer:
        assert answer.status == 405
    status, _ = await post(client, "/validate", b"a: b", headers={"Content-Type": "application/yaml"})
    assert status == 415


async def test_a_deep_object_is_refused_and_not_a_defect(client: aiohttp.ClientSession) -> None:
    deep: Any = 1
    for _ in range(500):
        deep = {"a": deep}
    obj = machine()
    obj["metadata"]["annotations"] = deep
    for path, body in (("/mutate", asked(obj)), ("/validate", asked(obj)), ("/convert", conversion(CLASS | deep))):
        status, _ = await post(client, path, body)
        assert status == 400


def strew(obj: Part, path: str, value: Any) -> None:
    """Put ``value`` somewhere in ``obj``."""
    *way, last = path.split(".")
    for name in way:
        obj = obj[name]
    obj[last] = value


PATHS = st.sampled_from([
    "apiVersion", "metadata", "metadata.annotations", "metadata.deletionTimestamp", "metadata.finalizers",
    "metadata.labels", "metadata.name", "spec", "spec.blockDeviceRefs", "spec.cpu", "spec.cpu.cores",
    "spec.memory", "spec.memory.size", "spec.networks", "spec.osType", "spec.provisioning",
    "spec.virtualMachineClassName", "status",
])  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(PATHS, JSON_VALUES, st.booleans())
def test_no_object_is_a_defect(path: str, value: Any, former: bool) -> None:
    body = asked(machine(), machine())
    strew(body["request"]["oldObject" if former else "object"], path, value)
    with contextlib.suppress(BadRequest):
        answer = asyncio.run(webhook().validate(body))
        assert isinstance(answer["response"]["allowed"], bool)
        assert asyncio.run(webhook().mutate(body))["response"]["allowed"] is True
