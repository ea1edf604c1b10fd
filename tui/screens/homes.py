"""The homes: how each is and what mends it; one is added here, taken away, or connected anew."""

from __future__ import annotations

import asyncio
import time
from typing import ClassVar

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from hyperd.client import ages, remotes, sanitize
from hyperd.errors import HyperdError
from tui.desk import Desk
from tui.detail import fold
from tui.homes import HomeState, HomeStatus
from tui.screens.closing import ClosesOnce
from tui.screens.form import Form, Values
from tui.screens.naming import READ_ONLY
from tui.widgets.bars import HOME_LOOK
from tui.widgets.entries import Entry
from tui.widgets.lines import LinesView

_WIDEST = 150
_TICK_SECONDS = 1.0
_COLUMNS = (("STATE", 13), ("SINCE", 6), ("RTT", 6), ("VERSION", 10), ("NODES", 5), ("VM", 5))


class Homes(ClosesOnce, ModalScreen[None]):
    """A line a home, and why the one under the cursor is not there."""

    DEFAULT_CSS = """
    Homes { align: center middle; background: $background 60%; }
    Homes > Vertical {
        width: 96%; max-width: 150; height: auto; max-height: 90%; padding: 1 2; background: $surface;
    }
    Homes Static { height: auto; }
    Homes LinesView { background: $surface; height: auto; max-height: 20; }
    Homes #why { margin: 1 0; min-height: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = []

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self._desk = desk
        self._at = 0

    def compose(self) -> ComposeResult:
        """The homes, the reason, the keys."""
        with Vertical():
            yield LinesView()
            yield Static(id="why")
            yield Static(Text("a add   d take away   r connect anew   ↑ ↓ move   Esc close", style="dim"))

    def on_mount(self) -> None:
        """Follow them, and how many nodes they have."""
        self._desk.fleet.watch("nodes")
        self.redraw()
        self.set_interval(_TICK_SECONDS, self.redraw)

    def on_unmount(self) -> None:
        """Nobody counts nodes any more."""
        self._desk.fleet.unwatch("nodes")

    def on_resize(self) -> None:
        """Fold to the width there is."""
        self.query_one(LinesView).styles.max_height = max(3, self.size.height * 9 // 10 - 9)
        self.redraw()

    @property
    def _names(self) -> list[str]:
        return list(self._desk.fleet.homes)

    def redraw(self) -> None:
        """How they are now."""
        names, width = self._names, min(_WIDEST, self.size.width * 96 // 100) - 6
        self._at = max(0, min(self._at, len(names) - 1))
        lines = [_titles(), *(self._line(name) for name in names)]
        for line in lines:
            line.truncate(width, overflow="ellipsis")
        self.query_one(LinesView).set_lines(lines)
        why = self.query_one("#why", Static)
        if names:
            state = self._desk.fleet.homes[names[self._at]]
            why.update(Text("\n").join(fold(_explained(state), width, indent=2)))
        else:
            why.update(Text("There is no home; a adds one.", style="dim"))

    def _line(self, name: str) -> Text:
        state = self._desk.fleet.homes[name]
        glyph, colour = HOME_LOOK[state.status]
        chosen = name == self._names[self._at]
        line = Text("▌ " if chosen else "  ", style="bold" if chosen else "")
        line.append(f"{sanitize.line(name):<14.14} ", style="bold" if chosen else "")
        line.append(f"{glyph} {state.status:<11} ", style=colour)
        rtt = f"{state.answered_in * 1000:.0f}ms" if state.answered_in is not None else "–"
        nodes, machines = (self._count(name, plural) for plural in ("nodes", "virtualmachines"))
        cells = (
            ages.span(time.monotonic() - state.since),
            rtt,
            sanitize.line(state.version.rpartition("+hyperd.")[2]) or "–",
            nodes,
            machines,
        )
        for cell, (_, width) in zip(cells, _COLUMNS[1:], strict=True):
            line.append(f"{cell:<{width}.{width}} ")
        return line.append(sanitize.line(state.home.where), style="dim")

    def _count(self, home: str, plural: str) -> str:
        return str(sum(key.home == home for key in self._desk.fleet.objects(plural)))

    def on_key(self, event: events.Key) -> None:
        """Move, or do it."""
        event.stop()
        event.prevent_default()
        step = {"up": -1, "k": -1, "down": 1, "j": 1}.get(event.key)
        if step is not None:
            self._at += step
            self.redraw()
        elif event.key in ("escape", "q", "H"):
            self.dismiss()
        elif event.key in ("a", "d") and self._desk.read_only:
            self._desk.say(f"the homes stay as they are: {READ_ONLY}", error=True)
        elif event.key == "a":
            self.app.push_screen(Form("Another home", _ENTRIES, self._add, check=_wrong))
        elif event.key in ("d", "r") and self._names:
            name = self._names[self._at]
            self._desk.work(self._take_away(name) if event.key == "d" else self._again(name), f"home {name}")

    def _add(self, values: Values) -> None:
        self._desk.work(self._join(values), "homes")

    async def _join(self, values: Values) -> None:
        remote = _remote(values)
        home = await asyncio.to_thread(remote.home)
        await asyncio.to_thread(remotes.add, remote)
        self._desk.fleet.join(home)
        self._desk.say(f"home {remote.name} is added, and kept")
        self._follow()

    async def _take_away(self, name: str) -> None:
        kept = name in await asyncio.to_thread(remotes.load)
        if kept:
            await asyncio.to_thread(remotes.remove, name)
        await self._desk.fleet.leave(name)
        self._desk.say(
            f"home {name} is taken away" + ("" if kept else "; it was not kept, and comes with the next run")
        )
        self._follow()

    async def _again(self, name: str) -> None:
        await self._desk.fleet.again(name)
        self._follow()

    def _follow(self) -> None:
        if self.is_running:
            self.redraw()


_ENTRIES = (
    Entry("name", "Name", help="what it is called here", needed=True),
    Entry(
        "place", "Where", needed=True,
        help="ssh://USER@HOST of another machine, the path of a socket, or a context of the kubeconfig",
    ),
)  # fmt: skip


def _remote(values: Values) -> remotes.Remote:
    """Raises BadRequest."""
    place = values["place"]
    is_context = "://" not in place and "/" not in place
    return remotes.Remote(values["name"], place="" if is_context else place, context=place if is_context else "")


def _wrong(values: Values) -> str:
    """What can be told without a look at a file."""
    try:
        remote = _remote(values)
        if remote.place:
            remote.home()
    except HyperdError as err:
        return err.message
    return ""


def _titles() -> Text:
    line = Text(f"  {'HOME':<14} ", style="bold")
    for title, width in _COLUMNS:
        line.append(f"{title:<{width}} ")
    return line.append("WHERE")


def _explained(state: HomeState) -> list[Text]:
    where = Text(sanitize.line(state.home.where), style="dim")
    if state.trouble:
        return [where, Text(sanitize.line(state.trouble), style=HOME_LOOK[state.status][1])]
    return [where, Text("not answered yet" if state.status is HomeStatus.CONNECTING else "answers", style="dim")]
