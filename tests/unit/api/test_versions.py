"""VirtualMachineClass as v1alpha3, which spells fractions with a percent sign, over what is stored as v1alpha2."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson

from hyperd.resources.schema.kind import Object
from tests.unit.api.conftest import Api

GROUP = "/apis/virtualization.deckhouse.io"
OLD, NEW = (f"{GROUP}/{version}/virtualmachineclasses" for version in ("v1alpha2", "v1alpha3"))
MERGE = {"Content-Type": "application/merge-patch+json"}


def machine_class(name: str, version: str, *fractions: Any) -> Object:
    policy = {"cores": {"min": 1, "max": 4}, "coreFractions": list(fractions)}
    return {
        "apiVersion": f"virtualization.deckhouse.io/{version}",
        "kind": "VirtualMachineClass",
        "metadata": {"name": name},
        "spec": {"cpu": {"type": "Host"}, "sizingPolicies": [policy]},
    }


def _fractions(obj: Object) -> Any:
    return obj["apiVersion"].rpartition("/")[2], obj["spec"]["sizingPolicies"][0]["coreFractions"]


async def test_an_object_is_written_in_one_version_and_read_in_the_other(api: Api) -> None:
    status, made = await api.call("POST", NEW, machine_class("new", "v1alpha3", "5%", "10%"))
    assert status == 201, made
    assert _fractions(made) == ("v1alpha3", ["5%", "10%"])
    _, old = await api.call("GET", f"{OLD}/new")
    assert _fractions(old) == ("v1alpha2", [5, 10])
    old["spec"]["sizingPolicies"][0]["coreFractions"] = [20]
    assert (await api.call("PUT", f"{OLD}/new", old))[0] == 200
    _, listed = await api.call("GET", f"{NEW}?fieldSelector=metadata.name%3Dnew")
    assert [_fractions(one) for one in listed["items"]] == [("v1alpha3", ["20%"])]
    assert listed["apiVersion"] == "virtualization.deckhouse.io/v1alpha3"
    status, deleted = await api.call("DELETE", f"{NEW}/new")
    assert status == 200, deleted


async def test_patches_and_applies_speak_their_version(api: Api) -> None:
    await api.call("POST", OLD, machine_class("c", "v1alpha2", 5))
    version = await api.version()
    patch = [{"op": "add", "path": "/spec/sizingPolicies/0/coreFractions/-", "value": "50%"}]
    headers = {"Content-Type": "application/json-patch+json"}
    status, patched = await api.call("PATCH", f"{NEW}/c", patch, headers=headers)
    assert (status, _fractions(patched)) == (200, ("v1alpha3", ["5%", "50%"]))
    stale = {"metadata": {"resourceVersion": version}}
    assert (await api.call("PATCH", f"{NEW}/c", stale, headers=MERGE))[0] == 409
    config = machine_class("c", "v1alpha3", "100%")
    apply = {"Content-Type": "application/apply-patch+yaml"}
    query = "?fieldManager=me&force=true"
    status, applied = await api.call("PATCH", f"{NEW}/c{query}", config, headers=apply)
    assert (status, _fractions(applied)) == (200, ("v1alpha3", ["100%"]))


async def test_what_is_wrong_is_said_in_the_words_of_the_version(api: Api) -> None:
    for fraction in (5, "500%", "x"):
        status, refused = await api.call("POST", NEW, machine_class("bad", "v1alpha3", fraction))
        assert status == 422
        assert refused["details"]["causes"][0]["field"] == "spec.sizingPolicies[0].coreFractions[0]"
    assert (await api.call("POST", NEW, machine_class("bad", "v1alpha2", 5)))[0] == 400
    unknown = machine_class("bad", "v1alpha3", "5%") | {"spce": 1}
    status, refused = await api.call("POST", f"{NEW}?fieldValidation=Strict", unknown)
    assert (status, 'unknown field "spce"' in refused["message"]) == (400, True)


async def test_both_versions_are_watched_and_told_of(api: Api) -> None:
    watch = f"watch=true&resourceVersion={await api.version()}&allowWatchBookmarks=true&timeoutSeconds=2"
    async with api.client.get(f"http://h{NEW}?{watch}") as response:
        await api.call("POST", OLD, machine_class("seen", "v1alpha2", 5))
        event = orjson.loads(await asyncio.wait_for(response.content.readline(), 10))
        assert (event["type"], _fractions(event["object"])) == ("ADDED", ("v1alpha3", ["5%"]))
        bookmark = orjson.loads(await asyncio.wait_for(response.content.readline(), 10))
        assert bookmark["object"]["apiVersion"] == "virtualization.deckhouse.io/v1alpha3"
    _, group = await api.call("GET", GROUP)
    assert [one["version"] for one in group["versions"]] == ["v1alpha3", "v1alpha2"]
    assert group["preferredVersion"]["version"] == "v1alpha3"
    _, resources = await api.call("GET", f"{GROUP}/v1alpha3")
    assert {one["name"] for one in resources["resources"]} >= {"virtualmachineclasses"}
    _, index = await api.call("GET", "/openapi/v3")
    assert "apis/virtualization.deckhouse.io/v1alpha3" in index["paths"]
    assert (await api.call("GET", f"{GROUP}/v1alpha3/virtualmachines"))[0] == 404


async def test_who_uses_the_old_version_is_warned_however_it_ends(api: Api) -> None:
    async def warnings(path: str, code: int) -> list[str]:
        async with api.client.get(f"http://h{path}") as response:
            assert response.status == code
            return list(response.headers.getall("Warning", []))

    group = "virtualization.deckhouse.io"
    told = f'299 - "{group}/v1alpha2 VirtualMachineClass is deprecated; use {group}/v1alpha3 VirtualMachineClass"'
    assert await warnings(OLD, 200) == [told]
    assert await warnings(f"{OLD}/absent", 404) == [told]
    assert await warnings(f"{OLD}?watch=true&timeoutSeconds=1", 200) == [told]
    assert await warnings(NEW, 200) == []
    assert await warnings(f"{GROUP}/v1alpha2/virtualmachines", 200) == []
