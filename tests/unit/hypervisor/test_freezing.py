"""Guests that are held: not all at once, however many are asked for."""

from __future__ import annotations

import asyncio

import pytest

from hyperd.hypervisor import freezing
from hyperd.hypervisor.freezing import Freezing


async def test_few_guests_are_held_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freezing, "_MOST_HELD", 2)
    held: set[str] = set()
    most = 0

    async def freeze(uid: str) -> int:
        nonlocal most
        held.add(uid)
        most = max(most, len(held))
        return 1

    async def thaw(uid: str) -> int:
        held.discard(uid)
        return 1

    all_ = Freezing("test:///default", freeze=freeze, thaw=thaw)

    async def take(uid: str) -> bool:
        async with all_.frozen(uid) as frozen:
            await asyncio.sleep(0.01)
        return frozen.whole

    assert await asyncio.gather(*(take(f"u{number}") for number in range(5))) == [True] * 5
    assert (most, held) == (2, set())
