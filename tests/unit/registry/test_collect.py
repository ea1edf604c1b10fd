from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web

from hyperd.errors import PermanentError, TemporaryError
from registry import tree
from registry.collect import garbage_collect, mark_deleted, survey
from tests.unit.registry.world import World

IMAGE = b"\xeb\x63\x90" + bytes(range(256)) * 4000


def blobs(world: World) -> int:
    return len(list(world.settings.registry_dir.glob("docker/registry/v2/blobs/sha256/*/*/data")))


def owned(*images: tuple[str, str]) -> Callable[[], Awaitable[set[tuple[str, str]]]]:
    """What the store says when it is asked."""

    async def live() -> set[tuple[str, str]]:
        return set(images)

    return live


async def test_what_has_no_owner_goes_and_what_has_one_stays(world: World) -> None:
    world.source.routes |= {"/a": IMAGE, "/b": IMAGE + b"x"}
    kept = await world.load("/a", uid="u1", name="a")
    await world.load("/a", uid="u2", name="a")
    await world.load("/b", uid="u3", name="b")
    done = await garbage_collect(world.client, world.server, owned(("vi/ns/a", "u1")))
    assert (done.manifests, done.repositories) == (2, 1)
    assert await world.client.catalog() == ["vi/ns/a"]
    assert await world.client.tags("vi/ns/a") == ["u1"]
    assert blobs(world) == 3
    assert (await world.cache.ensure(kept.reference)).path.read_bytes() == IMAGE


async def test_without_any_owner_nothing_is_left_but_the_configuration(world: World) -> None:
    world.source.routes |= {"/a": IMAGE, "/bad": b"<html>"}
    await world.load("/a")
    with pytest.raises(PermanentError):
        await world.load("/a", uid="u2", name="wrong", sha256="0" * 64)
    await garbage_collect(world.client, world.server, owned())
    assert await world.client.catalog() == []
    assert await asyncio.to_thread(lambda: list(tree.repositories(world.settings.registry_dir))) == []
    assert blobs(world) == 0
    await world.load("/a", uid="u3")


async def test_it_waits_for_running_imports_and_imports_wait_for_it(world: World) -> None:
    held, fetching = asyncio.Event(), asyncio.Event()

    async def slow(_: web.Request) -> web.StreamResponse:
        fetching.set()
        await held.wait()
        return web.Response(body=IMAGE)

    world.source.routes |= {"/a": slow, "/b": IMAGE}
    running = asyncio.create_task(world.load("/a"))
    await fetching.wait()
    with pytest.raises(TemporaryError) as postponed:
        await garbage_collect(world.client, world.server, owned())
    assert postponed.value.key == "ProvisioningPostponed"
    held.set()
    await running
    with world.client.gate.collecting(), pytest.raises(TemporaryError) as waits:
        await world.load("/b", uid="u2")
    assert (waits.value.key, waits.value.delay) == ("ProvisioningPostponed", 15.0)


async def test_a_manifest_that_a_live_tag_shares_is_kept(world: World) -> None:
    world.source.routes["/a"] = IMAGE
    got = await world.load("/a", uid="u1")
    _, content = await world.client.manifest("vi/ns/image", "u1")

    body = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    assert await world.client.put_manifest("vi/ns/image", "copy", body) == got.manifest_digest
    done = await garbage_collect(world.client, world.server, owned(("vi/ns/image", "u1")))
    assert done.manifests == 0
    assert await world.client.exists(got.reference)


async def test_of_an_external_registry_only_manifests_are_deleted(world: World) -> None:
    world.source.routes["/a"] = IMAGE
    got = await world.load("/a")
    done = await garbage_collect(world.client, None, owned())
    assert (done.manifests, done.repositories) == (1, 0)
    assert not await world.client.exists(got.reference)


async def test_what_another_node_imports_while_it_collects_is_not_taken_for_ownerless(world: World) -> None:
    world.source.routes["/a"] = IMAGE
    await world.load("/a", uid="u1")
    _, content = await world.client.manifest("vi/ns/image", "u1")
    body = json.dumps(content, indent=1).encode()

    async def live() -> set[tuple[str, str]]:
        # An owner that came after the list of the owners was made, and before the list of the tags would be.
        await world.client.put_manifest("vi/ns/image", "u2", body)
        return set()

    done = await garbage_collect(world.client, None, live)
    assert done.manifests == 1
    assert await world.client.tags("vi/ns/image") == ["u2"]


def nobody(_: str, __: str) -> bool:
    """No image without an owner may go by itself."""
    return False


async def test_only_what_was_deleted_goes_where_absence_is_no_deletion(world: World) -> None:
    world.source.routes |= {"/a": IMAGE, "/b": IMAGE + b"x", "/c": IMAGE + b"y"}
    await world.load("/a", uid="u1", name="a")
    await world.load("/b", uid="u2", name="b")
    lost = await world.load("/c", uid="u3", name="c")
    await mark_deleted(world.client, "vi/ns/b", "u2")
    await mark_deleted(world.client, "vi/ns/none", "u9")
    live = owned(("vi/ns/a", "u1"))
    found = await survey(world.client, world.server, live, dead=nobody)
    assert (found.images, found.removable, found.ownerless) == (3, (("vi/ns/b", "u2"),), (("vi/ns/c", "u3"),))
    assert found.space is not None
    assert 0 < found.space.used < found.space.total
    for _ in range(2):
        done = await garbage_collect(world.client, world.server, live, dead=nobody)
        assert done.ownerless == (("vi/ns/c", "u3"),)
    assert await world.client.catalog() == ["vi/ns/a", "vi/ns/c"]
    assert (await world.cache.ensure(lost.reference)).path.read_bytes() == IMAGE + b"y"
    # Its owner returns: nothing is said of it. An administrator empties it: it goes.
    both = owned(("vi/ns/a", "u1"), ("vi/ns/c", "u3"))
    assert (await garbage_collect(world.client, world.server, both, dead=nobody)).ownerless == ()
    done = await garbage_collect(world.client, world.server, live, dead=lambda _, tag: tag == "u3")
    assert (done.manifests, done.ownerless) == (1, ())
    assert await world.client.catalog() == ["vi/ns/a"]


async def test_an_image_that_a_deleted_one_equals_is_kept_until_it_goes_too(world: World) -> None:
    """Made anew under the same name from the same source, both tags are on one manifest."""
    world.source.routes["/a"] = IMAGE
    await world.load("/a", uid="u1")
    _, content = await world.client.manifest("vi/ns/image", "u1")
    await world.client.put_manifest("vi/ns/image", "u2", await world.client.manifest_bytes("vi/ns/image", "u1"))
    await mark_deleted(world.client, "vi/ns/image", "u1")
    await garbage_collect(world.client, world.server, owned(("vi/ns/image", "u2")), dead=nobody)
    assert (await world.client.manifest("vi/ns/image", "u2"))[1] == content
    await mark_deleted(world.client, "vi/ns/image", "u2")
    await garbage_collect(world.client, world.server, owned(), dead=nobody)
    assert await world.client.catalog() == []


async def test_an_empty_list_of_owners_removes_nothing(world: World) -> None:
    world.source.routes["/a"] = IMAGE
    await world.load("/a", uid="u1")
    done = await garbage_collect(world.client, world.server, owned(), dead=nobody)
    assert done.ownerless == (("vi/ns/image", "u1"),)
    assert await world.client.tags("vi/ns/image") == ["u1"]
