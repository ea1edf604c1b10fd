"""The durable operations on images: one file each, and one line here."""

from __future__ import annotations

from typing import Final

from hyperd.controllers.image.operations.importing import Images, Import
from hyperd.resources.schema.kind import Object
from hyperd.runtime.operations.operation import Operation

TYPES: Final[tuple[type[Operation[Images, Object]], ...]] = (Import,)
