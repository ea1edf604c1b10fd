"""Lists: order, namespaces, selectors, pages, versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from hyperd.errors import BadRequest, Expired, Invalid, Timeout
from hyperd.store.interface import FieldRequirement, Requirement, Selector, Store
from tests.contract.store.homes import EmbeddedHome, running, take, told
from tests.contract.store.kinds import CONFIG_MAPS, NAMESPACES, SECRETS, WIDGETS, config_map, widget


def labelled(*requirements: Requirement) -> Selector:
    return Selector(labels=requirements)


def with_field(path: str, value: str, *, equal: bool = True) -> Selector:
    return Selector(fields=(FieldRequirement(path, value, equal),))


async def names(store: Store, namespace: str | None = None, selector: Selector = Selector()) -> list[str]:  # noqa: B008
    return [item.name for item in (await store.list(WIDGETS, namespace, selector=selector)).items]


async def test_lists_come_in_the_order_of_namespace_and_name(store: Store) -> None:
    await store.create(NAMESPACES, "", {"metadata": {"name": "default-2"}})
    for namespace, name in (("kube-system", "a"), ("default", "c"), ("default-2", "b"), ("default", "a.b")):
        await store.create(WIDGETS, namespace, widget(name))
    listing = await store.list(WIDGETS)
    found = [(item.namespace, item.name) for item in listing.items]
    # etcd compares "default-2/b" with "default/a.b": which of two namespaces comes first is the home's own.
    assert sorted(found) == [("default", "a.b"), ("default", "c"), ("default-2", "b"), ("kube-system", "a")]
    assert found.index(("default", "c")) == found.index(("default", "a.b")) + 1
    assert await names(store, "default") == ["a.b", "c"]
    assert await names(store, "nowhere") == []


async def test_labels_select(store: Store) -> None:
    for name, labels in (("a", {"tier": "web", "x": "1"}), ("b", {"tier": "db"}), ("c", {})):
        sent = widget(name)
        sent["metadata"]["labels"] = labels
        await store.create(WIDGETS, "default", sent)
    web_or_db = Requirement("tier", "in", frozenset(("web", "db")))
    assert await names(store, None, labelled(web_or_db)) == ["a", "b"]
    assert await names(store, None, labelled(web_or_db, Requirement("x", "!exists"))) == ["b"]
    assert await names(store, None, labelled(Requirement("tier", "notin", frozenset(("db",))))) == ["a", "c"]
    assert await names(store, None, labelled(Requirement("x", "exists"))) == ["a"]


async def test_fields_select(store: Store) -> None:
    for name, color in (("a", "red"), ("b", "grey")):
        await store.create(WIDGETS, "default", widget(name, color=color))
    await store.create(WIDGETS, "kube-system", widget("a", color="red"))
    assert await names(store, None, with_field("metadata.name", "a")) == ["a", "a"]
    assert await names(store, "default", with_field("metadata.name", "a")) == ["a"]
    assert await names(store, None, with_field("metadata.name", "a", equal=False)) == ["b"]
    assert await names(store, None, with_field("metadata.namespace", "kube-system")) == ["a"]
    assert await names(store, None, with_field("spec.color", "grey")) == ["b"]
    await store.create(SECRETS, "default", {"metadata": {"name": "s"}, "type": "t"})
    assert len((await store.list(SECRETS, selector=with_field("type", "t"))).items) == 1


async def test_an_unknown_field_is_refused_and_never_ignored(store: Store) -> None:
    with pytest.raises(BadRequest, match=r"spec\.size"):
        await store.list(WIDGETS, selector=with_field("spec.size", "1"))
    with pytest.raises(BadRequest):
        async with store.watch(WIDGETS, selector=with_field("spec.size", "1")):
            pass


async def test_pages_are_whole_and_disjoint(store: Store) -> None:
    for number in range(10):
        await store.create(WIDGETS, "default", widget(f"w{number}"))
    first = await store.list(WIDGETS, limit=4)
    assert [item.name for item in first.items] == ["w0", "w1", "w2", "w3"]
    assert first.remaining == 6
    second = await store.list(WIDGETS, limit=4, continue_token=first.continue_token)
    third = await store.list(WIDGETS, limit=4, continue_token=second.continue_token)
    assert [item.name for item in second.items + third.items] == [f"w{n}" for n in range(4, 10)]  # type: ignore[operator]
    assert third.continue_token == ""
    assert third.resource_version == first.resource_version


async def test_a_watch_from_a_paged_list_sees_what_happened_between_the_pages(store: Store) -> None:
    for number in range(4):
        await store.create(WIDGETS, "default", widget(f"w{number}"))
    first = await store.list(WIDGETS, limit=2)
    await store.create(WIDGETS, "default", widget("a"))
    await store.delete(WIDGETS, "default", "w0")
    second = await store.list(WIDGETS, limit=2, continue_token=first.continue_token)
    async with store.watch(WIDGETS, resource_version=second.resource_version) as events:
        assert told(await take(events, 2)) == [("ADDED", "a"), ("DELETED", "w0")]


@pytest.mark.parametrize("token", ["x", "bm8", "W10", "WyJhIiwiYiIsImMiXQ", "é", "a" * 5000])
async def test_a_forged_continue_token_is_refused(store: Store, token: str) -> None:
    with pytest.raises(BadRequest, match="continue key is not valid"):
        await store.list(WIDGETS, continue_token=token)


async def test_a_continue_token_below_the_floor_is_expired(tmp_path: Path) -> None:
    async with running(EmbeddedHome(tmp_path, log_events=20)) as home:
        for number in range(4):
            await home.store.create(WIDGETS, "default", widget(f"w{number}"))
        first = await home.store.list(WIDGETS, limit=2)
        for number in range(100):
            await home.store.create(CONFIG_MAPS, "default", config_map(f"c{number}"))
        with pytest.raises(Expired, match="continue parameter is too old") as caught:
            await home.store.list(WIDGETS, limit=2, continue_token=first.continue_token)
        # The error leads on, for who does not mind that the rest is newer than the first page.
        fresh = caught.value.status()["metadata"]["continue"]
        rest = await home.store.list(WIDGETS, limit=1, continue_token=fresh)
        assert [item.name for item in rest.items] == ["w2"]
        last = await home.store.list(WIDGETS, limit=1, continue_token=rest.continue_token)
        assert ([item.name for item in last.items], last.continue_token) == (["w3"], "")


async def test_versions_of_a_list(store: Store) -> None:
    item = await store.create(WIDGETS, "default", widget())
    now = item.resource_version
    for version, match in (("", ""), ("0", ""), (now, ""), (now, "Exact"), ("1", "NotOlderThan")):
        listing = await store.list(WIDGETS, resource_version=version, match=match)
        assert (len(listing.items), listing.resource_version) == (1, now)
    with pytest.raises(Timeout, match="Too large resource version"):
        await store.list(WIDGETS, resource_version=str(int(now) + 1))
    for version, match in (("abc", ""), ("-1", ""), ("", "Exact"), ("5", "Maybe"), ("9" * 40, "")):
        with pytest.raises((BadRequest, Invalid)):
            await store.list(WIDGETS, resource_version=version, match=match)


async def test_the_past_is_not_listed(embedded: EmbeddedHome) -> None:
    await embedded.store.create(WIDGETS, "default", widget())
    with pytest.raises(Expired):
        await embedded.store.list(WIDGETS, resource_version="5", match="Exact")
