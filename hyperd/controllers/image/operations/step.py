"""The step that every image begins with, whatever it is made of."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from hyperd.controllers.image.transfer import scaled
from hyperd.progress import Report
from hyperd.runtime.operations.operation import Step
from registry import interface
from registry.models import ImportedImage, Request


class ImageStep(Step):
    """The image in the registry, under the object's own tag; of the same source, it is never made twice."""

    name: ClassVar = "import"

    def __init__(self, images: interface.Images, request: Request) -> None:
        self._images = images
        self._source = request
        self._imported: ImportedImage | None = None
        self.share = 1.0
        """How much of the whole progress this is."""

    async def done(self) -> bool:
        self._imported = await self._images.imported(self._source)
        return self._imported is not None

    async def run(self, report: Report) -> None:
        self._imported = await self.make(lambda done: report(scaled(done, start=0.0, end=self.share)))

    @abstractmethod
    async def make(self, report: Report | None) -> ImportedImage:
        """Have it made, or found."""

    async def undo(self) -> None:
        """What is tagged is the object's, and goes with it; what is not vanishes with the try."""

    async def imported(self) -> ImportedImage:
        """After the step."""
        return self._imported or await self.make(None)
