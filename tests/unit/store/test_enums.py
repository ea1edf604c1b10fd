"""What controllers write are enums of the kinds; what is stored are the strings that they stand for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hyperd.resources.all import KINDS, NAMESPACE, VIRTUAL_MACHINE_IP_ADDRESS
from hyperd.resources.kinds.virtual_machine_ip_address import IPAddressPhase, IPAddressType
from hyperd.settings import StoreSettings
from hyperd.store.embedded.store import EmbeddedStore
from hyperd.store.interface import PatchType

SPEC = {"type": IPAddressType.STATIC, "staticIP": "10.66.10.14"}
HEAD = {
    "apiVersion": VIRTUAL_MACHINE_IP_ADDRESS.api_version,
    "kind": VIRTUAL_MACHINE_IP_ADDRESS.kind,
    "metadata": {"name": "web"},
}
WHERE = (VIRTUAL_MACHINE_IP_ADDRESS, "default", "web")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[EmbeddedStore]:
    kept = EmbeddedStore(tmp_path / "store.db", settings=StoreSettings(), admit=None, kinds=KINDS)
    await kept.start()
    if await kept.find(NAMESPACE, "", "default") is None:
        await kept.create(NAMESPACE, "", {"metadata": {"name": "default"}})
    yield kept
    await kept.close()


@pytest.mark.parametrize(
    ("type_", "patch"),
    [
        (PatchType.MERGE, {"spec": SPEC}),
        (PatchType.JSON, [{"op": "replace", "path": "/spec", "value": SPEC}]),
        (PatchType.APPLY, {**HEAD, "spec": SPEC}),
    ],
)
async def test_enums_are_written_as_the_strings_that_they_are(
    store: EmbeddedStore, type_: PatchType, patch: Any
) -> None:
    made = await store.create(*WHERE[:2], {**HEAD, "spec": {"type": IPAddressType.AUTO}})
    assert b'"type":"Auto"' in made.raw
    changed = await store.patch(*WHERE, type_, patch, force=True)
    assert b'"type":"Static"' in changed.raw
    obj = changed.object()
    obj["status"] = {"phase": IPAddressPhase.BOUND}
    shown = await store.update(*WHERE, {**obj}, subresource="status")
    assert b'"phase":"Bound"' in shown.raw
