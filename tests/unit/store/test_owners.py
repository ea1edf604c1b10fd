"""Nobody owns, or is owned, across namespaces: a foreign object cannot keep another from going."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from hyperd.errors import NotFound
from hyperd.resources.all import CONFIG_MAP, KINDS, NAMESPACE
from hyperd.resources.schema.kind import Object
from hyperd.settings import StoreSettings
from hyperd.store.embedded.store import EmbeddedStore, opened_store
from hyperd.store.interface import Propagation
from hyperd.store.records import Stored


def owned_by(owner: Object, namespace: str, name: str) -> Object:
    reference = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "blockOwnerDeletion": True,
    }
    metadata = {"name": name, "namespace": namespace, "finalizers": ["example.org/never"]}
    return {"metadata": {**metadata, "ownerReferences": [reference]}}


@pytest.mark.parametrize("propagation", Propagation)
async def test_an_object_goes_whatever_a_stranger_claims_of_it(tmp_path: Path, propagation: Propagation) -> None:
    store = EmbeddedStore(tmp_path / "store.db", settings=StoreSettings(), admit=None, kinds=KINDS)
    async with opened_store(store):
        for name in ("shop", "prod"):
            await store.create(NAMESPACE, "", {"metadata": {"name": name}})
        owner = (await store.create(CONFIG_MAP, "prod", {"metadata": {"name": "victim"}})).object()
        await store.create(CONFIG_MAP, "shop", owned_by(owner, "shop", "stranger"))
        await store.delete(CONFIG_MAP, "prod", "victim", propagation=propagation)
        async with asyncio.timeout(20):
            while True:
                try:
                    await store.get(CONFIG_MAP, "prod", "victim")
                except NotFound:
                    break
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("wide", [12, 24])
async def test_many_that_own_many_are_each_looked_at_a_few_times(
    tmp_path: Path, wide: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Layers, each owned by all of the one above; who may write them must not hold up everybody else."""
    store = EmbeddedStore(tmp_path / "store.db", settings=StoreSettings(), admit=None, kinds=KINDS)
    read, first = 0, Stored.object

    def object_(self: Stored) -> Object:
        nonlocal read
        read += 1
        found: Object = first(self)
        return found

    async with opened_store(store):
        await store.create(NAMESPACE, "", {"metadata": {"name": "shop"}})
        above = [(await store.create(CONFIG_MAP, "shop", {"metadata": {"name": "top"}})).object()]
        for layer in range(4):
            bodies = [owned_by(above[0], "shop", f"at-{layer}-{number}") for number in range(wide)]
            for body in bodies:
                body["metadata"]["ownerReferences"] = [
                    owned_by(one, "shop", "")["metadata"]["ownerReferences"][0] for one in above
                ]
            above = [(await store.create(CONFIG_MAP, "shop", body)).object() for body in bodies]
        monkeypatch.setattr(Stored, "object", object_)
        await store.delete(CONFIG_MAP, "shop", "top", propagation=Propagation.FOREGROUND)
        async with asyncio.timeout(30):
            while not all(item.deleting for item in store._memory.table(CONFIG_MAP).walk("shop")):
                await asyncio.sleep(0.01)
    edges = 3 * wide * wide
    assert read < 4 * edges
