"""The claim of a disk: which one it is, what it asks for, and how it comes into a machine's Pod.

Of a StorageClass whose provisioner is none of ours a disk is a PersistentVolumeClaim. Its name follows from the
disk, so that there cannot be two, and it goes with the disk. What quotas of the embedded home count of disks is
written in `hyperd/controllers/claims.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from hyperd.controllers.claims import first_claim
from hyperd.controllers.context import Context
from hyperd.resources.all import PERSISTENT_VOLUME_CLAIM, VIRTUAL_DISK
from hyperd.resources.core import storage_class
from hyperd.resources.core.claim import ClaimPhase
from hyperd.resources.schema.kind import AnyObject, Object
from hyperd.resources.values import meta, names
from hyperd.resources.values.quantity import format_bytes, round_up, to_bytes

if TYPE_CHECKING:
    from hyperd.resources.views.core import StorageClass
    from hyperd.resources.views.virtual_disk import VirtualDisk
    from hyperd.resources.views.virtual_machine import VirtualMachine

_VOLUMES: Final = PurePosixPath("/volumes")
_OVERHEAD_MILLI: Final = 55
"""Of a volume, for what its file system itself needs: as CDI, the reference's importer, has it."""
_DIGITS: Final = 18
"""Of a number of bytes, at most: who may change claims writes what he likes."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A claim in a machine's Pod, by the uid of its disk."""

    uid: str
    claim: str
    block: bool = False
    """Whether it is a device."""

    @property
    def volume(self) -> str:
        """Its name among the Pod's volumes."""
        return f"disk-{self.uid}"

    @property
    def path(self) -> PurePosixPath:
        """Where the Pod's container has it."""
        return _VOLUMES / self.uid


class Claims:
    """As informers show them."""

    def __init__(self, context: Context) -> None:
        self._claims = context.informer(PERSISTENT_VOLUME_CLAIM)
        self._disks = context.informer(VIRTUAL_DISK)

    def of(self, disk: VirtualDisk) -> Object | None:
        """The disk's claim; None without one."""
        found: Object | None = self._claims.get(disk["metadata"]["namespace"], first_claim(disk))
        return found if found is not None and is_of(found, disk) else None

    def mounts(self, disks: Iterable[VirtualDisk]) -> Sequence[Mount]:
        """What the Pod of a machine with these disks has."""
        found = {disk["metadata"]["uid"]: claim for disk in disks if (claim := self.of(disk)) is not None}
        return [Mount(uid, found[uid]["metadata"]["name"], is_block(found[uid])) for uid in sorted(found)]

    def mounts_of(self, machine: VirtualMachine) -> Sequence[Mount]:
        """Likewise, of the disks that the machine's spec names, as far as they are seen."""
        refs = machine["spec"].get("blockDeviceRefs") or ()
        wanted = [ref["name"] for ref in refs if ref.get("kind") == VIRTUAL_DISK.kind]
        found = (self._disks.get(machine["metadata"]["namespace"], name) for name in wanted)
        return self.mounts(disk for disk in found if disk is not None)


def is_of(claim: AnyObject, disk: AnyObject) -> bool:
    """Whether it is the disk's, and not one that somebody else gave its name."""
    uid = disk["metadata"]["uid"]
    return meta.labels(claim).get(names.VD_UID_LABEL) == uid and meta.is_owned_by(claim, uid)


def make_claim(disk: VirtualDisk, class_: StorageClass, size: int) -> Object:
    """For a disk of ``size`` bytes: a pure function."""
    return {
        "apiVersion": PERSISTENT_VOLUME_CLAIM.api_version,
        "kind": PERSISTENT_VOLUME_CLAIM.kind,
        "metadata": {
            "namespace": disk["metadata"]["namespace"],
            "name": first_claim(disk),
            "labels": {names.VD_UID_LABEL: disk["metadata"]["uid"]},
            "ownerReferences": [meta.owner_reference(disk)],
        },
        "spec": {
            "storageClassName": class_["metadata"]["name"],
            "accessModes": [storage_class.access_mode(class_)],
            "volumeMode": storage_class.volume_mode(class_),
            "resources": {"requests": {"storage": format_bytes(asked(size, storage_class.volume_mode(class_)))}},
        },
    }


def asked(size: int, mode: str = storage_class.FILESYSTEM) -> int:
    """Bytes that a volume of that mode needs for a disk of ``size`` in it, which may be written to its end."""
    if mode == storage_class.BLOCK:
        return size
    return round_up(-(-size * 1000 // (1000 - _OVERHEAD_MILLI)))


def requested(claim: AnyObject) -> int:
    """Bytes that it asks for."""
    return to_bytes(claim["spec"]["resources"]["requests"]["storage"])


def capacity(claim: AnyObject) -> int:
    """Bytes of its volume; 0 while it has none."""
    status = claim.get("status") or {}
    given = status.get("capacity") or {}
    return to_bytes(given["storage"]) if given else 0


def is_block(claim: AnyObject) -> bool:
    """Whether its volume is a device."""
    mode: str = claim["spec"].get("volumeMode") or storage_class.FILESYSTEM
    return mode == storage_class.BLOCK


def is_lost(claim: AnyObject) -> bool:
    """Whether the volume that it had is gone."""
    return (claim.get("status") or {}).get("phase") == ClaimPhase.LOST


def made(claim: AnyObject) -> int:
    """Virtual size of the disk in its volume, by the claim's own word; 0 where there is none.

    It is not larger than the volume, whatever somebody has written there.
    """
    text, has = meta.annotations(claim).get(names.CLAIM_MADE_ANNOTATION, ""), capacity(claim)
    said = int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else 0
    return min(said, has) if has else said
