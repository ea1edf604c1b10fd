"""Whether objects could be made, before what they take the place of is removed."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Final

from hyperd.errors import (
    EXCEEDED_QUOTA,
    AlreadyExists,
    BadRequest,
    Conflict,
    Forbidden,
    Invalid,
    PermanentError,
    QuotaExceeded,
)
from hyperd.resources.all import VIRTUAL_DISK, VIRTUAL_MACHINE, VIRTUAL_MACHINE_BLOCK_DEVICE_ATTACHMENT
from hyperd.resources.schema.kind import AnyObject, Kind, Object
from hyperd.store.interface import Rehearsal, Store, Write

REFUSALS: Final = (BadRequest, Forbidden, Invalid, PermanentError)
"""What another try does not mend."""


class Rehearsing:
    """Dry runs of one operation's objects, in the order in which they are to be made."""

    def __init__(
        self, store: Store, namespace: str, operation: str, *, restores: bool, goes: Sequence[str]
    ) -> None:
        """``operation`` is its uid; ``goes`` are the disks that are removed first, where it ``restores``."""
        self._store = store
        self._namespace = namespace
        self._restores = restores
        self._stand_in = f"rehearsal-{operation}"
        self._goes = goes
        self._write = Write(dry_run=True, rehearsal=Rehearsal([(VIRTUAL_DISK, name) for name in goes]))

    async def refusal(self, kind: Kind, obj: Object) -> str:
        """Why the store would not take ``obj``; empty where it would, or has one that is left as it is.

        What is attached again is judged by what the machine is then.
        """
        name = obj["metadata"]["name"]
        there = await self._store.find(kind, self._namespace, name)
        if self._restores and kind is VIRTUAL_MACHINE_BLOCK_DEVICE_ATTACHMENT:
            return ""
        try:
            if there is None:
                await self._store.create(kind, self._namespace, copy.deepcopy(obj), write=self._write)
            elif kind is VIRTUAL_DISK and name in self._goes:
                return await self._refusal_beside(obj)
            elif self._restores and kind is VIRTUAL_MACHINE:
                body = replaced(there, obj)
                await self._store.update(kind, self._namespace, name, body, write=Write(dry_run=True))
        except (AlreadyExists, Conflict):
            return ""
        except REFUSALS as err:
            return err.message
        return ""

    async def _refusal_beside(self, obj: Object) -> str:
        """Of a disk whose name is still taken: it is rehearsed under another."""
        name = obj["metadata"]["name"]
        obj = copy.deepcopy(obj)
        obj["metadata"]["name"] = self._stand_in
        try:
            await self._store.create(VIRTUAL_DISK, self._namespace, obj, write=self._write)
        except REFUSALS as err:
            if EXCEEDED_QUOTA in err.message and not isinstance(err, QuotaExceeded):
                return ""  # An API server counts the disk that goes as well.
            return err.message.replace(self._stand_in, name)
        return ""


def replaced(there: AnyObject, obj: Object) -> Object:
    """The machine that is there with the spec, the labels and the annotations of ``obj``."""
    body = copy.deepcopy(dict(there))
    body["spec"] = copy.deepcopy(obj["spec"])
    for field in ("labels", "annotations"):
        body["metadata"].pop(field, None)
        if texts := obj["metadata"].get(field):
            body["metadata"][field] = dict(texts)
    return body
