"""What somebody who may read but not edit sees: neither secrets nor user data, in no form."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from hyperd.api.access.redaction import Redaction
from hyperd.api.access.rules import RoleAuthorizer
from hyperd.resources.all import KINDS
from hyperd.resources.kinds.virtual_machine_class import used_by
from hyperd.resources.schema.hidden import without_credentials
from hyperd.resources.schema.kind import Kind, Object
from hyperd.resources.values.names import GROUP as OUR_GROUP
from hyperd.resources.values.names import SYSTEM_NAMESPACE
from hyperd.roles import NAMESPACES_EXTRA, Role
from hyperd.store.interface import Item, User
from tests.unit.api.conftest import GROUP, Api, machine
from tests.unit.api.test_identity import bearer, token

USER_DATA = "canary-user-data"
PASSWORD = "canary-password"
MACHINES = f"{GROUP}/namespaces/default/virtualmachines"
IMAGES = f"{GROUP}/namespaces/default/virtualimages"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
METADATA = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"


def secretive_machine(name: str) -> Object:
    obj = machine(name)
    obj["spec"]["provisioning"] = {"type": "UserData", "userData": f"#cloud-config\n# {USER_DATA}"}
    applied = json.dumps(obj)
    obj["metadata"]["annotations"] = {
        "kubectl.kubernetes.io/last-applied-configuration": applied,
        "note": "for everybody",
    }
    return obj


def secretive_image(name: str) -> Object:
    return {
        "kind": "VirtualImage",
        "apiVersion": "virtualization.deckhouse.io/v1alpha2",
        "metadata": {"name": name},
        "spec": {
            "storage": "ContainerRegistry",
            "dataSource": {
                "type": "HTTP",
                "http": {"url": f"https://me:{PASSWORD}@example.org/a.img?k={PASSWORD}"},
            },
        },
    }


@pytest.fixture
async def viewer(api: Api) -> dict[str, str]:
    assert (await api.call("POST", MACHINES, secretive_machine("web")))[0] == 201
    assert (await api.call("POST", IMAGES, secretive_image("os")))[0] == 201
    return bearer(await token(api, "eve", Role.VIEWER, "default"))


@pytest.mark.parametrize("path", [f"{MACHINES}/web", MACHINES, f"{MACHINES}/web/status", f"{IMAGES}/os", IMAGES])
@pytest.mark.parametrize("accept", ["application/json", "application/yaml", TABLE, METADATA])
async def test_no_form_of_answer_shows_it(api: Api, viewer: dict[str, str], path: str, accept: str) -> None:
    url = f"http://h{path}?includeObject=Object"
    async with api.client.get(url, headers={**viewer, "Accept": accept}) as response:
        text = await response.text()
        if response.status == 200:
            assert USER_DATA not in text
            assert PASSWORD not in text
            assert "for everybody" in text or "virtualimages" in path
    async with api.client.get(url, headers={"Accept": accept}) as response:
        text = await response.text()
        assert (
            (response.status != 200) or (USER_DATA in text) or (PASSWORD in text) or accept != "application/json"
        )


async def test_the_rest_of_the_object_is_shown(api: Api, viewer: dict[str, str]) -> None:
    _, seen = await api.call("GET", f"{MACHINES}/web", headers=viewer)
    _, whole = await api.call("GET", f"{MACHINES}/web")
    assert seen["spec"].pop("provisioning") == {"type": "UserData", "userData": "<hidden>"}
    assert seen["metadata"]["annotations"] == {"note": "for everybody"}
    del whole["spec"]["provisioning"], whole["metadata"]["annotations"], seen["metadata"]["annotations"]
    assert seen == whole
    _, image = await api.call("GET", f"{IMAGES}/os", headers=viewer)
    assert image["spec"]["dataSource"]["http"]["url"] == "https://example.org/a.img"


async def test_watches_are_covered_from_the_first_event_to_the_last(api: Api, viewer: dict[str, str]) -> None:
    async def events(headers: dict[str, str]) -> str:
        url = f"http://h{MACHINES}?watch=true&timeoutSeconds=1&allowWatchBookmarks=true"
        async with api.client.get(url, headers=headers) as response:
            assert response.status == 200
            await api.call("DELETE", f"{MACHINES}/new")
            await api.call("POST", MACHINES, secretive_machine("new"))
            return await response.text()

    seen = await events(viewer)
    assert USER_DATA not in seen
    assert {json.loads(line)["type"] for line in seen.splitlines()} >= {"ADDED", "BOOKMARK"}
    assert USER_DATA in await events({})


async def test_editors_see_all_but_the_tokens(api: Api) -> None:
    await api.call("POST", MACHINES, secretive_machine("web"))
    secret = {"metadata": {"name": "mine"}, "stringData": {"key": PASSWORD}}
    await api.call("POST", "/api/v1/namespaces/default/secrets", secret)
    headers = bearer(await token(api, "ed", Role.EDITOR))
    assert USER_DATA in str(await api.call("GET", MACHINES, headers=headers))
    _, listed = await api.call("GET", "/api/v1/secrets", headers=headers)
    data = {item["metadata"]["name"]: item["data"] for item in listed["items"]}
    assert data["mine"]["key"]
    assert "ed" not in data


async def test_an_upload_address_is_a_secret(api: Api, viewer: dict[str, str]) -> None:
    _, image = await api.call("GET", f"{IMAGES}/os")
    image["status"] = {"imageUploadURLs": {"external": f"https://h/upload/{PASSWORD}"}, "uploadCommand": PASSWORD}
    status, answer = await api.call("PUT", f"{IMAGES}/os/status", image)
    assert status == 200, answer
    _, seen = await api.call("GET", f"{IMAGES}/os", headers=viewer)
    assert seen["status"]["imageUploadURLs"] == {"external": "<hidden>"}
    assert PASSWORD not in str(seen)


async def test_a_class_that_is_to_go_names_its_users_to_those_who_may_end_it(
    api: Api, viewer: dict[str, str]
) -> None:
    path = f"{GROUP}/virtualmachineclasses"
    body = {"metadata": {"name": "old", "finalizers": ["a.b/c"]}, "spec": {"cpu": {"type": "Host"}}}
    status, class_ = await api.call("POST", path, body)
    assert status == 201, class_
    now = "2026-01-01T00:00:00Z"
    held = {"type": "InUse", "status": "True", "reason": "VirtualMachineClassInUse", "lastTransitionTime": now}
    class_["status"] = {"conditions": [{**held, "message": used_by(["shop/web", "lab/x"])}]}
    status, answer = await api.call("PUT", f"{path}/old/status", class_)
    assert status == 200, answer
    for headers, message in (
        (None, "Used by 2 virtual machines: lab/x, shop/web."),
        (viewer, "Used by 2 virtual machines."),
    ):
        _, seen = await api.call("GET", f"{path}/old", headers=headers)
        assert seen["status"]["conditions"][0]["message"] == message


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://example.org/a?b", "https://example.org/a"),
        ("http://u:p@[::1]:80/a#f", "http://[::1]:80/a"),
        ("http://u:p@q@host/", "http://host/"),
        ("http://[", "<hidden>"),
    ],
)
def test_urls_lose_their_credentials(url: Any, shown: str) -> None:
    assert without_credentials(url) == shown


def leading_elsewhere(path: str, namespace: str) -> Any:
    """A value at ``path`` that leads into ``namespace``."""
    if path == "status.usedInNamespaces":
        return [namespace]
    return {"kind": "VirtualImage", "namespace": namespace, "name": f"canary-in-{namespace}"}


ELSEWHERE = [(kind, path) for kind in KINDS.served() if kind.elsewhere for path in kind.elsewhere]


@pytest.mark.parametrize(("kind", "path"), ELSEWHERE, ids=[f"{kind.plural}-{path}" for kind, path in ELSEWHERE])
@pytest.mark.parametrize(
    ("role", "namespaces", "hidden", "shown"),
    [
        (Role.EDITOR, ("shop",), ("other", SYSTEM_NAMESPACE), ("shop",)),
        (Role.EDITOR, (), (SYSTEM_NAMESPACE,), ("shop", "other")),
        (Role.ADMIN, (), (), ("shop", "other", SYSTEM_NAMESPACE)),
    ],
)
async def test_what_is_the_clusters_leads_into_no_namespace_that_one_may_not_see(
    kind: Kind, path: str, role: Role, namespaces: tuple[str, ...], hidden: tuple[str, ...], shown: tuple[str, ...]
) -> None:
    limits = ((NAMESPACES_EXTRA, namespaces),) if namespaces else ()
    user = User("eve", (role.group, "system:authenticated"), extra=limits)
    items: list[Item] = []
    for namespace in (*hidden, *shown):
        outer, inner = path.rsplit(".", 1)
        value: Object = {inner: leading_elsewhere(path, namespace)}
        for part in reversed(outer.split(".")):
            value = {part: value}
        fields: list[Object] = (
            [{"fieldsV1": {"f:status": {f'v:"{namespace}"': {}}}}] if inner == "usedInNamespaces" else []
        )
        obj: Object = {"metadata": {"name": f"n{len(items)}", "managedFields": fields}, **value}
        if inner != "usedInNamespaces":
            told = {"type": "Ready", "message": f'Secret "pull" does not exist in namespace "{namespace}".'}
            obj.setdefault("status", {})["conditions"] = [told]
        items.append(
            Item(orjson.dumps(obj), namespace="", name=obj["metadata"]["name"], uid="u", resource_version="1")
        )
    redaction = Redaction(RoleAuthorizer(KINDS), user, kind)
    one_by_one = [await redaction.over(item) for item in items]
    for seen in (
        one_by_one,
        await redaction.over_all(items),
        (await redaction.over_all(items * 60))[-len(items) :],
    ):
        texts = [item.raw.decode() for item in seen]
        for namespace, text in zip((*hidden, *shown), texts, strict=True):
            assert (namespace in text) == (namespace in shown)


def test_every_reference_of_the_clusters_kinds_into_a_namespace_is_known() -> None:
    def references(schema: Object, path: str) -> Iterator[str]:
        properties: Object = schema.get("properties") or {}
        if "namespace" in properties or path.endswith("Namespaces"):
            yield path
        for name, child in properties.items():
            yield from references(child, f"{path}.{name}".lstrip("."))

    for kind in KINDS.served():
        if not kind.namespaced and kind.group == OUR_GROUP:
            found = {path for path in references(kind.schema, "") if not path.startswith("metadata")}
            assert found == set(kind.elsewhere), kind.plural


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
async def test_the_content_of_disks_is_for_editors(api: Api, role: Role) -> None:
    """A disk has its guest's secrets: who may read the object has no right to what it holds."""
    base = "/apis/subresources.virtualization.deckhouse.io/v1alpha2"
    reader = bearer(await token(api, "reader", role))
    editor = bearer(await token(api, "editor", Role.EDITOR, "default"))
    for plural in ("virtualdisks", "virtualdisksnapshots", "virtualimages"):
        path = f"{base}/namespaces/{{}}/{plural}/a/export"
        assert (await api.call("GET", path.format("default"), headers=reader))[0] == 403
        # Allowed: nothing serves it here.
        assert (await api.call("GET", path.format("default"), headers=editor))[0] == 501
        assert (await api.call("GET", path.format("other"), headers=editor))[0] == 403
    path = f"{base}/clustervirtualimages/a/export"
    assert (await api.call("GET", path, headers=editor))[0] == 403
    assert (await api.call("GET", path))[0] == 501
