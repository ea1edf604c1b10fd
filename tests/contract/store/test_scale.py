"""Scale: the number of something as an object of its own, which tools change without knowing the rest."""

from __future__ import annotations

from typing import Any

import pytest

from hyperd.errors import BadRequest, Conflict, Invalid, NotFound, UnsupportedMediaType
from hyperd.resources.schema.kind import Object
from hyperd.store.interface import PatchType, Store, Write
from tests.contract.store.kinds import CROWDS, WIDGETS, widget

WHERE = (CROWDS, "default", "c")


async def crowd(store: Store, **spec: Any) -> Object:
    obj = {"metadata": {"name": "c"}, "spec": spec}
    found: Object = (await store.create(CROWDS, "default", obj, write=Write(field_manager="maker"))).object()
    return found


async def scale(store: Store) -> Object:
    found: Object = (await store.get(*WHERE, subresource="scale")).object()
    return found


def owners(obj: Object) -> set[tuple[str, str, bool]]:
    """(manager, subresource, whether it owns the number)."""
    return {
        (one["manager"], one.get("subresource", ""), "f:replicas" in one["fieldsV1"].get("f:spec", {}))
        for one in obj["metadata"].get("managedFields", [])
    }


async def test_a_scale_shows_the_numbers_and_the_selector(store: Store) -> None:
    obj = await crowd(store, replicas=2)
    meta = {
        key: obj["metadata"][key] for key in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    }
    head = {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": meta}
    assert await scale(store) == {**head, "spec": {"replicas": 2}, "status": {"replicas": 0}}
    status = {"status": {"replicas": 1, "selector": "a=b"}}
    item = await store.patch(*WHERE, PatchType.MERGE, status, subresource="status")
    meta["resourceVersion"] = item.resource_version
    assert (await scale(store))["status"] == status["status"]


async def test_a_patched_scale_changes_the_number_alone(store: Store) -> None:
    await crowd(store, replicas=2, color="red")
    patch = {"spec": {"replicas": 3}, "metadata": {"labels": {"a": "b"}}, "status": {"replicas": 9}}
    write = Write(field_manager="scaler")
    item = await store.patch(*WHERE, PatchType.MERGE, patch, subresource="scale", write=write)
    assert (item.object()["kind"], item.object()["spec"], item.object()["status"]) == (
        "Scale", {"replicas": 3}, {"replicas": 0},
    )  # fmt: skip
    obj = (await store.get(*WHERE)).object()
    assert obj["spec"] == {"replicas": 3, "color": "red"}
    assert obj["metadata"]["generation"] == 2
    assert "labels" not in obj["metadata"]
    assert owners(obj) == {("maker", "", False), ("scaler", "scale", True)}
    operations = [{"op": "replace", "path": "/spec/replicas", "value": 4}]
    await store.patch(*WHERE, PatchType.JSON, operations, subresource="scale", write=Write(field_manager="other"))
    assert owners((await store.get(*WHERE)).object()) == {("maker", "", False), ("other", "scale", True)}


async def test_a_scale_is_replaced_as_long_as_it_is_current(store: Store) -> None:
    await crowd(store, replicas=2)
    stale = await scale(store)
    fresh = (await store.update(*WHERE, {**stale, "spec": {"replicas": 5}}, subresource="scale")).object()
    assert fresh["spec"] == {"replicas": 5}
    again = await store.update(*WHERE, fresh, subresource="scale")
    assert again.object() == fresh
    with pytest.raises(Conflict, match="the object has been modified"):
        await store.update(*WHERE, {**stale, "spec": {"replicas": 6}}, subresource="scale")
    anyway = {"metadata": {"name": "c"}, "spec": {"replicas": 7}}
    assert (await store.update(*WHERE, anyway, subresource="scale")).object()["spec"] == {"replicas": 7}
    nothing = {"metadata": {"name": "c"}, "spec": {}}
    assert (await store.update(*WHERE, nothing, subresource="scale")).object()["spec"] == {}
    assert (await store.get(*WHERE)).object()["spec"]["replicas"] == 0


async def test_an_applier_hears_that_the_number_was_scaled(store: Store) -> None:
    config = {
        "apiVersion": CROWDS.api_version,
        "kind": "Crowd",
        "metadata": {"name": "c"},
        "spec": {"replicas": 1},
    }
    await store.apply(*WHERE, config, write=Write(field_manager="me"))
    patch = {"spec": {"replicas": 2}}
    write = Write(field_manager="scaler")
    await store.patch(*WHERE, PatchType.MERGE, patch, subresource="scale", write=write)
    with pytest.raises(
        Conflict, match=r'conflict with "scaler" with subresource "scale" using test.deckhouse.io/v1'
    ):
        await store.apply(*WHERE, config, write=Write(field_manager="me"))


async def test_a_rehearsed_scale_changes_nothing(store: Store) -> None:
    before = await crowd(store, replicas=2)
    patch = {"spec": {"replicas": 3}}
    item = await store.patch(*WHERE, PatchType.MERGE, patch, subresource="scale", write=Write(dry_run=True))
    assert item.object()["spec"] == {"replicas": 3}
    assert (await store.get(*WHERE)).object() == before


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        ({"spec": {"replicas": -1}}, Invalid),
        ({"spec": {"replicas": "1"}}, BadRequest),
        ({"spec": 3}, BadRequest),
        ({"kind": "Crowd", "apiVersion": CROWDS.api_version, "spec": {"replicas": 1}}, BadRequest),
        ({"metadata": {"name": "other"}, "spec": {"replicas": 1}}, BadRequest),
        ({"metadata": {"name": "c", "namespace": "kube-system"}, "spec": {"replicas": 1}}, BadRequest),
        ({"metadata": {"name": "c", "uid": "other"}, "spec": {"replicas": 1}}, Conflict),
    ],
)
async def test_what_is_no_scale_is_refused(store: Store, sent: Any, error: type[Exception]) -> None:
    before = await crowd(store, replicas=2)
    with pytest.raises(error):
        await store.update(*WHERE, sent, subresource="scale")
    assert (await store.get(*WHERE)).object() == before


async def test_a_number_that_is_not_there_can_be_set_but_not_shown(store: Store) -> None:
    await crowd(store)
    with pytest.raises(NotFound, match=r"spec replicas field .*does not exist"):
        await scale(store)
    with pytest.raises(BadRequest, match="cannot be empty"):
        await store.patch(*WHERE, PatchType.MERGE, {"metadata": {"labels": {"a": "b"}}}, subresource="scale")
    patch = {"spec": {"replicas": 1}}
    item = await store.patch(*WHERE, PatchType.MERGE, patch, subresource="scale")
    assert item.object()["spec"] == {"replicas": 1}


async def test_only_kinds_that_count_have_a_scale(store: Store) -> None:
    await store.create(WIDGETS, "default", widget())
    with pytest.raises(NotFound):
        await store.get(WIDGETS, "default", "w", subresource="scale")
    with pytest.raises(NotFound):
        await store.patch(WIDGETS, "default", "w", PatchType.MERGE, {"spec": {"replicas": 1}}, subresource="scale")
    await crowd(store, replicas=1)
    with pytest.raises(UnsupportedMediaType):
        await store.patch(*WHERE, PatchType.STRATEGIC, {"spec": {"replicas": 2}}, subresource="scale")
