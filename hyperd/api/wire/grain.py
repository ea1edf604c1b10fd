"""How small the pieces may be in which something comes: chunks of a body, messages of a WebSocket."""

from __future__ import annotations

from typing import Final

_FREE_PIECES: Final = 1024
_LEAST_PIECE: Final = 64
"""Bytes that pieces beyond the first ones must have on average: each costs the same time and memory."""


def too_fine(size: int, pieces: int) -> bool:
    """Whether ``size`` bytes came in more pieces than is fair."""
    return pieces > _FREE_PIECES and size < pieces * _LEAST_PIECE
