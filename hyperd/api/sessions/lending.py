"""One-time addresses of exports: who knows one reads what it is for, once, and nothing else.

They live in memory, as what is read is held by this process alone. One ends once its content was read to the end,
after ten minutes in which nobody used it, and after a day; its checksum is told until then.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Final

from hyperd import clock
from hyperd.errors import NotFound
from hyperd.imagefile.handle import DiskFormat
from hyperd.resources.schema.kind import Kind
from hyperd.store.interface import User

PATH: Final = "/export/"
"""Where addresses are; the secret follows."""
LENT_SECONDS: Final = 600.0
_LONGEST_SECONDS: Final = 86_400.0
"""However often it is used: so long may what is broken be gone on with."""
_SECRET_BYTES: Final = 16
_MOST: Final = 64
"""Of one user; the oldest of theirs goes for a newer one."""


@dataclass
class Lent:
    """What an address is for, and who has made it."""

    kind: Kind
    namespace: str
    name: str
    uid: str
    format: DiskFormat
    user: User
    used: float = field(default_factory=clock.elapsed)
    """When it was used last, by the clock that nobody sets."""
    made: float = field(default_factory=clock.elapsed)
    read: bool = False
    """Whether all was read."""

    @property
    def is_over(self) -> bool:
        now = clock.elapsed()
        return now - self.used > LENT_SECONDS or now - self.made > _LONGEST_SECONDS


class Lending:
    """All addresses."""

    def __init__(self) -> None:
        self._by_digest: dict[bytes, Lent] = {}
        self.base = ""
        """The URL that leads here from outside, without a path; none is given out without."""

    def lend(self, lent: Lent) -> str:
        """The URL that is good for it."""
        self._by_digest = {key: one for key, one in self._by_digest.items() if not one.is_over}
        mine = [key for key, one in self._by_digest.items() if one.user.name == lent.user.name]
        for key in mine[: max(0, len(mine) + 1 - _MOST)]:
            del self._by_digest[key]
        secret = secrets.token_hex(_SECRET_BYTES)
        self._by_digest[_digest(secret)] = lent
        return f"{self.base}{PATH}{secret}"

    def find(self, secret: str) -> Lent:
        """Raises NotFound for what is or was none."""
        found = self._by_digest.get(_digest(secret))
        if found is None or found.is_over:
            raise NotFound("Nothing is exported at this address: it was used or has expired. Ask for another one.")
        found.used = clock.elapsed()
        return found


def _digest(secret: str) -> bytes:
    """Found by its digest, how long a look-up takes tells nothing of a secret."""
    return hashlib.sha256(secret.encode()).digest()
