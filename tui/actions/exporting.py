"""The view as a file: what the filter shows, in its order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hyperd.errors import BadRequest
from tui.action import Parameters, Target, action
from tui.desk import Desk
from tui.export import FORMS, write


@dataclass(frozen=True)
class Where(Parameters):
    """A path that ends in .csv, .json or .yaml; without one, a name made of list and time, in this folder."""

    file: str = ""


def _export(desk: Desk, _: Sequence[Target], given: Where) -> None:
    name = given.file or f"hv-{desk.kind.plural}-{time.strftime('%Y%m%d-%H%M%S')}.csv"
    path = Path(name).expanduser()
    if path.suffix not in FORMS:
        raise BadRequest(f"{name} must end in {', '.join(FORMS)}")
    rows = desk.table.shown
    titles = [column.title for column in desk.table.columns]
    ages = [column.age for column in desk.table.columns]
    fleet, plural = desk.fleet, desk.kind.plural
    objects = [obj for key, _ in rows if (obj := fleet.get(plural, key)) is not None]
    values = [row.values for _, row in rows]

    async def do() -> None:
        await asyncio.to_thread(write, path, titles, ages, values, objects)
        desk.say(f"{len(values)} {desk.kind.title} are written to {path}")

    desk.work(do(), "export")


ACTIONS = (
    action(
        "export", "ctrl+s", "export", "write what is shown to a file: .csv, .json or .yaml", "Lists", _export,
        Where, words="export",
    ),
)  # fmt: skip
