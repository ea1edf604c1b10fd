"""Long work on many items in slices, between which others have the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

A = TypeVar("A")
T = TypeVar("T")

STEP_BYTES: Final = 12 << 10
"""Of JSON that are read or made in one step: about a hundred microseconds."""
_ITEM_BYTES: Final = 1 << 10
"""What an item costs beside its bytes, in the time of so many: lists of small ones had long steps."""


async def sliced(items: Sequence[A], work: Callable[[A], T], cost: Callable[[A], int]) -> list[T]:
    """``work`` over each of ``items``, in steps that cost ``STEP_BYTES`` each, as ``cost`` counts."""
    done, spent = list[T](), 0
    for item in items:
        done.append(work(item))
        spent += cost(item) + _ITEM_BYTES
        if spent > STEP_BYTES:
            spent = 0
            await asyncio.sleep(0)
    return done
