"""The mark on a machine's Pod that was asked to go, so that its guest is moved elsewhere."""

from __future__ import annotations

from hyperd.errors import Conflict, NotFound
from hyperd.resources.all import POD
from hyperd.resources.schema.kind import Object
from hyperd.resources.values.names import POD_EVICTED_ANNOTATION
from hyperd.store.interface import PatchType, Store


async def mark(store: Store, pod: Object) -> bool:
    """Mark this very Pod; False where there is another one by now, or none."""
    return await _write(store, pod, "true")


async def unmark(store: Store, pod: Object) -> bool:
    """Take the mark back; False where there is another Pod by now, or none."""
    return await _write(store, pod, None)


async def _write(store: Store, pod: Object, value: str | None) -> bool:
    known = pod["metadata"]
    patch = {"metadata": {"uid": known["uid"], "annotations": {POD_EVICTED_ANNOTATION: value}}}
    try:
        await store.patch(POD, known["namespace"], known["name"], PatchType.MERGE, patch)
    except (Conflict, NotFound):
        return False
    return True
