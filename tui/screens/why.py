"""The chain of causes of one object, and the way to its root."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from hyperd.client import sanitize
from hyperd.client.health import GLYPHS
from hyperd.client.why import Cause
from tui.desk import Desk
from tui.detail import fold
from tui.lines import COLOURS
from tui.screens.closing import ClosesOnce
from tui.widgets.lines import LinesView

_INDENT = 6


class Why(ClosesOnce, ModalScreen[None]):
    """Enter goes to the first root, any of the usual keys closes it."""

    DEFAULT_CSS = """
    Why { align: center middle; background: $background 60%; }
    Why > Vertical {
        width: 96%; max-width: 130; height: auto; max-height: 90%; padding: 1 2; background: $surface;
    }
    Why Static { height: auto; }
    Why LinesView { background: $surface; height: auto; max-height: 30; margin-bottom: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "root", show=False),
        Binding("escape,q,w", "dismiss", show=False),
    ]

    def __init__(self, desk: Desk, home: str, cause: Cause) -> None:
        super().__init__()
        self._desk = desk
        self._home = home
        self._cause = cause

    def compose(self) -> ComposeResult:
        """The chain and the keys."""
        with Vertical():
            yield LinesView()
            yield Static(Text("Enter go to the root   Esc close", style="dim"))

    def on_mount(self) -> None:
        """Fill it."""
        self.query_one(LinesView).focus()

    def on_resize(self) -> None:
        """Fold to the width there is."""
        width = min(130, self.size.width * 96 // 100) - 8
        view = self.query_one(LinesView)
        view.styles.max_height = max(3, self.size.height * 9 // 10 - 5)
        view.set_lines(fold(cause_lines(self._cause), width, indent=_INDENT))

    def action_root(self) -> None:
        """To the object that it all comes from, if it is there."""
        root = next(self._cause.roots())
        self.dismiss()
        fleet = self._desk.fleet
        for plural, resource in list(fleet.resources.items()):
            key = fleet.shelf(plural).find(self._home, root.namespace, root.name)
            if resource.kind == root.kind and key is not None:
                self._desk.go_to(plural, key)
                return
        self._desk.say(f"{root.kind} {root.name} is not among what is followed", error=True)


def cause_lines(cause: Cause, depth: int = 0) -> Iterator[Text]:
    """The chain, what mends the roots below them."""
    margin = "  " * (depth - 1) + "└ " if depth else ""
    line = Text(f"{margin}{sanitize.line(f'{cause.kind} {cause.name}')}  ")
    line.append(f"{GLYPHS[cause.level]} {sanitize.line(cause.word)}", style=COLOURS[cause.level])
    yield line.append(f"  {sanitize.line(cause.text)}" if cause.text else "")
    for one in cause.because:
        yield from cause_lines(one, depth + 1)
    if cause.mend:
        yield Text("  " * (depth + 1)).append("mend: ", style="bold").append(sanitize.line(cause.mend))
    elif not depth and cause.well:
        yield Text("  nothing to mend", style="dim")
