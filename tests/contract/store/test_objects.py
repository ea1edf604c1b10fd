"""Create, read, replace: what clients may set, what the store sets, and who wins a race."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from hyperd.errors import AlreadyExists, BadRequest, Conflict, Forbidden, Invalid, NotFound
from hyperd.store.interface import AdmissionRequest, AdmissionResponse, FieldValidation, Store, Write
from tests.contract.store.homes import EmbeddedHome, Home
from tests.contract.store.kinds import (
    CONFIG_MAPS,
    GADGETS,
    NAMESPACES,
    SECRETS,
    WIDGETS,
    config_map,
    widget,
)


async def test_a_created_object_gets_what_only_the_store_may_set(store: Store) -> None:
    forged = widget()
    forged["metadata"] |= {
        "uid": "mine", "generation": 7, "creationTimestamp": "2001-01-01T00:00:00Z", "selfLink": "/x",
        "deletionTimestamp": "2001-01-01T00:00:00Z", "managedFields": [{"manager": "me"}],
    }  # fmt: skip
    item = await store.create(WIDGETS, "default", forged)
    meta = item.object()["metadata"]
    assert re.fullmatch(r"[0-9a-f-]{36}", meta["uid"])
    assert meta["generation"] == 1
    assert meta["creationTimestamp"] > "2026"
    assert meta["namespace"] == "default"
    assert meta["resourceVersion"] == item.resource_version
    assert not {"selfLink", "deletionTimestamp"} & meta.keys()
    assert {"manager": "me"} not in meta.get("managedFields", [])
    assert (await store.get(WIDGETS, "default", "w")).raw == item.raw


async def test_the_clients_object_is_not_touched(store: Store) -> None:
    sent = widget()
    await store.create(WIDGETS, "default", sent)
    assert sent == widget()


async def test_defaults_are_filled_in_and_stored(store: Store) -> None:
    item = await store.create(WIDGETS, "default", widget(parts=[{"name": "a"}]))
    assert item.object()["spec"] == {"size": 1, "color": "grey", "parts": [{"name": "a", "weight": 1}]}


async def test_the_same_name_again_is_refused(store: Store) -> None:
    await store.create(WIDGETS, "default", widget())
    with pytest.raises(AlreadyExists, match=r'widgets.test.deckhouse.io "w" already exists') as caught:
        await store.create(WIDGETS, "default", widget())
    assert caught.value.status()["reason"] == "AlreadyExists"
    await store.create(WIDGETS, "kube-system", widget())


async def test_many_creates_of_one_name_have_one_winner(store: Store) -> None:
    results = await asyncio.gather(
        *(store.create(WIDGETS, "default", widget(size=size)) for size in range(20)), return_exceptions=True
    )
    assert sum(1 for result in results if not isinstance(result, BaseException)) == 1
    assert sum(1 for result in results if isinstance(result, AlreadyExists)) == 19


async def test_generate_name_makes_a_new_name_each_time(store: Store) -> None:
    sent = widget()
    sent["metadata"] = {"generateName": "w-"}
    names = {(await store.create(WIDGETS, "default", sent)).name for _ in range(10)}
    assert len(names) == 10
    assert all(re.fullmatch("w-[bcdfghjklmnpqrstvwxz2456789]{5}", name) for name in names)


async def test_an_object_needs_a_name(store: Store) -> None:
    with pytest.raises(Invalid, match="name or generateName is required"):
        await store.create(WIDGETS, "default", {**widget(), "metadata": {}})


@pytest.mark.parametrize("name", ["Upper", "a/b", "..", "-a", "a" * 254, 7, ["a"], {"a": "b"}])
async def test_bad_names_are_refused(store: Store, name: object) -> None:
    sent = widget()
    sent["metadata"]["name"] = name
    with pytest.raises((Invalid, BadRequest), match=r"(metadata|ObjectMeta)\.name"):
        await store.create(WIDGETS, "default", sent)


@pytest.mark.parametrize(
    "metadata",
    [
        [], "x", {"name": "w", "labels": ["a"]},
        {"name": "w", "labels": {"a": 1}}, {"name": "w", "finalizers": "x"},
        {"name": "w", "finalizers": [{}]}, {"name": "w", "ownerReferences": [7]}, {"name": "w", "annotations": 3},
        {"name": "w", "generateName": {"a": 1}}, {"name": "w", "ownerReferences": [{"uid": "u"}]},
    ],
)  # fmt: skip
async def test_metadata_of_wrong_types_is_refused(store: Store, metadata: object) -> None:
    for kind in (WIDGETS, CONFIG_MAPS):
        sent: Any = {"metadata": metadata, **({"spec": {"size": 1}} if kind is WIDGETS else {})}
        with pytest.raises((Invalid, BadRequest)):
            await store.create(kind, "default", sent)
        with pytest.raises(NotFound):
            await store.get(kind, "default", "w")


async def test_what_is_no_object_of_the_kind_is_refused(store: Store) -> None:
    strangers: list[Any] = [{**widget(), "kind": "Gadget"}, {**widget(), "apiVersion": "v1"}, [], "x"]
    for sent in strangers:
        with pytest.raises((BadRequest, Invalid)):
            await store.create(WIDGETS, "default", sent)
    elsewhere = widget()
    elsewhere["metadata"]["namespace"] = "other"
    with pytest.raises(BadRequest, match="does not match the namespace"):
        await store.create(WIDGETS, "default", elsewhere)
    versioned = widget()
    versioned["metadata"]["resourceVersion"] = "5"
    with pytest.raises(BadRequest, match="resourceVersion should not be set"):
        await store.create(WIDGETS, "default", versioned)


async def test_nesting_without_end_is_refused(store: Store) -> None:
    deep: object = "x"
    for _ in range(600):
        deep = {"a": deep}
    with pytest.raises(BadRequest):
        await store.create(CONFIG_MAPS, "default", {"metadata": {"name": "c"}, "data": deep})


async def test_an_unknown_field_is_an_error_a_warning_or_nothing(store: Store) -> None:
    sent = widget(sizes=3)
    strict = Write(field_validation=FieldValidation.STRICT)
    with pytest.raises(BadRequest, match=r'strict decoding error: unknown field "spec.sizes"'):
        await store.create(WIDGETS, "default", sent, write=strict)
    warnings: list[str] = []
    warn = Write(field_validation=FieldValidation.WARN, warn=warnings.append)
    item = await store.create(WIDGETS, "default", sent, write=warn)
    assert warnings == ['unknown field "spec.sizes"']
    assert "sizes" not in item.object()["spec"]
    ignore = Write(field_validation=FieldValidation.IGNORE, warn=warnings.append)
    await store.create(WIDGETS, "default", {**sent, "metadata": {"name": "w2"}}, write=ignore)
    assert len(warnings) == 1


async def test_all_faults_are_told_at_once(store: Store) -> None:
    with pytest.raises(Invalid) as caught:
        await store.create(WIDGETS, "default", widget(name="w", size=1000, color=5))
    error = caught.value
    assert error.message.startswith('Widget.test.deckhouse.io "w" is invalid: [')
    # An API server adds that rules were not asked yet, with a field of "<nil>".
    assert {cause.field for cause in error.causes} - {"<nil>"} == {"spec.size", "spec.color"}
    assert error.status()["code"] == 422


async def test_a_transition_rule_holds_on_update(store: Store) -> None:
    obj = (await store.create(WIDGETS, "default", widget(shape="round"))).object()
    obj["spec"]["shape"] = "square"
    with pytest.raises(Invalid, match="shape is immutable"):
        await store.update(WIDGETS, "default", "w", obj)


async def test_admission_may_change_refuse_and_warn(embedded: EmbeddedHome) -> None:
    seen: list[AdmissionRequest] = []

    def hook(request: AdmissionRequest, response: AdmissionResponse) -> None:
        seen.append(request)
        response.warnings.append("careful")
        if request.new is not None and request.kind is WIDGETS:
            request.new["spec"]["color"] = "red"
            if request.new["spec"]["size"] == 13:
                response.forbidden = "thirteen is not allowed"

    embedded.hook = hook
    warnings: list[str] = []
    write = Write(warn=warnings.append)
    item = await embedded.store.create(WIDGETS, "default", widget(), write=write)
    assert item.object()["spec"]["color"] == "red"
    assert warnings == ["careful"]
    assert (seen[0].operation, seen[0].old, seen[0].namespace) == ("CREATE", None, "default")
    with pytest.raises(Forbidden, match="thirteen"):
        await embedded.store.create(WIDGETS, "default", widget("x", size=13), write=write)
    await embedded.store.delete(WIDGETS, "default", "w", write=write)
    assert seen[-1].operation == "DELETE"
    assert seen[-1].new is None
    assert seen[-1].old is not None


async def test_an_update_keeps_identity_and_counts_generations(store: Store) -> None:
    first = (await store.create(WIDGETS, "default", widget())).object()
    first["spec"]["size"] = 2
    second = (await store.update(WIDGETS, "default", "w", first)).object()
    assert second["metadata"]["generation"] == 2
    assert second["metadata"]["uid"] == first["metadata"]["uid"]
    second["metadata"]["labels"] = {"a": "b"}
    third = (await store.update(WIDGETS, "default", "w", second)).object()
    assert third["metadata"]["generation"] == 2
    assert int(third["metadata"]["resourceVersion"]) > int(second["metadata"]["resourceVersion"])


async def test_a_write_that_changes_nothing_keeps_the_version(store: Store) -> None:
    item = await store.create(WIDGETS, "default", widget())
    obj = item.object()
    obj["metadata"]["managedFields"] = [{"manager": "kubectl"}]
    obj["metadata"]["labels"] = {}
    again = await store.update(WIDGETS, "default", "w", obj)
    assert again.resource_version == item.resource_version
    assert (await store.list(WIDGETS)).resource_version == item.resource_version


async def test_a_stale_update_conflicts(store: Store) -> None:
    stale = (await store.create(WIDGETS, "default", widget())).object()
    fresh = (await store.get(WIDGETS, "default", "w")).object()
    fresh["spec"]["size"] = 2
    await store.update(WIDGETS, "default", "w", fresh)
    stale["spec"]["size"] = 3
    with pytest.raises(Conflict, match="the object has been modified"):
        await store.update(WIDGETS, "default", "w", stale)


async def test_our_kinds_need_a_version_to_update_and_core_kinds_do_not(store: Store) -> None:
    await store.create(WIDGETS, "default", widget())
    with pytest.raises(Invalid, match=r"metadata.resourceVersion: Invalid value: 0(x0)?: must be specified"):
        await store.update(WIDGETS, "default", "w", widget(size=2))
    await store.create(CONFIG_MAPS, "default", config_map(a="1"))
    await store.update(CONFIG_MAPS, "default", "c", config_map(a="2"))
    assert (await store.get(CONFIG_MAPS, "default", "c")).object()["data"] == {"a": "2"}


async def test_of_two_writers_from_one_version_one_wins(store: Store) -> None:
    obj = (await store.create(WIDGETS, "default", widget())).object()
    results = await asyncio.gather(
        *(
            store.update(WIDGETS, "default", "w", {**obj, "spec": {"size": size, "color": "grey"}})
            for size in range(2, 12)
        ),
        return_exceptions=True,
    )
    assert sum(1 for result in results if not isinstance(result, BaseException)) == 1
    assert sum(1 for result in results if isinstance(result, Conflict)) == 9


async def test_identity_cannot_be_changed(store: Store) -> None:
    obj = (await store.create(WIDGETS, "default", widget())).object()
    meta = obj["metadata"]
    for changes, error in (
        ({"uid": "other"}, Conflict),
        ({"name": "other"}, BadRequest),
        ({"namespace": "kube-system"}, BadRequest),
    ):
        with pytest.raises(error):
            await store.update(WIDGETS, "default", "w", {**obj, "metadata": {**meta, **changes}})
    forged = {**obj, "metadata": {**meta, "creationTimestamp": "2001-01-01T00:00:00Z", "generation": 9}}
    assert (await store.update(WIDGETS, "default", "w", forged)).object() == obj


async def test_what_is_missing_is_not_found(store: Store) -> None:
    with pytest.raises(NotFound, match=r'widgets.test.deckhouse.io "no" not found'):
        await store.get(WIDGETS, "default", "no")
    missing = widget("no")
    missing["metadata"]["resourceVersion"] = "1"
    with pytest.raises(NotFound):
        await store.update(WIDGETS, "default", "no", missing)
    with pytest.raises(NotFound, match='namespaces "nowhere" not found'):
        await store.create(WIDGETS, "nowhere", widget())
    await store.create(GADGETS, "", {"metadata": {"name": "g"}})
    with pytest.raises(NotFound):
        await store.update(GADGETS, "", "g", (await store.get(GADGETS, "", "g")).object(), subresource="status")


async def test_status_and_spec_do_not_touch_each_other(store: Store) -> None:
    sent = {**widget(), "status": {"phase": "Forged"}}
    obj = (await store.create(WIDGETS, "default", sent)).object()
    assert "status" not in obj
    report = {**obj, "status": {"phase": "Ready"}, "spec": {"size": 99}}
    report["metadata"] = {**obj["metadata"], "labels": {"a": "b"}, "finalizers": ["x/y"]}
    obj = (await store.update(WIDGETS, "default", "w", report, subresource="status")).object()
    assert obj["status"] == {"phase": "Ready"}
    assert obj["spec"]["size"] == 1
    assert "labels" not in obj["metadata"]
    assert "finalizers" not in obj["metadata"]
    assert obj["metadata"]["generation"] == 1
    status = obj["status"]
    edited = {**obj, "spec": {"size": 2, "color": "grey"}, "status": {"phase": "Forged"}}
    obj = (await store.update(WIDGETS, "default", "w", edited)).object()
    assert obj["status"] == status
    assert obj["spec"]["size"] == 2


async def test_a_status_of_wrong_type_is_refused(store: Store) -> None:
    obj = (await store.create(WIDGETS, "default", widget())).object()
    with pytest.raises(Invalid, match=r"status\.phase"):
        await store.update(WIDGETS, "default", "w", {**obj, "status": {"phase": 7}}, subresource="status")


async def test_a_rehearsal_writes_nothing_and_tells_all(store: Store) -> None:
    dry = Write(dry_run=True)
    before = (await store.list(WIDGETS)).resource_version
    rehearsed = await store.create(WIDGETS, "default", widget(), write=dry)
    assert rehearsed.object()["spec"]["color"] == "grey"
    with pytest.raises(Invalid):
        await store.create(WIDGETS, "default", widget(size=1000), write=dry)
    with pytest.raises(NotFound):
        await store.get(WIDGETS, "default", "w")
    assert (await store.list(WIDGETS)).resource_version == before
    item = await store.create(WIDGETS, "default", widget())
    obj = item.object()
    obj["spec"]["size"] = 5
    assert (await store.update(WIDGETS, "default", "w", obj, write=dry)).object()["spec"]["size"] == 5
    _, is_gone = await store.delete(WIDGETS, "default", "w", write=dry)
    assert is_gone
    assert (await store.get(WIDGETS, "default", "w")).raw == item.raw


async def test_namespaces_are_there_from_the_start_with_label_and_phase(store: Store) -> None:
    for name in ("default", "kube-system"):
        obj = (await store.get(NAMESPACES, "", name)).object()
        assert obj["metadata"]["labels"] == {"kubernetes.io/metadata.name": name}
        assert obj["status"] == {"phase": "Active"}
    made = (await store.create(NAMESPACES, "", {"metadata": {"name": "n", "labels": {"a": "b"}}})).object()
    assert made["metadata"]["labels"] == {"a": "b", "kubernetes.io/metadata.name": "n"}


async def test_a_secrets_string_data_is_folded(store: Store) -> None:
    sent = {"metadata": {"name": "s"}, "data": {"a": "MQ=="}, "stringData": {"b": "2"}}
    obj = (await store.create(SECRETS, "default", sent)).object()
    assert obj["data"] == {"a": "MQ==", "b": "Mg=="}
    assert obj["type"] == "Opaque"
    assert "stringData" not in obj


async def test_a_restart_keeps_everything(home: Home) -> None:
    await home.store.create(WIDGETS, "default", widget("a"))
    doomed = await home.store.create(WIDGETS, "default", widget("b"))
    await home.store.delete(WIDGETS, "default", "b")
    kept = (await home.store.list(WIDGETS)).items[0].raw
    await home.restart()
    listing = await home.store.list(WIDGETS)
    assert [item.raw for item in listing.items] == [kept]
    assert int(listing.resource_version) > int(doomed.resource_version)
    later = await home.store.create(WIDGETS, "default", widget("c"))
    assert int(later.resource_version) > int(listing.resource_version)
