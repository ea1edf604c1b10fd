"""Watches of a real API server that break in every way they can: a controller still ends where it should."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from hyperd.errors import AlreadyExists, NotFound
from hyperd.resources.core.kinds import CONFIG_MAP, NAMESPACE
from hyperd.runtime.controller import Controller, Key, Manager, Result
from hyperd.store.kubernetes.store import KubernetesStore
from tests.cluster.controlplane.plane import ControlPlane
from tests.cluster.meddler import Meddler, meddling

pytestmark = pytest.mark.cluster
SPACE = "meddled"


class Mirror(Controller):
    """For every ConfigMap ``x`` there is to be one ``mirror-x`` with the same data, and no other."""

    name = "mirror"
    kind = CONFIG_MAP

    def __init__(self, store: KubernetesStore, manager: Manager) -> None:
        super().__init__()
        self._store = store
        self._maps = manager.informer(CONFIG_MAP)

    async def reconcile(self, key: Key) -> Result | None:
        if key.namespace != SPACE or key.name.startswith(("mirror-", "kube-")):
            return None
        original, mirror = self._maps.get(*key), f"mirror-{key.name}"
        if original is None:
            with suppress(NotFound):
                await self._store.delete(CONFIG_MAP, SPACE, mirror)
            return None
        body = {"metadata": {"name": mirror}, "data": original.get("data")}
        try:
            await self._store.create(CONFIG_MAP, SPACE, body)
        except AlreadyExists:
            await self._store.update(CONFIG_MAP, SPACE, mirror, body)
        return None


@pytest.fixture
async def direct(control_plane: ControlPlane) -> AsyncIterator[KubernetesStore]:
    """The API server without the meddler."""
    store = KubernetesStore(control_plane.kubeconfig)
    await store.start()
    with suppress(AlreadyExists):
        await store.create(NAMESPACE, "", {"metadata": {"name": SPACE}})
    yield store
    await store.delete_collection(CONFIG_MAP, SPACE)
    await store.close()


@pytest.fixture
async def meddler(control_plane: ControlPlane, direct: KubernetesStore, tmp_path: Path) -> AsyncIterator[Meddler]:
    """A Mirror runs behind it."""
    async with meddling(control_plane, tmp_path) as (started, kubeconfig):
        store = KubernetesStore(kubeconfig)
        await store.start()
        manager = Manager(store)
        manager.add(Mirror(store, manager))
        await manager.start()
        yield started
        await manager.stop()
        await store.close()


async def put(store: KubernetesStore, name: str, value: str) -> None:
    body = {"metadata": {"name": name}, "data": {"v": value}}
    try:
        await store.create(CONFIG_MAP, SPACE, body)
    except AlreadyExists:
        await store.update(CONFIG_MAP, SPACE, name, body)


async def settled(store: KubernetesStore, wanted: dict[str, str]) -> None:
    """Wait until the mirrors are those of ``wanted``."""
    found: dict[str, str] = {}
    try:
        async with asyncio.timeout(20):
            while found != wanted:
                await asyncio.sleep(0.05)
                listing = await store.list(CONFIG_MAP, SPACE)
                mirrors = (item.object() for item in listing.items if item.name.startswith("mirror-"))
                found = {obj["metadata"]["name"].removeprefix("mirror-"): obj["data"]["v"] for obj in mirrors}
    except TimeoutError:
        pytest.fail(f"The mirrors are {found}, not {wanted}.")


async def test_events_that_come_twice_are_seen_once_or_twice_to_the_same_end(
    meddler: Meddler, direct: KubernetesStore
) -> None:
    meddler.double = True
    for name in ("a", "b"):
        await put(direct, name, "1")
    await put(direct, "a", "2")
    await settled(direct, {"a": "2", "b": "1"})
    await direct.delete(CONFIG_MAP, SPACE, "b")
    await settled(direct, {"a": "2"})
    assert meddler.broken


async def test_a_watch_that_expires_in_the_middle_costs_no_event(
    meddler: Meddler, direct: KubernetesStore
) -> None:
    await put(direct, "a", "1")
    await put(direct, "b", "1")
    await settled(direct, {"a": "1", "b": "1"})
    # The very event that is lost with the watch is a deletion, then a change, then a creation.
    meddler.gone_midway = 1
    await direct.delete(CONFIG_MAP, SPACE, "b")
    await settled(direct, {"a": "1"})
    meddler.gone_midway = 1
    await put(direct, "a", "2")
    await settled(direct, {"a": "2"})
    meddler.gone_midway = 3
    await put(direct, "c", "1")
    await settled(direct, {"a": "2", "c": "1"})
    assert meddler.broken >= 3


async def test_a_watch_that_is_refused_as_too_old_begins_with_a_list(
    meddler: Meddler, direct: KubernetesStore
) -> None:
    meddler.gone_at_start, meddler.gone_midway = 2, 1
    await put(direct, "a", "1")
    await settled(direct, {"a": "1"})
    await put(direct, "a", "2")
    await settled(direct, {"a": "2"})
    assert (meddler.gone_at_start, meddler.gone_midway) == (0, 0)


async def test_a_killed_api_server_is_waited_for_and_what_it_was_told_last_is_seen(
    meddler: Meddler, direct: KubernetesStore, control_plane: ControlPlane
) -> None:
    await put(direct, "a", "1")
    await settled(direct, {"a": "1"})
    await put(direct, "a", "2")
    control_plane.kill_server()
    await asyncio.sleep(1)  # long enough for several attempts to fail
    control_plane.start_server()  # in this thread: what another one starts ends with it
    await put(direct, "b", "1")
    await settled(direct, {"a": "2", "b": "1"})
