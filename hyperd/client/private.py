"""Files for nobody but the user, whatever the umask."""

from __future__ import annotations

import os


def opener(path: str, flags: int) -> int:
    """For ``open(..., opener=)``: a file that is made is not read by others; one that is there stays as it is."""
    return os.open(path, flags, 0o600)
