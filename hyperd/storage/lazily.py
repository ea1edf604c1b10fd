"""Volumes of an image that is not on the node yet: a backend that can have them has one of these.

Such a volume is made at once, and a guest that opens it before the image is there reads that from who fetches it.
Once it is there the volume is like any other, but such a guest still has to go on in it: a new top that reads the
file is prepared, the hypervisor pivots to it, and it takes the place of the first one. Until that is committed the
first one is the volume, whoever dies: the guest is stopped meanwhile, so that both are the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Protocol

from hyperd.imagefile.handle import Handle

FETCHING: Final = "its image is still being fetched"
"""The end of a sentence: why nothing but a guest may read the volume, nor be made of it."""


class Lazily(Protocol):
    """Each call is of a volume's uid, and may be repeated. Raises NotFound without the volume."""

    async def image(self, uid: str) -> Path | None:
        """The place of the image that the volume overlays, if that is being fetched, or was until just now."""
        ...

    async def prepare(self, uid: str) -> Handle:
        """A new, empty top, which overlays the image and nothing else; one that was prepared before is lost.

        PermanentError for a volume that has other layers.
        """
        ...

    async def prepared(self, uid: str) -> Handle | None:
        """What ``prepare`` gave, if that is neither committed nor cancelled."""
        ...

    async def commit(self, uid: str) -> None:
        """What was prepared holds all that the volume had, and is the volume from now on; none is fine."""
        ...

    async def cancel(self, uid: str) -> None:
        """Remove what was prepared, which no guest has open; none is fine."""
        ...
