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
