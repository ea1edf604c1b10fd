"""What a guest reads as the serial of a device."""

from __future__ import annotations

import hashlib


def serial_of(uid: str) -> str:
    """The serial that the guest sees: md5 hex of the source object's uid, as the reference has it."""
    return hashlib.md5(uid.encode(), usedforsecurity=False).hexdigest()
