"""A home itself: whether it answers, how soon, in which version, and which kinds it serves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from hyperd.client.resource import Resource
from hyperd.errors import Forbidden, HyperdError, NotFound, ServiceUnavailable, Timeout
from tui.homes import HomeState, HomeStatus

if TYPE_CHECKING:
    from hyperd.client.aio import AsyncClient

RETRY_SECONDS = (0.5, 1.0, 2.0, 5.0)
BEAT_SECONDS = 4.0
"""How often a home must answer: a watch is silent for minutes, whether its daemon is well or hangs."""
_FIRST_SECONDS = 0.5


async def watch(
    state: HomeState,
    client: AsyncClient,
    tell: Callable[[HomeStatus, str], None],
    known: Callable[[Resource], object],
) -> None:
    """Follow one home until cancelled; ``known`` hears of each kind that it serves."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_discover(client, known))
        tasks.create_task(_beat(state, client, tell))


async def _beat(state: HomeState, client: AsyncClient, tell: Callable[[HomeStatus, str], None]) -> None:
    """Notice a home that hangs: its connections stay open, and say nothing."""
    hangs = False
    pause = _FIRST_SECONDS
    while True:
        await asyncio.sleep(pause)
        if state.status is not HomeStatus.CONNECTED and not hangs:
            continue
        pause = BEAT_SECONDS
        began = time.monotonic()
        try:
            state.version = await client.ping()
        except (ServiceUnavailable, Timeout) as err:
            hangs = True
            state.answered_in = None
            tell(HomeStatus.STALE, err.message)
            continue
        except HyperdError:
            pass  # a refusal is an answer
        state.answered_in = time.monotonic() - began
        if hangs:
            hangs = False
            tell(HomeStatus.CONNECTED, "")


async def _discover(client: AsyncClient, known: Callable[[Resource], object]) -> None:
    """Know every kind that a home serves; what nobody looks at is not followed."""
    failures = 0
    while True:
        try:
            for resource in await client.discover():
                known(resource)
        except (Forbidden, NotFound):
            return  # an old server, or a login of few rights: what we know is what there is
        except HyperdError:
            await asyncio.sleep(RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)])
            failures += 1
        else:
            return
