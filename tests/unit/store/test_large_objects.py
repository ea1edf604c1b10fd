"""What is large is judged beside the event loop, and refused in few words."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from hyperd.errors import Invalid
from hyperd.resources.all import CONFIG_MAP, KINDS
from hyperd.resources.schema.kind import Object
from hyperd.settings import StoreSettings
from hyperd.store.embedded.store import EmbeddedStore, opened_store

LABELS = 40_000


async def test_others_are_answered_while_a_large_object_is_judged(tmp_path: Path) -> None:
    labels = {f"label-{number}": "of two words" for number in range(LABELS)}
    large: Object = {"metadata": {"name": "large", "labels": labels}}
    store = EmbeddedStore(tmp_path / "s.db", settings=StoreSettings(), admit=None, kinds=KINDS)
    async with opened_store(store):
        creating = asyncio.create_task(store.create(CONFIG_MAP, "default", large))
        answered = 0
        while not creating.done():
            await store.list(CONFIG_MAP, "default")
            await asyncio.sleep(0)
            answered += 1
        with pytest.raises(Invalid) as refused:
            await creating
    assert answered > 5
    assert len(refused.value.message) < 100_000
    assert refused.value.message.endswith(f", and {LABELS - 100} more faults]")
