"""The namespaces, with how much is in each of them; Enter shows one, or all of them."""

from __future__ import annotations

from collections import Counter
from typing import ClassVar

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from hyperd.client import sanitize
from tui.desk import Desk
from tui.screens.closing import ClosesOnce
from tui.widgets.lines import LinesView

_TICK_SECONDS = 1.0
_LONGEST = 63
_ALL = ""


class Namespaces(ClosesOnce, ModalScreen[None]):
    """What is typed narrows the list: letters of a name anywhere in it."""

    DEFAULT_CSS = """
    Namespaces { align: center middle; background: $background 60%; }
    Namespaces > Vertical {
        width: 96%; max-width: 72; height: auto; max-height: 90%; padding: 1 2; background: $surface;
    }
    Namespaces Static { height: auto; }
    Namespaces LinesView { background: $surface; height: auto; max-height: 30; margin: 1 0; }
    """
    BINDINGS: ClassVar[list[BindingType]] = []

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self._desk = desk
        self._typed = ""
        self._at = desk.trail.namespace
        self._shown: list[str] = []
        self._counts: dict[str, Counter[str]] = {}
        self._look()  # keys may come before it is painted

    def compose(self) -> ComposeResult:
        """What was typed, the list, the keys."""
        with Vertical():
            yield Static(id="typed")
            yield LinesView()
            yield Static(Text("Enter shows it   letters narrow the list   ↑ ↓ move   Esc close", style="dim"))

    def on_mount(self) -> None:
        """Follow the namespaces, also those that hold nothing."""
        self._desk.fleet.watch("namespaces")
        self.redraw()
        self.set_interval(_TICK_SECONDS, self.redraw)

    def on_unmount(self) -> None:
        """No longer."""
        self._desk.fleet.unwatch("namespaces")

    def on_resize(self) -> None:
        """Leave room for what is typed and the keys."""
        self.query_one(LinesView).styles.max_height = max(3, self.size.height * 9 // 10 - 8)

    def _look(self) -> None:
        counted = [kind for kind in self._desk.kinds if kind.counted]
        fleet = self._desk.fleet
        self._counts = counts = {
            kind.counted: Counter(key.namespace for key in fleet.objects(kind.plural)) for kind in counted
        }
        known = {key.name for key in fleet.objects("namespaces")}
        known |= {namespace for found in counts.values() for namespace in found if namespace}
        self._shown = [name for name in (_ALL, *sorted(known)) if self._typed in name]
        if self._at not in self._shown:
            self._at = self._shown[0] if self._shown else ""

    def redraw(self) -> None:
        """The namespaces as they are now."""
        self._look()
        if not self.query(LinesView):
            return
        self.query_one("#typed", Static).update(Text(f"namespace  {self._typed}▏", style="bold"))
        titles = "".join(f"{word:>7}" for word in self._counts)
        lines = [Text(f"  {'':<32}{titles}", style="dim")]
        for name in self._shown:
            chosen = name == self._at
            line = Text(f"{'▌ ' if chosen else '  '}{sanitize.line(name) or 'all':<32.32}", style="bold" * chosen)
            for found in self._counts.values():
                number = found[name] if name else sum(found.values())
                line.append(f"{number or '–':>7}", style="" if number else "dim")
            lines.append(line)
        view = self.query_one(LinesView)
        view.set_lines(lines)
        if self._at in self._shown:
            view.scroll_to(y=max(0, self._shown.index(self._at) + 2 - view.size.height), animate=False)

    def on_key(self, event: events.Key) -> None:
        """Move, narrow, choose, or leave."""
        event.stop()
        event.prevent_default()
        step = {"up": -1, "down": 1}.get(event.key)
        if event.key == "escape":
            self.dismiss()
            return
        if event.key == "enter" and self._shown:
            self.dismiss()
            self._desk.show_namespace(self._at)
            return
        if step is not None and self._shown:
            at = self._shown.index(self._at) + step
            self._at = self._shown[max(0, min(at, len(self._shown) - 1))]
        elif event.key == "backspace":
            self._typed = self._typed[:-1]
        elif event.character is not None and event.is_printable and len(self._typed) < _LONGEST:
            self._typed += event.character
        self.redraw()
