"""Why an object is not well: the chain of causes, asked of its home anew."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from hyperd.client.home import Home
from hyperd.client.why import Cause
from tui.action import Parameters, Target, action
from tui.desk import Desk
from tui.shelf import Object

_ANSWER_SECONDS = 10.0


def _asked(home: Home, obj: Object) -> Cause:
    """Blocking. Raises HyperdError."""
    from hyperd.client.lookup import events_of, finder
    from hyperd.client.sync import Client
    from hyperd.client.why import why

    client = Client(home, timeout=_ANSWER_SECONDS)
    try:
        return why(obj, finder(client), lambda one: events_of(client, one))
    finally:
        client.close()


async def _explain(desk: Desk, target: Target) -> None:
    from tui.screens.why import Why

    home = desk.fleet.homes[target.key.home].home
    cause = await asyncio.to_thread(_asked, home, target.obj)
    if desk.cursor == target.key:
        desk.push(Why(desk, target.key.home, cause))
    else:  # a slow home answers somebody who has gone on, and whose keys are for something else
        root = next(cause.roots())
        desk.say(f"{desk.named(target.key)}: {root.kind} {root.name} {root.word}")


def _why(desk: Desk, targets: Sequence[Target], given: Parameters) -> None:
    desk.work(_explain(desk, targets[0]), "why", opens=True)


ACTIONS = (
    action(
        "why", "w", "why", "what keeps it from being well, and what mends that", "Object", _why, Parameters,
        words="why", applies=lambda kind: kind.editable,
    ),
)  # fmt: skip
