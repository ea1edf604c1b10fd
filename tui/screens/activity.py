"""What is on its way, with how far and how long yet, and below it what the bottom line has said."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from hyperd.client import ages, sanitize
from tui.action import Target
from tui.desk import Desk
from tui.detail import fold
from tui.screens.closing import ClosesOnce
from tui.screens.confirm import Confirm
from tui.screens.naming import READ_ONLY
from tui.shelf import Key
from tui.widgets.lines import LinesView
from tui.works import Pace

_TICK_SECONDS = 1.0
_WIDEST = 130
_BAR = 12
_MOST_LISTED = 200
_PERCENT = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?%")
_OF_SOME = re.compile(r"([0-9]+) of ([0-9]+) ")
_OPERATIONS = ("virtualmachineoperations", "virtualmachinesnapshotoperations")


@dataclass(frozen=True)
class _Item:
    """One thing that goes on. ``end`` cancels it, after ``asked``."""

    key: object
    title: str
    part: float | None
    detail: str
    asked: str
    end: Callable[[], None]


class Activity(ClosesOnce, ModalScreen[None]):
    """Enter goes to the object, ``x`` cancels what is under the cursor after a question."""

    DEFAULT_CSS = """
    Activity { align: center middle; background: $background 60%; }
    Activity > Vertical { width: 96%; max-width: 130; height: 90%; padding: 1 2; background: $surface; }
    Activity Static { height: auto; }
    Activity LinesView { background: $surface; height: 1fr; }
    Activity #log { border-top: solid $surface-lighten-2; }
    """
    BINDINGS: ClassVar[list[BindingType]] = []

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self._desk = desk
        self._at: object = None
        self._items: list[_Item] = []
        self._pace = Pace()

    def compose(self) -> ComposeResult:
        """What goes on, what was said, the keys."""
        with Vertical():
            yield LinesView(id="running")
            yield LinesView(id="log")
            yield Static(Text("Enter go there   x cancel   PgUp PgDn messages   Esc close", style="dim"))

    def on_mount(self) -> None:
        """Follow it."""
        self.redraw()
        self.query_one("#log", LinesView).scroll_end(animate=False)
        self.set_interval(_TICK_SECONDS, self.redraw)

    def redraw(self) -> None:
        """What goes on now."""
        self._items = list(self._found())
        if self._place is None:
            self._at = self._items[0].key if self._items else None
        width = min(_WIDEST, self.size.width * 96 // 100) - 6
        lines = [self._line(item, width) for item in self._items]
        self.query_one("#running", LinesView).set_lines(lines or [Text("Nothing is on its way.", style="dim")])
        log = self.query_one("#log", LinesView)
        at_end = log.scroll_offset.y >= log.max_scroll_y
        log.set_lines(fold(self._log(), width, indent=10) or [Text("Nothing was said yet.", style="dim")])
        if at_end:
            log.scroll_end(animate=False)

    @property
    def _place(self) -> int | None:
        return next((place for place, item in enumerate(self._items) if item.key == self._at), None)

    def _line(self, item: _Item, width: int) -> Text:
        chosen = item.key == self._at
        line = Text("▌ " if chosen else "  ", style="bold" if chosen else "")
        if item.part is not None:
            full = round(item.part * _BAR)
            line.append("━" * full, style="cyan").append("─" * (_BAR - full), style="dim")
            line.append(f" {item.part:4.0%} ")
            left = self._pace.left(item.key, item.part)
            line.append(f"{ages.span(left) if left is not None else '–':>5} left  ", style="dim")
        else:
            line.append(f"{'◐':^{_BAR}}                   ", style="cyan")
        line.append(item.title, style="bold" if chosen else "")
        line.append(f"  {item.detail}" if item.detail else "", style="dim")
        line.truncate(width, overflow="ellipsis")
        return line

    def _found(self) -> Iterator[_Item]:
        for work in self._desk.works.running:
            yield _Item(
                id(work), sanitize.line(work.title), work.part, "", "What was sent is of no use then.", work.cancel
            )
        listed = 0
        for kind in self._desk.kinds:
            if kind.running is None:
                continue
            shelf = self._desk.fleet.shelf(kind.plural)
            for key, state in list(shelf.busy.items())[: _MOST_LISTED - listed]:
                if not (text := kind.running(shelf.objects[key], state)):
                    continue
                listed += 1
                target = Target(kind, key, shelf.objects[key])
                word = kind.words[0]
                where = "" if text.startswith(key.name) else f"  {key.name}"
                yield _Item(
                    key, sanitize.line(f"{word} {text}{where}"), _part(state.progress), self._where(key),
                    _loss(target), self._ending(target),
                )  # fmt: skip

    def _where(self, key: Key) -> str:
        several = len(self._desk.fleet.homes) > 1
        return sanitize.line(" · ".join(part for part in (key.namespace, key.home if several else "") if part))

    def _ending(self, target: Target) -> Callable[[], None]:
        async def do() -> None:
            key, resource = target.key, self._desk.fleet.resources[target.kind.plural]
            client = self._desk.fleet.connected(key.home)
            await client.delete(resource, key.namespace or None, key.name, uid=key.uid)
            self._desk.say(f"{key.name} is cancelled")

        return lambda: self._desk.work(do(), "write")

    def _log(self) -> list[Text]:
        lines = []
        for when, text, error in self._desk.news.log:
            line = Text(time.strftime("%H:%M:%S  ", time.localtime(when)), style="dim")
            lines.append(line.append(f"✖ {text}" if error else text, style="red" if error else ""))
        return lines

    def on_key(self, event: events.Key) -> None:
        """Move, cancel, go there, or leave."""
        event.stop()
        event.prevent_default()
        step = {"up": -1, "k": -1, "down": 1, "j": 1}.get(event.key)
        place = self._place
        if event.key in ("escape", "q", "a"):
            self.dismiss()
        elif event.key in ("pageup", "pagedown", "home", "end"):
            self.query_one("#log", LinesView).scroll_by(event.key)
        elif place is None:
            return
        elif step is not None:
            self._at = self._items[max(0, min(place + step, len(self._items) - 1))].key
            self.redraw()
        elif event.key == "x" and self._desk.read_only and isinstance(self._items[place].key, Key):
            self._desk.say(f"nothing is cancelled: {READ_ONLY}", error=True)
            self.redraw()
        elif event.key == "x":
            item = self._items[place]
            self.app.push_screen(
                Confirm(f"Cancel {item.title}", item.asked), lambda yes: item.end() if yes else None
            )
        elif event.key == "enter" and isinstance(key := self._items[place].key, Key):
            self.dismiss()
            plural = next(
                kind.plural for kind in self._desk.kinds if key in self._desk.fleet.shelf(kind.plural).busy
            )
            self._desk.go_to(plural, key)


def _loss(target: Target) -> str:
    """What is lost where it is cancelled: that is a deletion of what is not whole yet."""
    if target.kind.plural in _OPERATIONS:
        return "The operation is deleted: what it has begun is undone or left as it is, the machine stays."
    return f"It is deleted: {target.obj.get('kind') or 'object'!s} {target.key.name} is not whole yet."


def _part(progress: str) -> float | None:
    if (found := _PERCENT.search(progress)) is not None:
        return min(1.0, float(found[1]) / 100)
    if (found := _OF_SOME.search(progress)) is not None and int(found[2]):
        return min(1.0, int(found[1]) / int(found[2]))
    return None
