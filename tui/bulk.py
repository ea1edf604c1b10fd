"""What is done to one object after a question, and to several after the list of what will happen to each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from enum import StrEnum

from hyperd.errors import HyperdError
from tui.action import Target
from tui.desk import Desk

MOST_AT_ONCE = 32

Tell = Callable[[str], None]


def _nothing(_: Target) -> str:
    return ""


@dataclass(frozen=True)
class Deed:
    """One thing to do to each of some objects.

    Attributes:
        title: What is asked about: ``stop``.
        asks: What somebody should know before; empty where nothing is lost and nobody has to be asked.
        do: Does it and returns what came of it; tells meanwhile how far it is. Raises HyperdError.
        refuses: Why it cannot be done to this one now; empty where it can.
        foretell: What will happen to this one, beside what ``asks`` says of all.
        of: The kind, for the question.
    """

    title: str
    asks: str
    do: Callable[[Target, Tell], Coroutine[None, None, str]]
    refuses: Callable[[Target], str] = _nothing
    foretell: Callable[[Target], str] = _nothing
    of: str = ""


class Stand(StrEnum):
    """How far one of several is."""

    WAITING = "waiting"
    LEFT_OUT = "left out"
    BUSY = "busy"
    DONE = "done"
    FAILED = "failed"


@dataclass
class Line:
    """One of several, what will happen to it, and what came of it."""

    target: Target
    text: str
    stand: Stand


def lines_of(deed: Deed, targets: Sequence[Target]) -> list[Line]:
    """What will happen to each."""
    found = []
    for target in targets:
        reason = deed.refuses(target)
        text = f"{reason}: left out" if reason else deed.foretell(target)
        found.append(Line(target, text, Stand.LEFT_OUT if reason else Stand.WAITING))
    return found


def carry_out(desk: Desk, deed: Deed, targets: Sequence[Target]) -> None:
    """One under the cursor: at once, or after a question. Others: after their list was seen and agreed to."""
    if len(targets) != 1 or targets[0].key != desk.cursor:
        from tui.screens.bulk import Bulk

        desk.push(Bulk(desk, deed, lines_of(deed, targets)))
        return
    (target,) = targets

    async def work() -> None:
        desk.say(await deed.do(target, desk.say))

    def go() -> None:
        # The one that was asked about: the list may have moved on meanwhile.
        desk.work(work(), "write")

    if deed.asks:
        what = " ".join(part for part in (deed.title.capitalize(), deed.of, desk.named(target.key)) if part)
        more = deed.foretell(target)
        desk.ask(f"{what}?", f"{deed.asks}\n{more}" if more else deed.asks, go)
    else:
        go()


async def do_all(deed: Deed, lines: Sequence[Line], changed: Callable[[], None]) -> None:
    """Do it to all that wait; ``changed`` is called when a line says something else."""
    places = asyncio.Semaphore(MOST_AT_ONCE)

    async def one(line: Line) -> None:
        def tell(text: str) -> None:
            line.text = text
            changed()

        async with places:
            line.stand = Stand.BUSY
            try:
                line.text = await deed.do(line.target, tell)
                line.stand = Stand.DONE
            except HyperdError as err:
                line.text, line.stand = err.message, Stand.FAILED
            changed()

    async with asyncio.TaskGroup() as tasks:
        for line in lines:
            if line.stand is Stand.WAITING:
                tasks.create_task(one(line))


def summary(deed: Deed, lines: Sequence[Line]) -> str:
    """``stop: 5 done, 1 failed, 1 left out``."""
    counts = [(stand, sum(line.stand is stand for line in lines)) for stand in Stand]
    return f"{deed.title}: " + ", ".join(f"{count} {stand}" for stand, count in counts if count)
