"""What a storage of claims asks of whoever knows the cluster.

Where the cluster's own storage has the volumes, a disk's volume is a PersistentVolumeClaim. It is on this node
while a Pod of this node has it, and what is known of it meanwhile stands in the claim. Sizes are bytes.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

CLAIMS: Final = "hyperd.local/claims"
"""What such volumes name as their provisioner, whichever one their StorageClass has."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One that is this node's to fill."""

    name: str
    block: bool
    """Whether its volume is a block device, and no folder."""
    capacity: int
    """What its volume has; 0 before there is one."""
    made: int
    """Virtual size of the disk that was made in it; 0 before."""


class Claims(Protocol):
    """Those of the disks that are bound to this node, by the disks' uids. Raises HyperdError."""

    def get(self, uid: str) -> Claim | None:
        """None where there is none, where its volume is lost, and where the disk is not this node's."""

    def kept(self) -> Collection[str]:
        """Of all that ``get`` has."""

    def place(self, uid: str) -> AbstractAsyncContextManager[Path]:
        """Where its volume is on this node: a folder that others may write to, which stays until the block ends.

        Or a block device, as ``/dev/…`` names it.

        TemporaryError while no Pod of this node has it.
        """

    def awaited(self, uid: str) -> str:
        """What its volume waits for to be on this node, as a sentence; empty where it is, and for what is none."""

    async def note(self, uid: str, size: int) -> None:
        """A disk of that size is there from now on, whole."""

    async def grow(self, uid: str, capacity: int) -> None:
        """Ask for a larger volume; nothing to do is fine."""

    async def delete(self, uid: str) -> None:
        """Remove the claim; none is fine."""
