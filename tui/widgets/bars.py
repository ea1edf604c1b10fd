"""The lines around the list: the fleet above, what the list is, what runs and which keys matter below."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence, Set

from rich.cells import cell_len
from rich.segment import Segment
from rich.text import Text
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from hyperd.client import ages, sanitize
from hyperd.client.rates import percent
from tui.action import Action
from tui.homes import HomeState, HomeStatus

HOME_LOOK = {
    HomeStatus.CONNECTED: ("●", "green"),
    HomeStatus.CONNECTING: ("◌", "yellow"),
    HomeStatus.STALE: ("◐", "yellow"),
    HomeStatus.ERROR: ("✖", "red"),
}


_FEWEST_KEYS = 3
_ROOM_FOR_NEWS = 44
_MUCH = 0.9
"""From this part on somebody should look."""


class _Bar(Widget):
    """One line of which only the cells are painted that say something else."""

    def __init__(self) -> None:
        super().__init__()
        self._shown = Text()
        self._cells: list[Segment] = []

    def show(self, line: Text) -> None:
        """Put ``line`` there."""
        if line == self._shown:
            return
        self._shown = line
        before, self._cells = self._cells, _cells(line, self)
        length = max(len(before), len(self._cells))
        old, new = ([*cells, *[Segment(" ")] * (length - len(cells))] for cells in (before, self._cells))
        changed = [at for at in range(length) if old[at] != new[at]]
        if changed:
            self.refresh(Region(changed[0], 0, changed[-1] - changed[0] + 1, 1))

    def render_line(self, y: int) -> Strip:
        """The line, and room behind it."""
        base = self.rich_style
        return Strip(self._cells).apply_style(base).simplify().adjust_cell_length(self.size.width, base)


class TopBar(_Bar):
    """Homes, namespace, counts."""

    DEFAULT_CSS = "TopBar { height: 1; padding: 0 1; background: $surface; }"

    def present(
        self,
        homes: Iterable[tuple[str, HomeState]],
        namespace: str,
        counts: Sequence[tuple[str, int, int]],
        totals: Sequence[tuple[str, float]],
        *,
        read_only: bool,
    ) -> None:
        """``counts`` are (word, how many, how many of them not well), ``totals`` (word, which part is used)."""
        line = Text("hv ", style="bold")
        for name, state in homes:
            glyph, colour = HOME_LOOK[state.status]
            line.append(f" {sanitize.line(name)} ").append(glyph, style=colour)
            if state.status is HomeStatus.STALE:
                line.append(f" {ages.span(time.monotonic() - state.since)}", style=colour)
        line.append(f"   ns {sanitize.line(namespace) or 'all'}", style="dim")
        if read_only:
            line.append("  RO", style="bold yellow")
        for word, count, unwell in counts:
            line.append(f"   {word} ", style="dim").append(str(count))
            if unwell:
                line.append(f" ▲{unwell}", style="yellow")
        for word, part in totals:
            look = "" if part < _MUCH else "yellow"
            total = Text(f"  {word} ", style="dim").append(f"{percent(part):>4}", style=look)
            if line.cell_len + total.cell_len <= self.size.width - 2:
                line.append_text(total)  # whole, or not at all
        self.show(line)


class ListBar(_Bar):
    """The list's name, its filter, how much of it is shown."""

    DEFAULT_CSS = "ListBar { height: 1; padding: 0 1; }"

    def present(self, title: str, query: str, shown: int, total: int, marked: int) -> None:
        """Put it in a line."""
        line = Text(title, style="bold")
        if query:
            line.append(f"  /{query}", style="cyan")
        line.append(f"   {shown} of {total}" if shown != total else f"   {total}", style="dim")
        if marked:
            line.append(f"   {marked} marked", style="bold")
        self.show(line)


class BottomBar(_Bar):
    """What runs now, or what was just said; on the right, the keys for this row."""

    DEFAULT_CSS = "BottomBar { height: 1; padding: 0 1; background: $surface; }"

    def present(
        self,
        said: str,
        *,
        error: bool,
        running: Sequence[str],
        more: int,
        actions: Iterable[Action],
        refused: Set[str],
    ) -> None:
        """A message goes before what runs, of which ``more`` are not named; ids in ``refused`` are greyed."""
        left = Text()
        if said:
            left.append(("✖ " if error else "") + said, style="red" if error else "")
        elif running:
            left.append(f"{len(running) + more} running: ", style="cyan").append(" · ".join(running))
        width = self.size.width - 2
        shown = list(actions)
        keys = _keys(shown, refused)
        # What happens now says more than a key that stands in the help.
        while len(shown) > _FEWEST_KEYS and width - keys.cell_len - 2 < min(left.cell_len, _ROOM_FOR_NEWS):
            shown.pop(0)
            keys = _keys(shown, refused)
        room = width - keys.cell_len - 2
        if said and left.cell_len > room:
            # A sentence for the user goes before keys that the user knows.
            left.truncate(max(0, width), overflow="ellipsis")
            self.show(left)
            return
        left.truncate(max(0, room), overflow="ellipsis")
        left.append(" " * max(0, width - left.cell_len - keys.cell_len))
        self.show(left.append_text(keys))


def _cells(line: Text, widget: Widget) -> list[Segment]:
    """A segment for each cell; what is wider has an empty one after it."""
    found = []
    for segment in line.render(widget.app.console):
        for char in segment.text:
            found.append(Segment(char, segment.style))
            found += [Segment("", segment.style)] * (cell_len(char) - 1)
    return found


def _keys(actions: Iterable[Action], refused: Set[str]) -> Text:
    line = Text()
    for action in actions:
        grey = action.id in refused
        line.append(f"  {action.key_label} ", style="dim strike" if grey else "bold")
        line.append(action.title, style="dim strike" if grey else "dim")
    return line
