"""The claims of disks and of images on volumes: what their namespace's quota counts.

A claim stands in the object's status, ``target``, before anything is made for it; the store judges that very
write, so no two take the same room. It asks for ``target.size`` until the volume has that. What finds no room says
so, and is looked at again when a ResourceQuota of its namespace changes: that tells of all that was freed, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from hyperd.controllers.context import Context
from hyperd.errors import EXCEEDED_QUOTA, QuotaExceeded, TemporaryError
from hyperd.resources.all import RESOURCE_QUOTA, VIRTUAL_DISK, VIRTUAL_IMAGE
from hyperd.resources.kinds.data_source import ReadyReason
from hyperd.resources.schema.kind import AnyObject, Kind
from hyperd.resources.values.charges import claim_of, claimed_bytes
from hyperd.resources.values.quantity import format_bytes
from hyperd.runtime.controller import Key, Mapper
from hyperd.runtime.informer import Informer
from hyperd.store.interface import Item, PatchType

if TYPE_CHECKING:
    from hyperd.controllers.usage import Image
    from hyperd.resources.views.virtual_disk import VirtualDisk

    Claiming = VirtualDisk | Image

AGAIN_SECONDS: Final = 30.0
"""When to look again at what an event should tell of."""
_INDEX: Final = "waits for room"
_PREFIXES: Final = {VIRTUAL_DISK.kind: "d8v-vd", VIRTUAL_IMAGE.kind: "d8v-vi"}


def first_claim(obj: AnyObject) -> str:
    """Of the first claim of a disk or image."""
    return f"{_PREFIXES[obj['kind']]}-{obj['metadata']['uid']}"


def is_claimed(obj: AnyObject, size: int) -> bool:
    """Whether its claim, in the class that its status names, is for ``size`` bytes or more."""
    return bool(claim_of(obj)) and claimed_bytes(obj) >= size


async def claim(context: Context, kind: Kind, obj: AnyObject, size: int, *, unchanged: bool = False) -> Item:
    """Have the status of ``obj`` say that it claims ``size`` bytes of the class that it names.

    ``unchanged``: only where it is stored as it was read. Returns it as it is stored then. Raises QuotaExceeded
    where there is no room for it.
    """
    meta, status = obj["metadata"], obj["status"]
    target = {"persistentVolumeClaimName": claim_of(obj) or first_claim(obj), "size": format_bytes(size)}
    metadata = {"uid": meta["uid"]} | ({"resourceVersion": meta["resourceVersion"]} if unchanged else {})
    body = {"metadata": metadata, "status": {"target": target, "storageClassName": status.get("storageClassName")}}
    where = (kind, meta["namespace"], meta["name"])
    try:
        return await context.store.patch(*where, PatchType.MERGE, body, subresource="status")
    except QuotaExceeded as err:
        raise QuotaExceeded(no_room(err)) from err


async def claim_or_wait(context: Context, kind: Kind, obj: AnyObject, size: int) -> None:
    """``claim``, of an operation's step: TemporaryError where there is no room yet."""
    if is_claimed(obj, size):
        return
    try:
        await claim(context, kind, obj, size)
    except QuotaExceeded as err:
        raise TemporaryError(err.message, key=ReadyReason.QUOTA_EXCEEDED) from err


def no_room(err: QuotaExceeded, of: str = "volume's claim") -> str:
    """What is told of a claim, or of a snapshot, that the store has refused."""
    words = err.message.partition(" is forbidden: ")[2] or err.message
    return f"The namespace has no room for the {of}: {words}"


class Room:
    """Objects of one kind that wait for room in their namespace's quotas."""

    def __init__(self, context: Context, objects: Informer) -> None:
        self._objects = objects
        objects.add_index(_INDEX, lambda obj: [obj["metadata"].get("namespace", "")] if waits(obj) else [])
        self._counts = not context.ownership.binds
        self._tried: set[Key] = set()

    def watches(self) -> Mapping[Kind, Mapper]:
        """Quotas, where they are ours to keep; a cluster's know nothing of what nodes have in their pools."""
        return {RESOURCE_QUOTA: self._of_quota} if self._counts else {}

    def _of_quota(self, quota: Item) -> Iterable[Key]:
        for item in self._objects.by_index(_INDEX, quota.namespace):
            key = Key(item.namespace, item.name)
            self._tried.add(key)
            yield key

    def may_be(self, key: Key) -> bool:
        """Whether a quota has changed since this was asked last: what waits for one need wait no longer."""
        found = key in self._tried
        self._tried.discard(key)
        return found


def waits(obj: AnyObject) -> bool:
    """Whether a condition says that a quota has no room for it."""
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return any(one["status"] == "False" and EXCEEDED_QUOTA in one.get("message", "") for one in conditions)
