"""The durable operations on disks: one file each, and one line here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from hyperd.controllers.disk.operations.fill import Fill
from hyperd.controllers.disk.operations.live import MigrateLive
from hyperd.controllers.disk.operations.migrate import Migrate
from hyperd.controllers.disk.ready import Disks
from hyperd.runtime.operations.operation import Operation

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_disk import VirtualDisk

TYPES: Final[Sequence[type[Operation[Disks, VirtualDisk]]]] = [
    Fill,
    Migrate,
    MigrateLive,
]
