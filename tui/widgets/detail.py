"""The pane below the list: one object in tabs, drawn only for the tab that is seen."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from rich.cells import cell_len
from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import ContentSwitcher, Static

from hyperd.client import sanitize
from tui import detail
from tui.fleet import Fleet
from tui.kind import CONSOLE, EVENTS, OVERVIEW, YAML, Kind, Relatives
from tui.shelf import Key, Object
from tui.usage import Usage, lines
from tui.widgets.console import ConsolePane
from tui.widgets.lines import LinesView
from tui.widgets.yaml import YamlView

_AROUND_NAME = 6
_SHORTEST_NAME = 8
"""Cells of a name that the tabs leave it."""


class TabLine(Static):
    """The object's name and the tabs on one line; a click chooses."""

    DEFAULT_CSS = "TabLine { height: 1; padding: 0 1; }"

    class Chosen(Message):
        """A tab was clicked."""

        def __init__(self, tab: str) -> None:
            super().__init__()
            self.tab = tab

    def __init__(self) -> None:
        super().__init__("")
        self._spans: list[tuple[int, int, str]] = []
        self._shown = Text()

    def present(self, name: str, tabs: tuple[str, ...], current: str) -> None:
        """Draw the line."""
        room = self.size.width - 2 - sum(cell_len(tab) + 2 for tab in tabs) - _AROUND_NAME
        title = Text(name or "nothing", style="bold")
        title.truncate(max(room, _SHORTEST_NAME), overflow="ellipsis")
        line = Text("─ ", style="dim").append_text(title)
        line.append(" ── " if title.plain != name else " ──── ", style="dim")
        self._spans = []
        for tab in tabs:
            start = line.cell_len
            line.append(tab, style="bold underline" if tab == current else "dim").append("  ")
            self._spans.append((start, line.cell_len, tab))
        line.append("─" * max(0, self.size.width - 2 - line.cell_len), style="dim")
        if line != self._shown:
            self._shown = line
            self.update(line)

    def on_click(self, event: events.Click) -> None:
        """Choose the tab under the pointer."""
        for start, end, tab in self._spans:
            if start <= event.x - 1 < end:
                self.post_message(self.Chosen(tab))


class DetailPane(Vertical):
    """Shows the object that ``present`` names; follows it as it changes."""

    DEFAULT_CSS = """
    DetailPane { height: 1fr; }
    DetailPane ContentSwitcher { height: 1fr; }
    DetailPane LinesView { height: 1fr; }
    """

    def __init__(self, fleet: Fleet, usage: Usage, *, escape: str) -> None:
        super().__init__()
        self._fleet = fleet
        self._usage = usage
        self._escape = escape
        self._kind: Kind | None = None
        self._following = False
        self._key: Key | None = None
        self.tab = OVERVIEW
        self.wraps = False

    def compose(self) -> ComposeResult:
        """The tab line, and a view for each tab."""
        yield TabLine()
        with ContentSwitcher(initial="lines"):
            yield LinesView(seekable=True, id="lines")
            yield YamlView(id="yaml")
            yield ConsolePane(self._fleet, escape=self._escape, id="console")

    @property
    def console(self) -> ConsolePane:
        return self.query_one(ConsolePane)

    @property
    def tabs(self) -> tuple[str, ...]:
        """The tabs of this kind of object."""
        return self._kind.tabs if self._kind is not None else (OVERVIEW,)

    def present(self, kind: Kind, key: Key | None) -> None:
        """Show another object, or the same one as it is now."""
        if (kind, key) != (self._kind, self._key):
            self._kind, self._key = kind, key
            if self.tab not in self.tabs:
                self.tab = OVERVIEW
            self._scroll_home()
            if self.console.key not in (None, key):
                self.console.disconnect()
        self.redraw()

    def choose(self, tab: str) -> None:
        """Show one tab."""
        if tab in self.tabs:
            if self.tab == CONSOLE and tab != CONSOLE:
                self.console.disconnect()
            held = self._view.has_focus
            self.tab = tab
            self._scroll_home()
            self.redraw()
            if held and tab != CONSOLE:
                self._view.focus()

    def step(self, by: int) -> None:
        """The next or previous tab."""
        self.choose(self.tabs[(self.tabs.index(self.tab) + by) % len(self.tabs)])

    def seek(self, word: str) -> None:
        """Mark a word in what is shown, and go there."""
        self._view.seek(word)

    def wrap(self) -> bool:
        """Have long lines of YAML go on below, or no longer; returns which."""
        self.wraps = not self.wraps
        self.redraw()
        return self.wraps

    def unfold(self) -> bool:
        """Show all of the YAML, or no longer; returns which."""
        return self.query_one(YamlView).unfold_all()

    @property
    def text(self) -> str:
        """What is shown, as plain text; of YAML all, also what is put away."""
        lines = [line.plain.rstrip() for line in self._view.lines]
        return "".join(f"{line}\n" for line in (self.query_one(YamlView).source if self.tab == YAML else lines))

    def focus_content(self) -> None:
        """Give the keys to what is shown."""
        (self.console.terminal if self.tab == CONSOLE else self._view).focus()

    @property
    def _view(self) -> LinesView:
        return self.query_one("#yaml" if self.tab == YAML else "#lines", LinesView)

    def _scroll_home(self) -> None:
        self.query_one("#lines", LinesView).scroll_home(animate=False)
        self.query_one(YamlView).home()

    def redraw(self) -> None:
        """Draw the tab again from what the fleet holds; costs nothing while the pane is hidden."""
        self._follow_events(self.display and self.tab == EVENTS)
        if not self.display:
            return
        kind, key = self._kind, self._key
        obj = self._fleet.get(kind.plural, key) if kind is not None and key is not None else None
        called = kind.called(obj) if kind is not None and obj is not None else ""
        name = sanitize.line(called or self._key.name) if self._key is not None else ""
        self.query_one(TabLine).present(name, self.tabs, self.tab)
        switcher = self.query_one(ContentSwitcher)
        if self.tab == CONSOLE and self._key is not None:
            switcher.current = "console"
            self.console.preview(self._key)
            return
        switcher.current = self._view.id
        if self.tab == YAML:
            self.query_one(YamlView).present(detail.yaml(obj) if obj is not None else (), wraps=self.wraps)
        else:
            self._view.set_lines(self._lines(obj))

    def _events(self, key: Key) -> Iterable[Object]:
        return self._fleet.shelf("events").about(key.home, key.uid)

    def _follow_events(self, wanted: bool) -> None:
        """Events are followed while they are shown."""
        if wanted != self._following:
            self._following = wanted
            (self._fleet.watch if wanted else self._fleet.unwatch)("events")

    def _lines(self, obj: Object | None) -> list[Text]:
        kind, key = self._kind, self._key
        if obj is None or kind is None or key is None:
            return []
        width = self._view.scrollable_content_region.width
        draw: dict[str, Callable[[], list[Text]]] = {
            OVERVIEW: lambda: detail.overview(
                kind, obj, self._relatives(kind, obj, key), width, self._live(kind, key, width)
            ),
            EVENTS: lambda: detail.events(self._events(key), width),
        }
        return draw[self.tab]()

    def _live(self, kind: Kind, key: Key, width: int) -> list[Text]:
        course = self._usage.of(kind.plural, key)
        return lines(course, width) if course is not None else []

    def _relatives(self, kind: Kind, obj: Object, key: Key) -> Relatives:
        found = ((reference, self._fleet.related(key, reference)) for reference in kind.relations(obj))
        return {reference: state for reference, state in found if state is not None}
