"""The durable operations on snapshots of disks: one file each, and one line here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from hyperd.controllers.context import Context
from hyperd.controllers.snapshot.operations.take import Take
from hyperd.runtime.operations.operation import Operation

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_disk_snapshot import VirtualDiskSnapshot

TYPES: Final[Sequence[type[Operation[Context, VirtualDiskSnapshot]]]] = [
    Take,
]
