"""Patches through the store: they join, they retry, they respect versions and subresources."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hyperd.errors import BadRequest, Conflict, Invalid, NotFound, UnsupportedMediaType
from hyperd.store.interface import FieldValidation, PatchType, Store, Write
from tests.contract.store.homes import EmbeddedHome, Home
from tests.contract.store.kinds import CONFIG_MAPS, SECRETS, WIDGETS, config_map, widget


async def test_a_merge_patch_changes_what_it_names(store: Store) -> None:
    await store.create(WIDGETS, "default", widget(shape="round"))
    patch = {"spec": {"size": 7, "shape": None}, "metadata": {"labels": {"a": "b"}}}
    obj = (await store.patch(WIDGETS, "default", "w", PatchType.MERGE, patch)).object()
    assert obj["spec"] == {"size": 7, "color": "grey"}
    assert obj["metadata"]["labels"] == {"a": "b"}
    assert obj["metadata"]["generation"] == 2


async def test_a_json_patch_changes_what_it_names(store: Store) -> None:
    await store.create(WIDGETS, "default", widget())
    patch = [
        {"op": "test", "path": "/spec/size", "value": 1},
        {"op": "replace", "path": "/spec/size", "value": 9},
        {"op": "add", "path": "/metadata/labels", "value": {"a/b": "c"}},
        {"op": "copy", "from": "/spec/color", "path": "/metadata/labels/color"},
    ]
    obj = (await store.patch(WIDGETS, "default", "w", PatchType.JSON, patch)).object()
    assert obj["spec"]["size"] == 9
    assert obj["metadata"]["labels"] == {"a/b": "c", "color": "grey"}


async def test_a_patched_object_passes_the_same_checks(store: Store) -> None:
    item = await store.create(WIDGETS, "default", widget())
    with pytest.raises(Invalid, match=r"spec\.size"):
        await store.patch(WIDGETS, "default", "w", PatchType.MERGE, {"spec": {"size": 1000}})
    strict = Write(field_validation=FieldValidation.STRICT)
    with pytest.raises((BadRequest, Invalid), match="unknown field"):
        await store.patch(WIDGETS, "default", "w", PatchType.MERGE, {"spec": {"sizes": 1}}, write=strict)
    with pytest.raises(BadRequest):
        await store.patch(WIDGETS, "default", "w", PatchType.MERGE, {"metadata": {"name": "x"}})
    with pytest.raises(NotFound):
        await store.patch(WIDGETS, "default", "no", PatchType.MERGE, {})
    assert (await store.get(WIDGETS, "default", "w")).raw == item.raw


async def test_concurrent_patches_all_arrive(store: Store) -> None:
    await store.create(CONFIG_MAPS, "default", config_map())
    await asyncio.gather(
        *(
            store.patch(CONFIG_MAPS, "default", "c", PatchType.MERGE, {"data": {f"k{n}": str(n)}})
            for n in range(50)
        )
    )
    data = (await store.get(CONFIG_MAPS, "default", "c")).object()["data"]
    assert data == {f"k{n}": str(n) for n in range(50)}


async def test_a_patch_that_carries_a_stale_version_conflicts(store: Store) -> None:
    first = await store.create(WIDGETS, "default", widget())
    await store.patch(WIDGETS, "default", "w", PatchType.MERGE, {"spec": {"size": 2}})
    stale = {"metadata": {"resourceVersion": first.resource_version}, "spec": {"size": 3}}
    with pytest.raises(Conflict):
        await store.patch(WIDGETS, "default", "w", PatchType.MERGE, stale)


async def test_a_status_patch_touches_status_alone(store: Store) -> None:
    await store.create(WIDGETS, "default", widget())
    patch = {"status": {"phase": "Ready"}, "spec": {"size": 50}, "metadata": {"labels": {"a": "b"}}}
    item = await store.patch(WIDGETS, "default", "w", PatchType.MERGE, patch, subresource="status")
    obj = item.object()
    assert obj["status"]["phase"] == "Ready"
    assert obj["spec"]["size"] == 1
    assert "labels" not in obj["metadata"]
    patch = {"status": {"phase": "Forged"}}
    assert (await store.patch(WIDGETS, "default", "w", PatchType.MERGE, patch)).raw == item.raw


async def test_strategic_merge_is_for_core_kinds(store: Store) -> None:
    await store.create(WIDGETS, "default", widget())
    with pytest.raises(UnsupportedMediaType):
        await store.patch(WIDGETS, "default", "w", PatchType.STRATEGIC, {"spec": {"size": 2}})
    await store.create(SECRETS, "default", {"metadata": {"name": "s"}, "data": {"a": "MQ==", "b": "Mg=="}})
    patch = {"data": {"a": None}, "stringData": {"c": "3"}}
    obj = (await store.patch(SECRETS, "default", "s", PatchType.STRATEGIC, patch)).object()
    assert obj["data"] == {"b": "Mg==", "c": "Mw=="}


APPLIED_TO_NO_EFFECT: tuple[Any, ...] = ([{"op": "replace", "path": "", "value": 3}], None)
"""What an API server's JSON patch lets pass, and does nothing about."""


@pytest.mark.parametrize(
    "patch",
    [
        [{"op": "test", "path": "/spec/size", "value": 2}],
        [{"op": "remove", "path": "/spec/none"}],
        [{"op": "replace", "path": "", "value": 3}],
        [{"op": "replace", "path": "/metadata", "value": 3}],
        [{"op": "add", "path": "/spec/size/x", "value": 3}],
        [{"op": "move", "from": "/spec", "path": "/spec/inner"}],
        [{"op": "oops", "path": "/spec"}],
        [{"op": "add", "path": "spec", "value": 1}],
        [{"op": "add", "path": "/spec/size"}],
        ["x"], "x", {}, 7, None,
    ],
)  # fmt: skip
async def test_json_patches_that_do_not_apply_change_nothing(home: Home, patch: Any) -> None:
    store = home.store
    item = await store.create(WIDGETS, "default", widget())
    if isinstance(home, EmbeddedHome) or patch not in APPLIED_TO_NO_EFFECT:
        with pytest.raises((Invalid, BadRequest)):
            await store.patch(WIDGETS, "default", "w", PatchType.JSON, patch)
    else:
        await store.patch(WIDGETS, "default", "w", PatchType.JSON, patch)
    assert (await store.get(WIDGETS, "default", "w")).raw == item.raw
