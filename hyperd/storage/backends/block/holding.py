"""A partition that is held open: as long as it is, nobody removes it, and its number is no other's."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from hyperd.background import to_the_end
from hyperd.imagefile.handle import BlockHandle, DiskFormat
from hyperd.storage.backends.block.table import Part


@dataclass(slots=True)
class Held:
    """``path`` leads to it until it is closed."""

    part: Part
    path: Path
    descriptor: int
    is_open: bool = True

    @property
    def handle(self) -> BlockHandle:
        return BlockHandle(self.path, DiskFormat.RAW)

    def close(self) -> None:
        """Once more is fine."""
        if self.is_open:
            self.is_open = False
            os.close(self.descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@asynccontextmanager
async def held(hold: Callable[[], Held]) -> AsyncIterator[Held]:
    """What ``hold`` opens in a thread, until the block ends; closed as well where nobody waits for it any more."""
    with ExitStack() as stack:
        yield await to_the_end(lambda: stack.enter_context(hold()))
