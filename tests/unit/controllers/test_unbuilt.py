"""What is not built says so, and only that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hyperd.controllers.unbuilt import UnbuiltCondition, UnbuiltController, name_unbuilt_fields
from hyperd.resources.all import KINDS, VIRTUAL_MACHINE
from hyperd.resources.schema.kind import Kind, Object
from hyperd.resources.schema.structural import apply_defaults, validate
from hyperd.resources.values.conditions import find_condition
from hyperd.runtime.controller import Manager
from hyperd.settings import StoreSettings
from hyperd.store.embedded.store import EmbeddedStore, opened_store
from tests.unit.resources.samples import examples, machine

UNBUILT = [kind for kind in KINDS if kind.not_built]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[EmbeddedStore]:
    kept = EmbeddedStore(tmp_path / "store.db", settings=StoreSettings(), admit=None, kinds=KINDS)
    async with opened_store(kept) as opened:
        yield opened


async def settled(store: EmbeddedStore, kind: Kind, obj: Object) -> Object:
    """``obj`` as it is once its controller has looked at it."""
    namespace = "default" if kind.namespaced else ""
    await store.create(kind, namespace, obj)
    manager = Manager(store)
    manager.add(UnbuiltController(store, manager.informer(kind)))
    async with asyncio.timeout(10), store.watch(kind, namespace or None) as watch:
        await manager.start()
        try:
            async for event in watch:
                found: Object = event.item.object()
                if "status" in found:
                    return found
        finally:
            await manager.stop()
    raise AssertionError("the watch ended")


@pytest.mark.parametrize("kind", UNBUILT, ids=lambda kind: kind.kind)
async def test_an_object_of_a_kind_that_is_not_built_says_so(store: EmbeddedStore, kind: Kind) -> None:
    obj = next(one for one in examples() if one["kind"] == kind.kind)
    found = await settled(store, kind, obj)
    status = found["status"]
    assert status["observedGeneration"] == 1
    assert status.get("phase", "Pending") == "Pending"
    (condition,) = status["conditions"]
    assert (condition["status"], condition["reason"]) == ("False", "NotImplemented")
    assert condition["message"] == kind.not_built
    assert "finalizers" not in found["metadata"], "nobody would remove it"
    assert validate(kind.schema, found) == []


def test_fields_without_effect_are_named_by_one_condition() -> None:
    obj = machine()
    apply_defaults(VIRTUAL_MACHINE.schema, obj)
    obj["spec"].update(priorityClassName="high", usbDevices=[{"name": "token"}])
    name_unbuilt_fields(VIRTUAL_MACHINE, obj)
    condition = find_condition(obj, UnbuiltCondition.UNBUILT_FIELDS)
    assert condition is not None
    assert (condition["status"], condition["reason"]) == ("True", "NotImplemented")
    assert condition["message"] == (
        "spec.usbDevices: USB devices are not built yet and are not attached. "
        "spec.priorityClassName: priorityClassName is not built yet: where the machine runs is chosen without it."
    )


def test_the_condition_goes_with_the_fields() -> None:
    obj = machine()
    obj["spec"]["priorityClassName"] = "high"
    name_unbuilt_fields(VIRTUAL_MACHINE, obj)
    del obj["spec"]["priorityClassName"]
    name_unbuilt_fields(VIRTUAL_MACHINE, obj)
    assert find_condition(obj, UnbuiltCondition.UNBUILT_FIELDS) is None
