"""Reviews: questions about access, in JSON and in protobuf, and the request that makes a token."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

import pytest

from hyperd.api.wire import protobuf
from hyperd.roles import Role
from tests.unit.api.conftest import GROUP, Api
from tests.unit.api.test_identity import bearer, token

AUTHORIZATION = "/apis/authorization.k8s.io/v1"
AUTHENTICATION = "/apis/authentication.k8s.io/v1"
TOKENS = "/apis/access.hyperd.local/v1alpha1/tokenrequests"
VIRTUALIZATION = "virtualization.deckhouse.io"


async def may(api: Api, headers: dict[str, str], verb: str, resource: str, **more: str) -> bool:
    attributes = {"verb": verb, "resource": resource, "namespace": "default", **more}
    status, review = await api.call(
        "POST",
        f"{AUTHORIZATION}/selfsubjectaccessreviews",
        {"spec": {"resourceAttributes": attributes}},
        headers=headers,
    )
    assert status == 201, review
    return bool(review["status"]["allowed"])


async def test_what_each_role_may(api: Api) -> None:
    may_do: dict[str, set[Role]] = {}
    for role in Role:
        headers = bearer(await token(api, role.value, role))
        for question, arguments in {
            "read machines": ("get", "virtualmachines", VIRTUALIZATION),
            "read secrets": ("get", "secrets", ""),
            "open consoles": ("get", "virtualmachines/console", f"subresources.{VIRTUALIZATION}"),
            "switch machines": ("create", "virtualmachineoperations", VIRTUALIZATION),
            "change operations": ("update", "virtualmachineoperations", VIRTUALIZATION),
            "make machines": ("create", "virtualmachines", VIRTUALIZATION),
            "write status": ("update", "virtualmachines/status", VIRTUALIZATION),
            "write classes": ("update", "virtualmachineclasses", VIRTUALIZATION),
            "write leases": ("update", "leases", "coordination.k8s.io"),
            "make tokens": ("create", "tokenrequests", "access.hyperd.local"),
            "everything": ("*", "*", "*"),
        }.items():
            verb, resource, group = arguments
            name, _, subresource = resource.partition("/")
            if await may(api, headers, verb, name, group=group, subresource=subresource):
                may_do.setdefault(question, set()).add(role)
    viewer, operator, editor, admin = Role
    assert may_do == {
        "read machines": {viewer, operator, editor, admin},
        "read secrets": {editor, admin},
        "open consoles": {operator, editor, admin},
        "switch machines": {operator, editor, admin},
        "change operations": {editor, admin},
        "make machines": {editor, admin},
        "write classes": {admin},
        "write leases": {admin},
        "make tokens": {admin},
        "everything": {admin},
    }


async def test_a_review_agrees_with_what_then_happens(api: Api) -> None:
    headers = bearer(await token(api, "shop", Role.EDITOR, "shop"))
    assert not await may(api, headers, "list", "virtualmachines", group=VIRTUALIZATION)
    assert not await may(api, headers, "list", "virtualmachines", group=VIRTUALIZATION, namespace="")
    assert await may(api, headers, "list", "virtualmachines", group=VIRTUALIZATION, namespace="shop")
    assert (await api.call("GET", f"{GROUP}/namespaces/shop/virtualmachines", headers=headers))[0] == 200
    assert (await api.call("GET", f"{GROUP}/virtualmachines", headers=headers))[0] == 403


async def test_paths_are_reviewed_too(api: Api) -> None:
    headers = bearer(await token(api, "ci", Role.VIEWER, "shop"))
    for path, allowed in (("/apis", True), ("/openapi/v3/apis/x", True), ("/metrics", False)):
        body = {"spec": {"nonResourceAttributes": {"verb": "get", "path": path}}}
        _, review = await api.call("POST", f"{AUTHORIZATION}/selfsubjectaccessreviews", body, headers=headers)
        assert review["status"] == {"allowed": allowed}


async def test_rules_are_listed_for_people(api: Api) -> None:
    headers = bearer(await token(api, "ci", Role.OPERATOR, "shop"))
    path = f"{AUTHORIZATION}/selfsubjectrulesreviews"

    async def rules(namespace: str) -> set[tuple[str, str]]:
        _, review = await api.call("POST", path, {"spec": {"namespace": namespace}}, headers=headers)
        assert review["status"]["incomplete"] is False
        listed = review["status"]["resourceRules"]
        return {(verb, name) for rule in listed for verb in rule["verbs"] for name in rule["resources"]}

    assert ("get", "virtualmachines/console") in await rules("shop")
    assert ("create", "virtualmachines") not in await rules("shop")
    assert ("get", "nodes") not in await rules("shop")
    elsewhere = await rules("default")
    assert ("get", "virtualmachines") not in elsewhere
    assert ("get", "virtualmachineclasses") in elsewhere
    status, _ = await api.call("POST", path, {"spec": {}}, headers=headers)
    assert status == 400


async def test_who_am_i(api: Api) -> None:
    path = f"{AUTHENTICATION}/selfsubjectreviews"
    _, review = await api.call("POST", path, {}, headers=bearer(await token(api, "ci", Role.VIEWER, "shop")))
    info = review["status"]["userInfo"]
    assert info["username"] == "token:ci"
    assert info["groups"] == ["system:authenticated", "hyperd:viewer"]
    assert info["extra"] == {"hyperd.local/namespaces": ["shop"]}
    _, review = await api.call("POST", path, {})
    assert "system:masters" in review["status"]["userInfo"]["groups"]


@pytest.mark.parametrize("accept", ["application/vnd.kubernetes.protobuf", "application/json"])
async def test_go_clients_ask_in_protobuf(api: Api, accept: str) -> None:
    async def ask(path: str, kind: str, group: str, spec: Any = None) -> Any:
        asked = {"kind": kind, "apiVersion": f"{group}/v1", "metadata": {}} | ({"spec": spec} if spec else {})
        headers = {"Content-Type": protobuf.MEDIA_TYPE, "Accept": accept}
        body = protobuf.encode(asked)
        async with api.client.post(f"http://h{path}", data=body, headers=headers) as response:
            assert response.status == 201, await response.text()
            assert response.content_type == accept
            raw = await response.read()
            return protobuf.decode(raw) if accept == protobuf.MEDIA_TYPE else await response.json()

    attributes = {"verb": "get", "resource": "secrets", "namespace": "default"}
    access = await ask(
        f"{AUTHORIZATION}/selfsubjectaccessreviews",
        "SelfSubjectAccessReview",
        "authorization.k8s.io",
        {"resourceAttributes": attributes},
    )
    assert access["status"]["allowed"] is True
    who = await ask(f"{AUTHENTICATION}/selfsubjectreviews", "SelfSubjectReview", "authentication.k8s.io")
    assert who["status"]["userInfo"]["username"].startswith("unix:")


async def test_administrators_ask_about_others(api: Api) -> None:
    spec: dict[str, Any] = {
        "user": "eve",
        "groups": ["hyperd:viewer"],
        "resourceAttributes": {"verb": "get", "resource": "nodes"},
    }
    path = f"{AUTHORIZATION}/subjectaccessreviews"
    _, review = await api.call("POST", path, {"spec": spec})
    assert review["status"]["allowed"] is True
    spec["extra"] = {"hyperd.local/namespaces": ["shop"]}
    _, review = await api.call("POST", path, {"spec": spec})
    assert review["status"]["allowed"] is False
    local = f"{AUTHORIZATION}/namespaces/shop/localsubjectaccessreviews"
    assert (await api.call("POST", local, {"spec": spec}))[0] == 422
    assert (await api.call("POST", path, {"spec": {"user": "eve"}}))[0] == 422
    headers = bearer(await token(api, "ci", Role.EDITOR))
    assert (await api.call("POST", path, {"spec": spec}, headers=headers))[0] == 403


async def test_administrators_ask_whose_a_token_is(api: Api) -> None:
    made = await token(api, "ci", Role.VIEWER)
    path = f"{AUTHENTICATION}/tokenreviews"
    _, review = await api.call("POST", path, {"spec": {"token": made}})
    assert review["status"]["user"]["username"] == "token:ci"
    _, review = await api.call("POST", path, {"spec": {"token": "hyperd.ci.nonsense"}})
    assert "authenticated" not in review["status"]
    assert (await api.call("POST", path, {"spec": {"token": made}}, headers=bearer(made)))[0] == 403


async def test_a_token_is_requested_shown_once_and_works(api: Api) -> None:
    spec = {"role": "editor", "namespaces": ["shop"], "expirationSeconds": 600}
    status, made = await api.call("POST", TOKENS, {"metadata": {"name": "ci"}, "spec": spec})
    assert status == 201
    end = datetime.fromisoformat(made["status"]["expirationTimestamp"]).timestamp()
    assert 590 < end - time.time() <= 600
    headers = bearer(made["status"]["token"])
    assert (await api.call("GET", "/api/v1/namespaces/shop/secrets", headers=headers))[0] == 200
    status, body = await api.call("POST", TOKENS, {"metadata": {"name": "ci"}, "spec": spec})
    assert (status, body["reason"]) == (409, "AlreadyExists")
    _, kept = await api.call("GET", "/api/v1/namespaces/hyperd-system/secrets/ci")
    assert made["status"]["token"] not in str(kept)


async def test_a_rehearsed_token_request_makes_nothing(api: Api) -> None:
    body = {"metadata": {"name": "ci"}, "spec": {"role": "viewer"}}
    status, answer = await api.call("POST", f"{TOKENS}?dryRun=All", body)
    assert status == 201
    assert "token" not in answer["status"]
    assert (await api.call("GET", "/api/v1/namespaces/hyperd-system"))[0] == 404


@pytest.mark.parametrize(
    ("field", "name", "spec"),
    [
        ("metadata.name", "", {"role": "viewer"}),
        ("metadata.name", "../x", {"role": "viewer"}),
        ("spec.role", "ci", {"role": "owner"}),
        ("spec.role", "ci", {}),
        ("spec.namespaces", "ci", {"role": "viewer", "namespaces": "shop"}),
        ("spec.namespaces[1]", "ci", {"role": "viewer", "namespaces": ["a", "B"]}),
        ("spec.namespaces[0]", "ci", {"role": "admin", "namespaces": ["hyperd-system"]}),
        ("spec.expirationSeconds", "ci", {"role": "viewer", "expirationSeconds": 1 << 40}),
        ("spec.expirationSeconds", "ci", {"role": "viewer", "expirationSeconds": True}),
    ],
)
async def test_a_wrong_token_request_names_the_field(api: Api, field: str, name: str, spec: Any) -> None:
    status, body = await api.call("POST", TOKENS, {"metadata": {"name": name}, "spec": spec})
    assert status == 422, body
    assert [cause["field"] for cause in body["details"]["causes"]] == [field]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"kind": "Pod"}, 400),
        ({"spec": []}, 400),
        ({"spec": {}}, 422),
        ({"spec": {"resourceAttributes": {"verb": 1}}}, 400),
        ({"spec": {"resourceAttributes": {"verb": "get"}, "nonResourceAttributes": {"verb": "get"}}}, 422),
    ],
)
async def test_a_malformed_review_is_refused(api: Api, body: Any, status: int) -> None:
    assert (await api.call("POST", f"{AUTHORIZATION}/selfsubjectaccessreviews", body))[0] == status


async def test_reviews_are_discovered_and_only_posted(api: Api) -> None:
    _, found = await api.call("GET", AUTHORIZATION)
    assert {"selfsubjectaccessreviews", "localsubjectaccessreviews"} <= {one["name"] for one in found["resources"]}
    status, _ = await api.call("GET", f"{AUTHORIZATION}/selfsubjectaccessreviews")
    assert status == 405
    _, document = await api.call("GET", "/openapi/v3/apis/access.hyperd.local/v1alpha1")
    assert list(document["paths"]) == [TOKENS]


async def test_operators_switch_machines_but_make_none(api: Api) -> None:
    operations = f"{GROUP}/namespaces/default/virtualmachineoperations"
    clone = {"mode": "Strict", "customization": {"namePrefix": "x-"}}
    operator = bearer(await token(api, "op", Role.OPERATOR))

    async def create(name: str, headers: dict[str, str], **spec: Any) -> tuple[int, Any]:
        body = {"metadata": {"name": name}, "spec": {"virtualMachineName": name, **spec}}
        return await api.call("POST", operations, body, headers=headers)

    assert (await create("web", operator, type="Restart"))[0] == 201
    status, body = await create("db", operator, type="Clone", clone=clone)
    assert (status, body["reason"]) == (403, "Forbidden")
    assert body["message"].endswith(
        f'User "token:op" cannot create resource "virtualmachines" in API group "{VIRTUALIZATION}" '
        'in the namespace "default"'
    )
    editor = bearer(await token(api, "ed", Role.EDITOR, "default"))
    assert (await create("db", editor, type="Clone", clone=clone))[0] == 201
