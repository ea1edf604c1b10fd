"""What seeds are to the rest of the house: what a guest configures itself by on its first boot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from hyperd.imagefile.handle import Handle


class Seeds(Protocol):
    """One a machine, by its uid: for cloud-init or for sysprep."""

    async def clean(self) -> None:
        """At the daemon's start: make what is missing, remove what a crash left unfinished."""
        ...

    def handle(self, uid: str) -> Handle:
        """What the seed is or will be opened by; ValueError for what is no uid."""
        ...

    async def write(self, uid: str, *, hostname: str, user_data: bytes) -> Handle:
        """Create or replace the seed by one for cloud-init; the same input changes nothing.

        PermanentError if it is too large.
        """
        ...

    async def write_answers(self, uid: str, answers: Mapping[str, bytes]) -> Handle:
        """Likewise by a CD-ROM with sysprep's files, by their names."""
        ...

    async def content(self, uid: str) -> bytes | None:
        """The seed as it is; None without one."""
        ...

    async def put(self, uid: str, content: bytes) -> Handle:
        """Create or replace the seed by what ``content`` gave on another node."""
        ...

    async def remove(self, uid: str) -> None:
        """Delete the seed; none is fine."""
        ...

    async def inventory(self) -> Sequence[str]:
        """The uids that have a seed."""
        ...
