"""Core kinds whose fields are null, empty or of odd values are judged, never a defect."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hyperd.errors import BadRequest, Invalid
from hyperd.resources.all import KINDS, RESOURCE_QUOTA, SERVICE, STORAGE_CLASS
from hyperd.resources.schema.kind import Kind, Object
from hyperd.settings import StoreSettings
from hyperd.store.embedded.store import EmbeddedStore, opened_store


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[EmbeddedStore]:
    kept = EmbeddedStore(tmp_path / "store.db", settings=StoreSettings(), admit=None, kinds=KINDS)
    async with opened_store(kept) as opened:
        yield opened


SERVICES: list[Any] = [
    None, {}, {"ports": None}, {"ports": [None]}, {"ports": [{}]}, {"ports": [{"port": None}]},
    {"ports": [{"port": 1, "targetPort": None, "nodePort": None, "name": None, "protocol": None}]},
    {"ports": [{"port": 1}], "externalIPs": [None]}, {"ports": [{"port": 1}], "loadBalancerSourceRanges": [None]},
    {"ports": [{"port": 1}], "clusterIP": None, "type": None, "sessionAffinity": None, "selector": None},
    {"ports": [{"port": 1, "targetPort": "x" * 100_000}]}, {"ports": [{"port": 1, "name": "x" * 100_000}]},
    {"type": "ExternalName", "externalName": "a." * 50_000}, {"ports": [{"port": 1}], "externalIPs": ["1%eth0"]},
    {"ports": [{"port": 1}], "sessionAffinity": "ClientIP", "sessionAffinityConfig": None},
]  # fmt: skip
QUOTAS: list[Any] = [
    None, {}, {"hard": None}, {"hard": {"pods": None}}, {"hard": {"pods": ""}}, {"hard": {"": "1"}},
    {"scopes": None},
    {"hard": {"pods": "1e999"}}, {"hard": {"x" * 100_000: "1"}}, {"scopeSelector": {}}, {"scopes": [None]},
    {"hard": {"pods": "9" * 64}},
]  # fmt: skip
CLASSES: list[Object] = [
    {"provisioner": None}, {"provisioner": "x.y/z", "allowedTopologies": None},
    {"provisioner": "x.y/z", "allowedTopologies": [None]},
    {"provisioner": "x.y/z", "allowedTopologies": [{"matchLabelExpressions": [None]}]},
    {"provisioner": "x.y/z", "allowedTopologies": [{"matchLabelExpressions": [{"key": None, "values": [None]}]}]},
    {"provisioner": "x.y/z", "parameters": None, "mountOptions": [None], "reclaimPolicy": None},
]  # fmt: skip
CASES = [
    *((SERVICE, {"spec": spec}) for spec in SERVICES),
    *((RESOURCE_QUOTA, {"spec": spec}) for spec in QUOTAS),
    *((STORAGE_CLASS, fields) for fields in CLASSES),
]


@pytest.mark.parametrize(("kind", "body"), CASES, ids=lambda one: one.kind if isinstance(one, Kind) else "")
async def test_odd_values_are_judged(store: EmbeddedStore, kind: Kind, body: Object) -> None:
    namespace = "default" if kind.namespaced else ""
    try:
        made = await store.create(kind, namespace, {"metadata": {"name": "x"}, **body})
    except (Invalid, BadRequest) as err:
        told = len(err.message)
    else:
        told = 0
    assert told < 20_000
    if told:
        return
    again = made.object()
    # The quota's own keeper may write meanwhile.
    del again["metadata"]["resourceVersion"]
    again["metadata"]["labels"] = {"a": "b"}
    await store.update(kind, namespace, "x", again)
    await store.delete(kind, namespace, "x")


async def test_what_an_older_version_let_in_can_still_be_relabelled(store: EmbeddedStore) -> None:
    old = {"apiVersion": "v1", "kind": "Service", "spec": {"selector": {"a": "b"}}}
    metadata = {"name": "x", "namespace": "default", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"}
    await store._ledger.put(SERVICE, {**old, "metadata": metadata}, None)
    relabelled = {**old, "metadata": {"name": "x", "labels": {"a": "b"}}}
    await store.update(SERVICE, "default", "x", relabelled)
    with pytest.raises(Invalid, match=r"spec.ports: Required value"):
        await store.update(SERVICE, "default", "x", {**relabelled, "spec": {"selector": {"a": "c"}}})
