"""What storage is to the rest of the house: a provisioner makes volumes, an attacher makes them usable on a node.

The cut is CSI's. A volume is known by a uid, its disk's, and never by a path: only its backend knows where it is,
and tells by a handle. What exists is found in the storage itself, so that each call may be repeated after a crash:
the same uid, and for what takes several steps the same ``op_uid`` of the durable operation, is the same call.

Sizes are bytes. Every call raises ValueError for what is no uid, PermanentError where a volume or a request is at
fault, TemporaryError where trying again may help, with the key ``NO_ROOM`` where other volumes leave no room.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import ClassVar, Final, Protocol

from hyperd.errors import PermanentError
from hyperd.imagefile.handle import Handle
from hyperd.progress import Report
from hyperd.settings import Settings
from hyperd.storage.claims import Claims
from hyperd.storage.departures import Departures
from hyperd.storage.lazily import Lazily

NO_ROOM: Final = "ProvisioningPostponed"
"""A reason of the reference's."""
BUSY: Final = "Snapshotting"
GROWING: Final = "InProgress"
"""Key of a ``grow`` that goes on by itself: it is asked for again later."""
UID: Final = re.compile(r"[a-z0-9][-a-z0-9]{0,62}")


class Capability(StrEnum):
    """What not every backend can; the values end the sentence "its volumes cannot …"."""

    CLONE = "be cloned"
    SNAPSHOT = "be snapshotted"
    GROW_IN_USE = "grow while a guest has them open"
    RECEIVE = "be made of what another provisioner's hold"
    THIN = "take their space as they are written to"


@dataclass(frozen=True, slots=True)
class Keeper:
    """Where a volume is by what its owner says, for as long as several storages have one of its uid."""

    provisioner: str
    """Whose volume it is: any other one is a copy that is being made, or what is left of it after a move."""
    moved: bool = False
    """Whether it has been with another one before, which may still have its snapshots."""


Keepers = Callable[[str], Keeper | None]
"""By the volume's uid; None where no owner says."""


@dataclass(frozen=True, slots=True)
class Volume:
    """One volume, of the backend called ``provisioner``; a damaged one has a virtual size of 0."""

    uid: str
    provisioner: str
    virtual_size: int
    allocated: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the volume ``volume`` was at one moment, by the uid of the snapshot's own object.

    It outlives its volume. One that is ``pending`` is prepared and not committed: it holds nothing yet.
    """

    uid: str
    volume: str
    provisioner: str
    virtual_size: int
    allocated: int
    pending: bool = False


class MergeKind(StrEnum):
    """How two files of one chain become one while a guest has them open."""

    PULL = "pull"
    """What ``lower`` has is copied into ``upper``, which then reads what lay below ``lower``."""
    COMMIT = "commit"
    """What ``upper``, which is not the guest's top, has is copied into ``lower``, which takes its place."""
    SETTLE = "settle"
    """``upper`` reads ``lower`` no more, and what was pulled is made sure to be in its file."""


@dataclass(frozen=True, slots=True)
class Merge:
    """Work that only the hypervisor can do, of the guest that has the volume ``uid`` open.

    ``base`` is what lies below ``lower``. None of it may be the last of its chain, nor hold what is promised.
    """

    uid: str
    kind: MergeKind
    upper: Handle
    lower: Handle
    base: Handle | None


@dataclass(frozen=True, slots=True)
class Capacity:
    """Of a backend: all that its volumes may have in truth, and what may still be written."""

    total: int
    available: int


@dataclass(frozen=True, slots=True)
class Usage:
    """Of one volume on a node. With ``available`` at 0 the guest's next write may find no space."""

    virtual_size: int
    allocated: int
    available: int


class Provisioner(Protocol):
    """Makes, grows and removes volumes. A backend subclasses it and builds what its ``capabilities`` say."""

    @property
    def name(self) -> str:
        """As StorageClasses name it in ``provisioner``."""
        ...

    capabilities: ClassVar[frozenset[Capability]] = frozenset()

    @property
    def lazily(self) -> Lazily | None:
        """None where an image must be on the node before a volume is made of it."""
        return None

    async def create_blank(self, uid: str, size: int) -> Volume:
        """An empty volume of at least ``size``; one that exists is returned as it is."""
        ...

    async def create_from_image(self, uid: str, size: int, *, image: Handle) -> Volume:
        """A volume that starts with the content of ``image``, which stays as long as ``reads`` says so.

        ``size`` is at least the image's virtual size; the caller checks that.
        """
        ...

    async def clone(self, uid: str, *, source: str, op_uid: str) -> Volume:
        """A volume with the content that ``source``, which no guest writes to, has now."""
        raise unsupported(self.name, Capability.CLONE)

    async def receive(
        self, uid: str, size: int, *, layers: Sequence[Handle], op_uid: str, report: Report
    ) -> Volume:
        """A volume with the content of ``layers``, the top first, which nobody writes to until it is there.

        They are another storage's volume of the same uid, ``size`` bytes large, and compared before it is there.
        Without any it is blank: a guest's QEMU fills it.
        Snapshots of an earlier volume of that uid stay what they are.
        """
        raise unsupported(self.name, Capability.RECEIVE)

    async def prepare_snapshot(self, uid: str, *, snapshot: str, op_uid: str, in_use: bool) -> Handle | None:
        """The first half of the snapshot ``snapshot`` of a volume, which a guest has open if it is ``in_use``.

        What a guest that runs has to write to from now on, which the hypervisor pivots to; None if it may go on:
        then it is what the volume was at this call, and who holds the guest later cancels and prepares it anew.
        TemporaryError with the key ``BUSY`` while another snapshot of the volume is between its halves, and while
        it is attached and not yet in use: its guest may open it any moment as it was attached.
        """
        raise unsupported(self.name, Capability.SNAPSHOT)

    async def commit_snapshot(self, uid: str, *, snapshot: str, op_uid: str) -> Snapshot:
        """The second half: from now on it is kept, whatever becomes of the volume, and never changes again."""
        raise unsupported(self.name, Capability.SNAPSHOT)

    async def cancel_snapshot(self, uid: str, *, snapshot: str) -> None:
        """Take ``prepare_snapshot`` back; nothing to do is fine. No guest may have pivoted to what it gave."""
        return

    async def create_from_snapshot(self, uid: str, size: int, *, snapshot: str) -> Volume:
        """A volume that starts with the content of a snapshot, which may be deleted any time after.

        ``size`` is at least the snapshot's virtual size; the caller checks that. Raises NotFound without it.
        """
        raise unsupported(self.name, Capability.SNAPSHOT)

    async def delete_snapshot(self, snapshot: str) -> None:
        """Promise its content no longer; none is fine. The space that it had is freed by and by: ``merges``."""
        return

    async def find_snapshot(self, snapshot: str) -> Snapshot | None:
        """PermanentError for a damaged one. Others are not looked at: what it shares with them is not told."""
        return None

    async def snapshots(self) -> Sequence[Snapshot]:
        """All of them by uid, whoever owns them, the damaged ones too."""
        return []

    async def merges(self, in_use: Collection[str]) -> Sequence[Merge]:
        """Free what deleted snapshots held; what is left for hypervisors to do is returned.

        ``in_use`` are the volumes that guests have open. What cannot be done now is done by a later call.
        """
        return []

    async def merged(self, merge: Merge) -> None:
        """The hypervisor has done it, whoever had asked for that; what it pulled is in the file for good."""
        return

    async def grow(self, uid: str, size: int, *, in_use: bool) -> Volume:
        """Give a volume ``size``, or make sure that it may have it once ``Attacher.expand`` gives it.

        Raises NotFound without the volume, PermanentError for less than it has.
        """
        ...

    async def delete(self, uid: str) -> None:
        """Remove the volume, which is not attached, and what an unfinished call left of it; none is fine."""
        ...

    async def find(self, uid: str) -> Volume | None:
        """The volume; PermanentError for a damaged one."""
        ...

    async def inventory(self) -> Sequence[Volume]:
        """All volumes by uid, whoever owns them, the damaged ones too."""
        ...

    async def reads(self, image: Path) -> bool:
        """Whether some volume still needs the file of an image that it was made from; True if that is unknown."""
        ...

    async def capacity(self) -> Capacity:
        """Of all volumes together."""
        ...


class Attacher(Protocol):
    """Makes volumes usable on this node. Raises NotFound without the volume, except in ``detach``."""

    async def attach(self, uid: str) -> Handle:
        """What a guest's disk is opened by, until ``detach``; the same for as long as it is attached."""
        ...

    async def detach(self, uid: str) -> None:
        """Let go of a volume that no guest has open; nothing to do is fine."""
        ...

    async def usage(self, uid: str) -> Usage:
        """Of a volume, attached or not."""
        ...

    async def expand(self, uid: str, size: int) -> Handle | None:
        """After ``grow`` of an attached volume: what the hypervisor must resize to ``size``, None if nothing."""
        ...

    def reading(self, uid: str) -> AbstractAsyncContextManager[Handle]:
        """A snapshot, or a volume that no guest writes to, which stays readable until the block ends.

        Raises NotFound without it.
        """
        ...

    async def layers(self, uid: str) -> Sequence[Handle]:
        """What an attached volume that no guest writes to, or a snapshot that is being read, is made of.

        Its handle, then what that overlays, and so on: a reader opens these and nothing that a header names.
        """
        return (await self.attach(uid),)


class Volumes(Attacher, Protocol):
    """All volumes of this node, whatever backend has them: what controllers hold.

    New ones are made by the provisioner that their StorageClass names. Others are found by uid alone, as their
    class may be gone; what is said of ``Provisioner`` holds. While one is moved two storages have one of its uid:
    then its ``Keeper`` says which is meant, and a storage that is named and cannot be asked raises TemporaryError.
    """

    def ask(self, keepers: Keepers) -> None:
        """From now on ask ``keepers`` where a volume is."""
        ...

    @property
    def claims(self) -> bool:
        """Whether volumes of provisioners that are none of ours are claims, and not refused."""
        ...

    def lead(self, claims: Claims) -> None:
        """From now on ask ``claims`` which claims there are."""
        ...

    def awaited(self, uid: str) -> str:
        """What the volume waits for to be on this node, as a sentence; empty where it is or can be attached."""
        ...

    @property
    def departures(self) -> Departures:
        """What is left of volumes with storages that they were moved away from: not used for lost ones."""
        ...

    @property
    def provisioners(self) -> Sequence[str]:
        """What a StorageClass may name."""
        ...

    def provisioner(self, name: str) -> Provisioner:
        """By its name in a StorageClass, that of ``claims`` for others'; PermanentError where there is none."""
        ...

    async def start(self) -> None:
        """At the daemon's start."""
        ...

    async def find(self, uid: str) -> Volume | None: ...

    async def inventory(self) -> Sequence[Volume]: ...

    async def attach_copy(self, uid: str, provisioner: str) -> Handle:
        """As ``attach``, of the volume that ``provisioner`` has, whosever it is; ``detach`` is of all."""
        ...

    async def remove_copy(self, uid: str, provisioner: str, *, kept: str) -> None:
        """Remove the volume that ``provisioner`` has of that uid; NotFound unless ``kept`` has it whole."""
        ...

    async def reads(self, image: Path) -> bool: ...

    async def grow(self, uid: str, size: int, *, in_use: bool) -> Volume: ...

    async def delete(self, uid: str) -> None:
        """Detached from this node, if need be; and all copies of it."""
        ...

    async def prepare_snapshot(self, uid: str, *, snapshot: str, op_uid: str, in_use: bool) -> Handle | None: ...

    async def commit_snapshot(self, uid: str, *, snapshot: str, op_uid: str) -> Snapshot: ...

    async def cancel_snapshot(self, uid: str, *, snapshot: str) -> None: ...

    async def delete_snapshot(self, snapshot: str, *, of: str = "") -> None:
        """``of`` is its volume, where that is known: while that is there no other storage need answer."""
        ...

    async def find_snapshot(self, snapshot: str, *, of: str = "") -> Snapshot | None:
        """Likewise."""
        ...

    async def snapshots(self) -> Sequence[Snapshot]: ...

    async def merges(self, in_use: Collection[str]) -> Sequence[Merge]: ...

    async def merged(self, merge: Merge) -> None: ...

    @property
    def lazily(self) -> Lazily: ...


class Backend(Protocol):
    """One kind of storage."""

    @property
    def name(self) -> str:
        """Its provisioner's."""
        ...

    def __init__(self, settings: Settings) -> None:
        """Of those that every node has one of; one of an administrator's pools is given that as well."""

    @property
    def provisioner(self) -> Provisioner: ...

    @property
    def attacher(self) -> Attacher: ...

    async def start(self) -> None:
        """At the daemon's start: make what is missing, remove what a crash left unfinished."""
        ...


def unsupported(provisioner: str, capability: Capability) -> PermanentError:
    """The error of a call that the backend has not declared."""
    return PermanentError(
        f"Volumes of the provisioner {provisioner} cannot {capability}; use a StorageClass whose provisioner can.",
        key="ProvisioningFailed",
    )


def check_uid(uid: str) -> str:
    """``uid`` if it may become part of a name in storage; ValueError else."""
    if not UID.fullmatch(uid):
        raise ValueError(f"not a uid: {uid!r}")
    return uid
