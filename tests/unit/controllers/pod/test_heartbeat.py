"""A node's lease is renewed with what the node promises, and made without that."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from hyperd.controllers.node.heartbeat import Heartbeat
from hyperd.controllers.node.promise import Promise, make
from hyperd.resources.schema.kind import Object
from hyperd.resources.values import names
from tests.parts import part

PROMISE = make(40, ("leader", "metal", "wood"))


class Node:
    """Its store, its guards and what else a heartbeat asks."""

    def __init__(self) -> None:
        self.lease: Object | None = None
        self.renewals: list[Promise | None] = []
        self.node_name = "metal"
        self.settings = SimpleNamespace(kubernetes=SimpleNamespace(node_lease_seconds=40.0))
        self.store = self.hypervisor = self.witness = self

    def on_connection(self, _: object) -> None:
        return

    async def renew(self, word: str) -> str:
        return f"{word}+"

    # As the store

    async def find(self, *_: object) -> Object | None:
        return self.lease

    async def create(self, kind: object, namespace: str, body: Object) -> None:
        self.lease = {**body, "metadata": {**body["metadata"], "resourceVersion": "1"}}

    async def patch(self, kind: object, namespace: str, name: str, type_: object, patch: Any) -> None:
        assert self.lease is not None
        assert patch["metadata"]["resourceVersion"] == self.lease["metadata"]["resourceVersion"]
        self.lease["metadata"]["annotations"].update(patch["metadata"]["annotations"])

    # As its guards

    async def promise(self) -> Promise | None:
        return PROMISE

    def alone(self) -> asyncio.Lock:
        return asyncio.Lock()

    def sends(self) -> None:
        return

    async def renewed(self, began: float, promise: Promise | None) -> None:
        self.renewals.append(promise)


@pytest.mark.parametrize("guards", [True, False])
async def test_nothing_is_promised_by_a_lease_that_is_made(guards: bool) -> None:
    """Its creation, sent before all was let go, may come about after that; a renewal would be of an older one."""
    node = Node()
    beating = Heartbeat(part(node), part(node) if guards else None)
    await beating._renew()
    assert node.lease is not None
    said = node.lease["metadata"]["annotations"]
    assert said == {names.LEASE_WORD_ANNOTATION: "+"}
    await beating._renew()
    promised = {names.LEASE_PROMISE_ANNOTATION: PROMISE.encode()} if guards else {}
    assert said == {names.LEASE_WORD_ANNOTATION: "++", **promised}
    assert node.renewals == ([None, PROMISE] if guards else [])
