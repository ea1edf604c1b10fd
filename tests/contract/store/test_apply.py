"""Server-side apply and ownership of fields: who owns what after which write, and who is refused."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hyperd.errors import BadRequest, Conflict, Invalid, NotFound
from hyperd.resources.schema.kind import Kind, Object
from hyperd.store.interface import PatchType, Store, Write
from tests.contract.store.homes import EmbeddedHome
from tests.contract.store.kinds import CONFIG_MAPS, NAMESPACES, SECRETS, WIDGETS, config_map, widget

PORT = 'k:{"port":80,"protocol":"TCP"}'


def wanted(name: str = "w", **spec: Any) -> Object:
    """A configuration to apply."""
    obj: Object = {"apiVersion": WIDGETS.api_version, "kind": WIDGETS.kind, "metadata": {"name": name}}
    return {**obj, "spec": spec} if spec else obj


def by(manager: str, *, dry_run: bool = False) -> Write:
    return Write(field_manager=manager, dry_run=dry_run)


async def apply(store: Store, config: Object, manager: str = "me", *, force: bool = False) -> Object:
    name = config["metadata"]["name"]
    item, _ = await store.apply(WIDGETS, "default", name, config, force=force, write=by(manager))
    found: Object = item.object()
    return found


def owners(obj: Object) -> dict[tuple[str, str, str], Any]:
    """(manager, operation, subresource) → fieldsV1."""
    return {
        (entry["manager"], entry["operation"], entry.get("subresource", "")): entry["fieldsV1"]
        for entry in obj["metadata"].get("managedFields", [])
    }


async def test_applying_what_is_not_there_creates_it(store: Store) -> None:
    config = wanted(size=3, ports=[{"port": 80}], tags=["b", "a"])
    item, created = await store.apply(WIDGETS, "default", "w", config, write=by("me"))
    obj = item.object()
    assert created
    assert obj["spec"]["color"] == "grey"
    assert obj["spec"]["ports"] == [{"port": 80, "protocol": "TCP"}]
    assert owners(obj) == {
        ("me", "Apply", ""): {
            "f:spec": {
                "f:ports": {PORT: {".": {}, "f:port": {}}},
                "f:size": {},
                "f:tags": {'v:"a"': {}, 'v:"b"': {}},
            }
        }
    }
    [entry] = obj["metadata"]["managedFields"]
    assert entry["apiVersion"] == WIDGETS.api_version
    assert entry["fieldsType"] == "FieldsV1"
    assert entry["time"] == obj["metadata"]["creationTimestamp"]


async def test_the_same_again_changes_nothing(store: Store) -> None:
    first, _ = await store.apply(WIDGETS, "default", "w", wanted(size=3), write=by("me"))
    again, created = await store.apply(WIDGETS, "default", "w", wanted(size=3), write=by("me"))
    assert not created
    assert again.raw == first.raw


async def test_lists_merge_by_their_keys_and_maps_by_their_fields(store: Store) -> None:
    await apply(store, wanted(size=1, ports=[{"port": 80}], tags=["a"], options={"x": "1"}), "one")
    obj = await apply(store, wanted(ports=[{"port": 81, "label": "l"}], tags=["b"], options={"y": "2"}), "two")
    assert {port["port"] for port in obj["spec"]["ports"]} == {80, 81}
    assert sorted(obj["spec"]["tags"]) == ["a", "b"]
    assert obj["spec"]["options"] == {"x": "1", "y": "2"}


async def test_what_is_no_longer_applied_goes_unless_others_own_it(store: Store) -> None:
    await apply(store, wanted(size=1, tags=["a", "b"], options={"x": "1", "y": "2"}, shape="round"), "one")
    await apply(store, wanted(tags=["b"], options={"y": "2"}), "two")
    obj = await apply(store, wanted(size=1), "one")
    assert obj["spec"] == {"size": 1, "color": "grey", "tags": ["b"], "options": {"y": "2"}}
    assert owners(obj)["two", "Apply", ""] == {"f:spec": {"f:options": {"f:y": {}}, "f:tags": {'v:"b"': {}}}}


async def test_a_value_of_another_is_a_conflict_that_names_both(store: Store) -> None:
    before = await apply(store, wanted(size=1, options={"x": "1"}), "one")
    with pytest.raises(Conflict) as caught:
        await apply(store, wanted(size=2, options={"x": "2"}), "two")
    told = 'Apply failed with 2 conflicts: conflicts with "one":\n- .spec.options.x\n- .spec.size'
    assert sorted(caught.value.message.split("\n")) == sorted(told.split("\n"))
    assert caught.value.status()["reason"] == "Conflict"
    assert {(cause.field, cause.message, cause.reason) for cause in caught.value.causes} == {
        (field, 'conflict with "one"', "FieldManagerConflict") for field in (".spec.size", ".spec.options.x")
    }
    assert (await store.get(WIDGETS, "default", "w")).object() == before
    with pytest.raises(Conflict, match=r'1 conflict: conflict with "one": \.spec\.size'):
        await apply(store, wanted(size=2), "two")


async def test_force_takes_the_field_over(store: Store) -> None:
    await apply(store, wanted(size=1, color="red"), "one")
    obj = await apply(store, wanted(size=2), "two", force=True)
    assert obj["spec"]["size"] == 2
    assert owners(obj) == {
        ("one", "Apply", ""): {"f:spec": {"f:color": {}}},
        ("two", "Apply", ""): {"f:spec": {"f:size": {}}},
    }


async def test_who_wants_the_same_shares_the_field(store: Store) -> None:
    await apply(store, wanted(size=1), "one")
    obj = await apply(store, wanted(size=1), "two")
    assert owners(obj)["one", "Apply", ""] == owners(obj)["two", "Apply", ""] == {"f:spec": {"f:size": {}}}
    with pytest.raises(Conflict, match='conflict with "two"'):
        await apply(store, wanted(size=2), "one")


async def test_ordinary_writes_own_what_they_change(store: Store) -> None:
    obj = (await store.create(WIDGETS, "default", widget(), write=by("maker"))).object()
    assert owners(obj) == {("maker", "Update", ""): {"f:spec": {".": {}, "f:color": {}, "f:size": {}}}}
    obj["spec"]["size"] = 2
    obj = (await store.update(WIDGETS, "default", "w", obj, write=by("changer"))).object()
    patch = {"metadata": {"labels": {"a": "b"}}}
    obj = (await store.patch(WIDGETS, "default", "w", PatchType.MERGE, patch, write=by("labeller"))).object()
    status = {"status": {"phase": "x"}}
    item = await store.patch(
        WIDGETS, "default", "w", PatchType.MERGE, status, subresource="status", write=by("changer")
    )
    assert owners(item.object()) == {
        ("maker", "Update", ""): {"f:spec": {".": {}, "f:color": {}}},
        ("changer", "Update", ""): {"f:spec": {"f:size": {}}},
        ("labeller", "Update", ""): {"f:metadata": {"f:labels": {".": {}, "f:a": {}}}},
        ("changer", "Update", "status"): {"f:status": {".": {}, "f:phase": {}}},
    }
    with pytest.raises(Conflict, match=r'conflict with "changer" using test\.deckhouse\.io/v1: \.spec\.size'):
        await apply(store, wanted(size=3))


async def test_an_update_takes_fields_from_appliers(store: Store) -> None:
    obj = await apply(store, wanted(size=1, color="red"))
    obj["spec"]["size"] = 2
    obj = (await store.update(WIDGETS, "default", "w", obj, write=by("other"))).object()
    assert owners(obj)["me", "Apply", ""] == {"f:spec": {"f:color": {}}}
    with pytest.raises(Conflict):
        await apply(store, wanted(size=1, color="red"))
    # What somebody else set since is not removed by leaving it out.
    assert (await apply(store, wanted(color="red")))["spec"]["size"] == 2


async def test_status_is_applied_apart(store: Store) -> None:
    await apply(store, wanted(size=1))
    config = {**wanted(size=9), "status": {"phase": "x"}}
    item, created = await store.apply(WIDGETS, "default", "w", config, subresource="status", write=by("me"))
    obj = item.object()
    assert not created
    assert (obj["spec"]["size"], obj["status"]) == (1, {"phase": "x"})
    assert owners(obj)["me", "Apply", "status"] == {"f:status": {"f:phase": {}}}
    assert (await apply(store, {**wanted(size=1), "status": {"phase": "y"}}))["status"] == {"phase": "x"}
    with pytest.raises(NotFound):
        await store.apply(WIDGETS, "default", "no", wanted("no"), subresource="status", write=by("me"))


async def test_ownership_can_be_forgotten_and_begins_again(store: Store) -> None:
    await store.create(WIDGETS, "default", widget(), write=by("maker"))
    forget: Object = {"metadata": {"managedFields": [{}]}}
    obj = (await store.patch(WIDGETS, "default", "w", PatchType.MERGE, forget)).object()
    assert "managedFields" not in obj["metadata"]
    obj["spec"]["size"] = 2
    obj = (await store.update(WIDGETS, "default", "w", obj, write=by("other"))).object()
    assert "managedFields" not in obj["metadata"]
    with pytest.raises(Conflict, match='conflict with "before-first-apply" using'):
        await apply(store, wanted(size=3))
    obj = await apply(store, wanted(size=2))
    assert owners(obj)["before-first-apply", "Update", ""] == {"f:spec": {".": {}, "f:color": {}, "f:size": {}}}


@pytest.mark.parametrize("entries", [None, [{"manager": "x"}], [{"operation": "Take"}]])
async def test_a_list_of_owners_that_is_none_counts_for_nothing(store: Store, entries: Any) -> None:
    obj = (await store.create(WIDGETS, "default", widget(), write=by("maker"))).object()
    obj["metadata"]["managedFields"] = entries
    obj["spec"]["size"] = 2
    obj = (await store.update(WIDGETS, "default", "w", obj, write=by("other"))).object()
    assert {who for who, _, _ in owners(obj)} == {"maker", "other"}


async def test_a_client_may_move_ownership(store: Store) -> None:
    """What kubectl does to go from client-side to server-side apply."""
    obj = (await store.create(WIDGETS, "default", widget(), write=by("old"))).object()
    [entry] = obj["metadata"]["managedFields"]
    entry |= {"manager": "new", "operation": "Apply"}
    patch = [
        {"op": "replace", "path": "/metadata/managedFields", "value": [entry]},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": obj["metadata"]["resourceVersion"]},
    ]
    moved = (await store.patch(WIDGETS, "default", "w", PatchType.JSON, patch, write=by("old"))).object()
    assert [who for who, _, _ in owners(moved)] == ["new"]
    assert await apply(store, wanted(size=5, color="red"), "new")


async def test_beyond_ten_updaters_the_oldest_become_one(store: Store) -> None:
    await store.create(WIDGETS, "default", widget(), write=by("maker"))
    for number in range(12):
        patch = {"spec": {"options": {f"k{number}": "1"}}}
        item = await store.patch(WIDGETS, "default", "w", PatchType.MERGE, patch, write=by(f"m{number:02}"))
    names = {who for who, _, _ in owners(item.object())}
    assert len(names) == 10
    assert "ancient-changes" in names


async def test_of_many_appliers_at_once_one_creates_and_all_are_heard(store: Store) -> None:
    async def one(number: int) -> bool:
        config = wanted(size=1, options={f"k{number}": "1"}, tags=[f"t{number}"])
        return (await store.apply(WIDGETS, "default", "w", config, write=by(f"m{number}")))[1]

    created = await asyncio.gather(*(one(number) for number in range(12)))
    assert created.count(True) == 1
    obj = (await store.get(WIDGETS, "default", "w")).object()
    assert obj["spec"]["options"] == {f"k{number}": "1" for number in range(12)}
    assert sorted(obj["spec"]["tags"]) == sorted(f"t{number}" for number in range(12))
    assert {who for who, _, _ in owners(obj)} == {f"m{number}" for number in range(12)}


async def test_a_large_configuration_is_applied_whole(store: Store) -> None:
    data = {f"key-{number:05}": "value" for number in range(10_000)}
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": data}
    await store.apply(CONFIG_MAPS, "default", "c", config, write=by("me"))
    data["key-00000"] = "other"
    del data["key-00001"]
    obj = (await store.apply(CONFIG_MAPS, "default", "c", config, write=by("me")))[0].object()
    assert obj["data"] == data
    assert len(owners(obj)["me", "Apply", ""]["f:data"]) == len(data)


async def test_a_rehearsed_apply_writes_nothing(store: Store) -> None:
    dry = by("me", dry_run=True)
    item, created = await store.apply(WIDGETS, "default", "w", wanted(size=1), write=dry)
    assert (created, item.object()["spec"]["size"]) == (True, 1)
    with pytest.raises(NotFound):
        await store.get(WIDGETS, "default", "w")
    before = await apply(store, wanted(size=1))
    item, _ = await store.apply(WIDGETS, "default", "w", wanted(size=2), write=dry)
    assert item.object()["spec"]["size"] == 2
    assert (await store.get(WIDGETS, "default", "w")).object() == before


async def test_who_may_only_change_does_not_create_by_applying(embedded: EmbeddedHome) -> None:
    """In a cluster its RBAC says so."""
    store = embedded.store
    with pytest.raises(NotFound):
        await store.apply(WIDGETS, "default", "w", wanted(size=1), write=Write(may_create=False))
    await apply(store, wanted(size=1))
    write = Write(field_manager="me", may_create=False)
    item, _ = await store.apply(WIDGETS, "default", "w", wanted(size=2), write=write)
    assert item.object()["spec"]["size"] == 2


APPLIED_WRONGLY: list[tuple[str, Any, type[Exception], str]] = [
    ("me", [], BadRequest, "error decoding YAML"),
    ("me", {}, BadRequest, "invalid object type: /, Kind="),
    ("me", {**wanted(size=1), "kind": "Gadget"}, BadRequest, "invalid object type: .*Kind=Gadget"),
    ("me", wanted("other", size=1), BadRequest, "does not match the name on the URL"),
    ("me", {**wanted(size=1), "metadata": {"name": "w", "namespace": "x"}}, BadRequest, "namespace"),
    ("me", {**wanted(size=1), "metadata": {"name": "w", "managedFields": []}}, BadRequest, "must be nil"),
    ("me", {**wanted(size=1), "metadata": {"name": "w", "uid": "u"}}, Conflict, "uid mismatch"),
    ("me", wanted(sise=1), BadRequest, r"\.spec\.sise: field not declared in schema"),
    ("me", wanted(size="1"), BadRequest, r"\.spec\.size: expected numeric"),
    ("me", wanted(size=1, tags=["a", "a"]), BadRequest, r'\.spec\.tags: duplicate entries for key \[="a"\]'),
    ("me", wanted(size=1000), Invalid, r"spec\.size"),
    ("me", wanted(color="red"), Invalid, r"spec\.size: Required value"),
    ("", wanted(size=1), Invalid, "fieldManager: Required value: is required for apply patch"),
]


@pytest.mark.parametrize(("manager", "config", "error", "told"), APPLIED_WRONGLY)
async def test_what_cannot_be_applied_is_refused(
    store: Store, manager: str, config: Any, error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        await store.apply(WIDGETS, "default", "w", config, write=by(manager))
    with pytest.raises(NotFound):
        await store.get(WIDGETS, "default", "w")


@pytest.mark.parametrize(
    ("kind", "content"),
    [(CONFIG_MAPS, {"data": {"a": "1"}}), (SECRETS, {"data": {"a": "MQ=="}}), (NAMESPACES, {})],
    ids=["configmaps", "secrets", "namespaces"],
)
async def test_core_kinds_are_applied(store: Store, kind: Kind, content: Object) -> None:
    namespace = "default" if kind.namespaced else ""
    config = {"apiVersion": "v1", "kind": kind.kind, "metadata": {"name": "c", "labels": {"a": "b"}}, **content}
    item, created = await store.apply(kind, namespace, "c", config, write=by("me"))
    assert created
    data: Object = {"f:data": {"f:a": {}}} if content else {}
    assert owners(item.object()) == {("me", "Apply", ""): {**data, "f:metadata": {"f:labels": {"f:a": {}}}}}
    item, _ = await store.apply(kind, namespace, "c", config, write=by("other"))
    assert {who for who, _, _ in owners(item.object())} == {"me", "other"}


async def test_a_strategic_patch_owns_what_it_changes(store: Store) -> None:
    await store.create(CONFIG_MAPS, "default", config_map(a="1"), write=by("maker"))
    patch = {"data": {"b": "2"}}
    item = await store.patch(CONFIG_MAPS, "default", "c", PatchType.STRATEGIC, patch, write=by("other"))
    assert owners(item.object())["other", "Update", ""] == {"f:data": {"f:b": {}}}
