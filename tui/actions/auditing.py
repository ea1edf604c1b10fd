"""Who did what: the audit log of a home on this host, as ``hv audit`` reads it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from hyperd.errors import BadRequest
from tui.action import Parameters, Target, action
from tui.desk import Desk

_LINES = "2000"
_SECONDS = 30.0


@dataclass(frozen=True)
class Of(Parameters):
    """A home's name; without one that of the row, or the only one."""

    home: str = ""


async def _show(desk: Desk, name: str) -> None:
    from tui.screens.page import Page

    home = desk.fleet.homes[name].home
    if home.ssh or not home.socket:
        raise BadRequest(f"{name} is on another host, where its audit log is a file: run hv audit there")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "hyperd.cli.main", "audit", "--tail", _LINES, f"--socket={home.socket}",
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        out, err = await asyncio.wait_for(process.communicate(), _SECONDS)
    except TimeoutError as late:
        process.kill()
        raise BadRequest(f"the audit log of {name} is not read in {_SECONDS:.0f} s") from late
    if process.returncode:
        raise BadRequest(err.decode("utf-8", "replace").strip().removeprefix("hv: "))
    desk.push(Page(f"audit log of {name}", out.decode("utf-8", "replace").splitlines()))


def _audit(desk: Desk, _: Sequence[Target], given: Of) -> None:
    homes = desk.fleet.homes
    name = given.home or (desk.cursor.home if desk.cursor is not None else next(iter(homes), ""))
    if name not in homes:
        raise BadRequest(f"no home {name}; there are {', '.join(homes)}")
    desk.work(_show(desk, name), "audit", opens=True)


ACTIONS = (
    action(
        "audit", "", "audit", "who did what, by a home's audit log", "General", _audit, Of, words="audit",
    ),
)  # fmt: skip
