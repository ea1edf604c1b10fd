"""The durable operations on images: one file each, and one line here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hyperd.controllers.image.operations.importing import Images, Import
from hyperd.runtime.operations.operation import Operation

if TYPE_CHECKING:
    from hyperd.controllers.usage import Image

TYPES: Final[tuple[type[Operation[Images, Image]], ...]] = (Import,)
