"""Deletion: finalizers, preconditions, owners, namespaces. All of it goes on after a restart."""

from __future__ import annotations

import asyncio

import pytest

from hyperd.errors import Conflict, Forbidden, Invalid, NotFound
from hyperd.resources.schema.kind import Object
from hyperd.store.interface import PatchType, Preconditions, Propagation, Store, Write
from tests.contract.store.homes import EmbeddedHome, Home, changed, gone, take, told
from tests.contract.store.kinds import (
    CONFIG_MAPS,
    GADGETS,
    NAMESPACES,
    WIDGETS,
    config_map,
    owned_by,
    widget,
)


def held(name: str = "w") -> dict[str, object]:
    obj = widget(name)
    obj["metadata"]["finalizers"] = ["test.deckhouse.io/hold"]
    return obj


def messages(obj: Object) -> set[str]:
    return {one["message"] for one in obj["status"].get("conditions") or ()}


async def release(store: Store, name: str = "w") -> None:
    await store.patch(WIDGETS, "default", name, PatchType.MERGE, {"metadata": {"finalizers": None}})


async def test_an_object_without_finalizers_goes_at_once(store: Store) -> None:
    await store.create(WIDGETS, "default", widget())
    last, is_gone = await store.delete(WIDGETS, "default", "w")
    assert is_gone
    assert last.object()["spec"]["size"] == 1
    with pytest.raises(NotFound):
        await store.get(WIDGETS, "default", "w")
    with pytest.raises(NotFound):
        await store.delete(WIDGETS, "default", "w")


async def test_a_finalizer_holds_an_object_until_it_is_removed(store: Store) -> None:
    created = await store.create(WIDGETS, "default", held())
    item, is_gone = await store.delete(WIDGETS, "default", "w")
    assert not is_gone
    meta = item.object()["metadata"]
    assert meta["deletionTimestamp"]
    assert meta["deletionGracePeriodSeconds"] == 0
    assert meta["generation"] == 2
    again, is_gone = await store.delete(WIDGETS, "default", "w")
    assert (again.resource_version, is_gone) == (item.resource_version, False)
    await release(store)
    with pytest.raises(NotFound):
        await store.get(WIDGETS, "default", "w")
    async with store.watch(WIDGETS, resource_version=created.resource_version) as events:
        assert told(await take(events, 2)) == [("MODIFIED", "w"), ("DELETED", "w")]


async def test_a_deletion_cannot_be_undone_or_held_by_new_finalizers(store: Store) -> None:
    await store.create(WIDGETS, "default", held())
    await store.delete(WIDGETS, "default", "w")
    obj = (await store.get(WIDGETS, "default", "w")).object()
    del obj["metadata"]["deletionTimestamp"]
    kept = await store.update(WIDGETS, "default", "w", obj)
    assert kept.object()["metadata"]["deletionTimestamp"]
    obj["metadata"]["finalizers"].append("test.deckhouse.io/more")
    with pytest.raises(Invalid, match="no new finalizers can be added"):
        await store.update(WIDGETS, "default", "w", obj)


async def test_preconditions_guard_a_delete(store: Store) -> None:
    item = await store.create(WIDGETS, "default", widget())
    for wrong in (Preconditions(uid="other"), Preconditions(resource_version="1")):
        with pytest.raises(Conflict, match=r"[Pp]recondition"):
            await store.delete(WIDGETS, "default", "w", preconditions=wrong)
    right = Preconditions(uid=item.uid, resource_version=item.resource_version)
    assert (await store.delete(WIDGETS, "default", "w", preconditions=right))[1]


async def test_what_an_object_owns_goes_with_it(store: Store) -> None:
    owner = (await store.create(WIDGETS, "default", widget())).object()
    child = (await store.create(CONFIG_MAPS, "default", owned_by(config_map("child"), owner))).object()
    await store.create(CONFIG_MAPS, "default", owned_by(config_map("grandchild"), child))
    await store.create(CONFIG_MAPS, "default", config_map("stranger"))
    await store.delete(WIDGETS, "default", "w")
    await gone(store, CONFIG_MAPS, "default", "child")
    await gone(store, CONFIG_MAPS, "default", "grandchild")
    assert (await store.get(CONFIG_MAPS, "default", "stranger")).name == "stranger"


async def test_an_object_with_another_living_owner_stays(store: Store) -> None:
    one = (await store.create(WIDGETS, "default", widget("one"))).object()
    two = (await store.create(GADGETS, "", {"metadata": {"name": "two"}})).object()
    await store.create(CONFIG_MAPS, "default", owned_by(config_map(), one, two))
    await store.delete(WIDGETS, "default", "one")
    obj = await changed(
        store, CONFIG_MAPS, "default", "c", lambda obj: len(obj["metadata"]["ownerReferences"]) == 1
    )
    assert obj["metadata"]["ownerReferences"][0]["name"] == "two"
    await store.delete(GADGETS, "", "two")
    await gone(store, CONFIG_MAPS, "default", "c")


async def test_a_new_object_of_the_same_name_is_not_the_owner(store: Store) -> None:
    old = (await store.create(WIDGETS, "default", widget())).object()
    await store.create(CONFIG_MAPS, "default", owned_by(config_map(), old))
    await store.delete(WIDGETS, "default", "w")
    await store.create(WIDGETS, "default", widget())
    await gone(store, CONFIG_MAPS, "default", "c")


async def test_an_owner_of_a_kind_not_served_here_is_left_alone(store: Store) -> None:
    stranger = {"apiVersion": "nowhere.test/v1", "kind": "Stranger", "metadata": {"name": "s", "uid": "u"}}
    await store.create(CONFIG_MAPS, "default", owned_by(config_map("kept"), stranger))
    owner = (await store.create(WIDGETS, "default", widget())).object()
    await store.create(CONFIG_MAPS, "default", owned_by(config_map("doomed"), owner))
    await store.delete(WIDGETS, "default", "w")
    await gone(store, CONFIG_MAPS, "default", "doomed")
    assert (await store.get(CONFIG_MAPS, "default", "kept")).name == "kept"


async def test_orphans_stay_and_forget_their_owner(store: Store) -> None:
    owner = (await store.create(WIDGETS, "default", widget())).object()
    await store.create(CONFIG_MAPS, "default", owned_by(config_map(), owner))
    _, is_gone = await store.delete(WIDGETS, "default", "w", propagation=Propagation.ORPHAN)
    assert not is_gone
    await gone(store, WIDGETS, "default", "w")
    assert "ownerReferences" not in (await store.get(CONFIG_MAPS, "default", "c")).object()["metadata"]


async def test_foreground_waits_for_what_blocks(store: Store) -> None:
    owner = (await store.create(GADGETS, "", {"metadata": {"name": "g"}})).object()
    await store.create(WIDGETS, "default", owned_by(held(), owner))
    await store.create(CONFIG_MAPS, "default", owned_by(config_map(), owner))
    item, is_gone = await store.delete(GADGETS, "", "g", propagation=Propagation.FOREGROUND)
    assert not is_gone
    assert item.object()["metadata"]["finalizers"] == ["foregroundDeletion"]
    await gone(store, CONFIG_MAPS, "default", "c")
    await changed(store, WIDGETS, "default", "w", lambda obj: "deletionTimestamp" in obj["metadata"])
    assert (await store.get(GADGETS, "", "g")).name == "g"
    await release(store)
    await gone(store, GADGETS, "", "g")


async def test_foreground_does_not_wait_for_what_does_not_block(store: Store) -> None:
    owner = (await store.create(GADGETS, "", {"metadata": {"name": "g"}})).object()
    await store.create(WIDGETS, "default", owned_by(held(), owner, block=False))
    await store.delete(GADGETS, "", "g", propagation=Propagation.FOREGROUND)
    await gone(store, GADGETS, "", "g")
    await changed(store, WIDGETS, "default", "w", lambda obj: "deletionTimestamp" in obj["metadata"])


async def test_two_that_own_each_other_go(store: Store) -> None:
    first = (await store.create(CONFIG_MAPS, "default", config_map("first"))).object()
    second = (await store.create(CONFIG_MAPS, "default", owned_by(config_map("second"), first))).object()
    back = {"metadata": {"ownerReferences": owned_by(config_map(), second)["metadata"]["ownerReferences"]}}
    await store.patch(CONFIG_MAPS, "default", "first", PatchType.MERGE, back)
    await store.delete(CONFIG_MAPS, "default", "first", propagation=Propagation.FOREGROUND)
    await gone(store, CONFIG_MAPS, "default", "first")
    await gone(store, CONFIG_MAPS, "default", "second")


async def test_what_owns_itself_goes_after_what_else_it_owns(embedded: EmbeddedHome) -> None:
    """Kubernetes keeps such an object for ever."""
    store = embedded.store
    owner = (await store.create(CONFIG_MAPS, "default", config_map("own"))).object()
    back = {"metadata": {"ownerReferences": owned_by(config_map(), owner)["metadata"]["ownerReferences"]}}
    await store.patch(CONFIG_MAPS, "default", "own", PatchType.MERGE, back)
    await store.create(WIDGETS, "default", owned_by(held(), owner))
    await store.delete(CONFIG_MAPS, "default", "own", propagation=Propagation.FOREGROUND)
    await changed(store, WIDGETS, "default", "w", lambda obj: "deletionTimestamp" in obj["metadata"])
    assert (await store.get(CONFIG_MAPS, "default", "own")).name == "own"
    await release(store)
    await gone(store, CONFIG_MAPS, "default", "own")


async def test_collection_goes_on_after_a_restart(embedded: EmbeddedHome) -> None:
    owner = (await embedded.store.create(WIDGETS, "default", widget())).object()
    await embedded.store.create(CONFIG_MAPS, "default", owned_by(config_map(), owner))
    await embedded.embedded._housekeeper.stop()
    await embedded.store.delete(WIDGETS, "default", "w")
    await embedded.store.get(CONFIG_MAPS, "default", "c")
    await embedded.restart()
    await gone(embedded.store, CONFIG_MAPS, "default", "c")


async def test_deleting_a_namespace_deletes_its_content_first(home: Home) -> None:
    store = home.store
    await store.create(NAMESPACES, "", {"metadata": {"name": "n"}})
    for number in range(150):
        await store.create(CONFIG_MAPS, "n", config_map(f"c{number}"))
    await store.create(WIDGETS, "n", held())
    item, is_gone = await store.delete(NAMESPACES, "", "n")
    assert not is_gone
    assert item.object()["status"] == {"phase": "Terminating"}
    with pytest.raises(Forbidden, match="because it is being terminated"):
        await store.create(CONFIG_MAPS, "n", config_map("late"))
    await changed(store, WIDGETS, "n", "w", lambda obj: "deletionTimestamp" in obj["metadata"])
    await gone(store, CONFIG_MAPS, "n", "c149")
    held_by = {
        "Some content in the namespace has finalizers remaining: test.deckhouse.io/hold in 1 resource instances"
    }
    await changed(store, NAMESPACES, "", "n", lambda obj: held_by <= messages(obj))
    await home.restart()
    store = home.store
    assert (await store.get(NAMESPACES, "", "n")).name == "n"
    await store.patch(WIDGETS, "n", "w", PatchType.MERGE, {"metadata": {"finalizers": None}})
    await gone(store, NAMESPACES, "", "n")
    assert (await store.list(CONFIG_MAPS, "n")).items == []
    await store.create(NAMESPACES, "", {"metadata": {"name": "n"}})
    await store.create(CONFIG_MAPS, "n", config_map())


async def test_an_empty_namespace_goes(store: Store) -> None:
    await store.create(NAMESPACES, "", {"metadata": {"name": "n"}})
    await store.delete(NAMESPACES, "", "n")
    await gone(store, NAMESPACES, "", "n")


async def test_no_object_survives_in_a_namespace_that_is_gone(home: Home) -> None:
    store = home.store

    async def make(number: int) -> None:
        try:
            await store.create(CONFIG_MAPS, "n", config_map(f"c{number}"))
        except (Forbidden, NotFound):
            return

    # Kubernetes' own controller lets five seconds pass before it begins.
    for _ in range(5 if isinstance(home, EmbeddedHome) else 1):
        await store.create(NAMESPACES, "", {"metadata": {"name": "n"}})
        makers = [asyncio.create_task(make(number)) for number in range(40)]
        await store.delete(NAMESPACES, "", "n")
        makers += [asyncio.create_task(make(number)) for number in range(40, 80)]
        await asyncio.gather(*makers)
        await gone(store, NAMESPACES, "", "n")
        assert (await store.list(CONFIG_MAPS, "n")).items == []


async def test_the_first_namespaces_stay(store: Store) -> None:
    with pytest.raises(Forbidden, match="may not be deleted"):
        await store.delete(NAMESPACES, "", "default")


async def test_a_namespaces_finalizers_are_not_the_clients_to_set(store: Store) -> None:
    obj = (await store.create(NAMESPACES, "", {"metadata": {"name": "n"}, "spec": {"finalizers": []}})).object()
    assert obj["spec"]["finalizers"] == ["kubernetes"]
    obj["spec"] = {"finalizers": []}
    obj["metadata"]["labels"] = {"a": "b"}
    obj = (await store.update(NAMESPACES, "", "n", obj)).object()
    assert obj["spec"]["finalizers"] == ["kubernetes"]
    assert obj["metadata"]["labels"]["kubernetes.io/metadata.name"] == "n"


async def test_a_rehearsed_delete_marks_nothing(store: Store) -> None:
    item = await store.create(WIDGETS, "default", held())
    marked, is_gone = await store.delete(WIDGETS, "default", "w", write=Write(dry_run=True))
    assert not is_gone
    assert marked.object()["metadata"]["deletionTimestamp"]
    assert (await store.get(WIDGETS, "default", "w")).raw == item.raw
