"""A table that draws only what is seen: ten thousand rows cost what forty do.

Rows are asked for when they are drawn or compared; strips are kept by row, version and look; a change of one row
repaints one line. The cursor follows its row, not its place, when others come, go or move.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.cache import LRUCache
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from hyperd.client.ages import coarse
from hyperd.client.health import GLYPHS, Level
from tui.widgets.rows import Column, Row, fit, matcher, sort_key

_GAP = 2
_MARGIN = 2
_HEADER = 1


class VirtualTable(ScrollView, can_focus=True):
    """Rows by key. ``show`` sets the whole, ``changed`` tells what is new; both keep the cursor on its row."""

    DEFAULT_CSS = """
    VirtualTable { scrollbar-size: 1 0; overflow-x: hidden; background: $background; }
    VirtualTable > .table--header { text-style: dim bold; }
    VirtualTable > .table--cursor { background: $primary-muted; text-style: bold; }
    VirtualTable > .table--cursor-blurred { background: $surface-lighten-1; }
    VirtualTable > .table--marker { color: $primary; }
    VirtualTable > .table--stale { text-style: dim; }
    VirtualTable > .table--note { text-style: dim; }
    VirtualTable > .table--good { color: $text-success; }
    VirtualTable > .table--busy { color: $text-accent; }
    VirtualTable > .table--waiting { color: $text-warning; }
    VirtualTable > .table--off { text-style: dim; }
    VirtualTable > .table--bad { color: $text-error; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "table--header", "table--cursor", "table--cursor-blurred", "table--marker", "table--stale", "table--note",
        *(f"table--{level}" for level in Level),
    }  # fmt: skip
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup,ctrl+b", "page(-1)", "Page up", show=False),
        Binding("pagedown,ctrl+f", "page(1)", "Page down", show=False),
        Binding("home,g", "jump(0)", "First", show=False),
        Binding("end,G", "jump(-1)", "Last", show=False),
    ]

    class Moved(Message):
        """The cursor is on another row; ``key`` is None when there is none."""

        def __init__(self, key: Hashable | None) -> None:
            super().__init__()
            self.key = key

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.columns: Sequence[Column] = ()
        self.sort_column = 0
        self.sort_reverse = False
        self.query_text = ""
        self.total = 0
        self._row: Callable[[Hashable], Row | None] = lambda _: None
        self._keys: list[Hashable] = []
        self._order: list[Hashable] = []
        self._place: dict[Hashable, int] = {}
        self._cursor: Hashable | None = None
        self._at = 0
        self._layout: list[tuple[int, int]] = []
        self._strips: LRUCache[tuple[object, ...], Strip] = LRUCache(1024)
        self._painted: dict[Hashable, Strip] = {}

    @property
    def cursor(self) -> Hashable | None:
        """The key under the cursor."""
        return self._cursor

    @property
    def keys(self) -> Sequence[Hashable]:
        """What is shown, in order."""
        return self._order

    def show(
        self,
        columns: Sequence[Column],
        keys: Iterable[Hashable],
        row: Callable[[Hashable], Row | None],
        *,
        sort_column: int | None = None,
        reverse: bool = False,
    ) -> None:
        """Show another list; ``row`` gives a key's row, and the same row as long as its version stays."""
        self.columns = columns
        self._row = row
        self._keys = list(keys)
        if sort_column is not None:
            self.sort_column, self.sort_reverse = sort_column, reverse
        self._lay_out()
        self._arrange()

    def changed(self, keys: Iterable[Hashable], present: Callable[[Hashable], bool]) -> None:
        """Rows that are new, different or gone (``present`` tells)."""
        again = False
        known = set(self._keys)
        matches = matcher(self.query_text)
        for key in keys:
            here = present(key)
            if here != (key in known):
                again = True
                continue
            row = self._row(key) if here else None
            if row is None:
                continue
            if matches(row) != (key in self._place) or not self._in_order(key, row):
                again = True
            elif key in self._place:
                self._refresh_row(self._place[key])
        if again:
            fresh = [key for key in keys if present(key) and key not in known]
            self._keys = [key for key in self._keys if present(key)] + fresh
            self._arrange()

    def filter(self, query: str) -> None:
        """Show only rows that match, from now on."""
        self.query_text = query
        self._arrange()

    def sort_by(self, index: int) -> None:
        """Sort by a column; the same one again turns the order round."""
        self.sort_reverse = not self.sort_reverse if index == self.sort_column else False
        self.sort_column = index
        self._arrange()

    def select(self, key: Hashable) -> bool:
        """Put the cursor on ``key``; False when it is not shown."""
        if key not in self._place:
            return False
        self._move_to(self._place[key])
        return True

    def tick(self) -> None:
        """Repaint the rows in sight whose ages have changed."""
        now = time.time()
        top = self.scroll_offset.y
        for index in range(top, min(top + self.size.height, len(self._order))):
            key = self._order[index]
            painted = self._painted.get(key)
            if painted is not None and painted.text != self._build(key, index == self._at, now).text:
                self._refresh_row(index)

    def action_move(self, step: int) -> None:
        """Cursor up or down."""
        self._move_to(self._at + step)

    def action_page(self, step: int) -> None:
        """A page up or down."""
        self._move_to(self._at + step * max(1, self.size.height - _HEADER - 1))

    def action_jump(self, place: int) -> None:
        """First (0) or last (-1) row."""
        self._move_to(0 if place == 0 else len(self._order) - 1)

    def on_resize(self) -> None:
        """Columns follow the width."""
        self._lay_out()
        self._set_size()

    def on_focus(self) -> None:
        """The cursor's look tells where keys go."""
        self._refresh_row(self._at)

    def on_blur(self) -> None:
        """See ``on_focus``."""
        self._refresh_row(self._at)

    def on_click(self, event: events.Click) -> None:
        """A click selects the row."""
        self._move_to(event.y - _HEADER + self.scroll_offset.y if event.y >= _HEADER else self._at)

    def notify_style_update(self) -> None:
        """Another theme: nothing drawn is of use."""
        super().notify_style_update()
        self._strips.clear()

    def render_line(self, y: int) -> Strip:
        """Line ``y`` of the widget: the header, or a row."""
        width = self.scrollable_content_region.width
        if y < _HEADER:
            return self._header(width)
        index = y - _HEADER + self.scroll_offset.y
        if index >= len(self._order):
            return Strip.blank(width, self.rich_style)
        key = self._order[index]
        strip = self._build(key, index == self._at, time.time())
        self._painted[key] = strip
        return strip

    def _build(self, key: Hashable, selected: bool, now: float) -> Strip:
        row = self._row(key)
        width = self.scrollable_content_region.width
        if row is None:
            return Strip.blank(width, self.rich_style)
        ages = tuple(
            coarse(now - row.values[i]) if row.values[i] is not None else ""
            for i, _ in self._layout
            if self.columns[i].age
        )
        look = (key, row.version, ages, width, selected, selected and self.has_focus, row.stale)
        strip = self._strips.get(look)
        if strip is None:
            strip = self._strips[look] = self._paint(row, ages, width, selected)
        return strip

    def _paint(self, row: Row, ages: tuple[str, ...], width: int, selected: bool) -> Strip:
        base = self.rich_style
        if row.stale:
            base += self._style("stale")
        if selected:
            base += self._style("cursor" if self.has_focus else "cursor-blurred")
        segments = [Segment("▌ ", base + self._style("marker")) if selected else Segment("  ", base)]
        next_age = iter(ages)
        shown = list(self._layout)
        noted = False
        for place, (i, cell_width) in enumerate(shown):
            column = self.columns[i]
            text = next(next_age) if column.age else _text(row.values[i])
            style = base
            if column.state:
                text = f"{GLYPHS[row.level]} {text}" if text else ""
                style = base if row.stale else base + self._style(row.level)
            if row.note and noted and not (column.age and place == len(shown) - 1):
                continue
            segments.append(Segment(_sized(text, cell_width, right=column.right) + " " * _GAP, style))
            if row.note and column.state:
                noted = True
                room = sum(w + _GAP for j, w in shown[place + 1 :] if not self._is_last_age(j)) - _GAP
                if room > 0:
                    segments.append(Segment(_sized(row.note, room) + " " * _GAP, base + self._style("note")))
        # Cells of one look become one run: each change of look costs twenty bytes on the line.
        return Strip(segments).adjust_cell_length(width, base).simplify()

    def _is_last_age(self, index: int) -> bool:
        return index == self._layout[-1][0] and self.columns[index].age

    def _header(self, width: int) -> Strip:
        style = self.rich_style + self._style("header")
        text = " " * _MARGIN
        for i, cell_width in self._layout:
            column = self.columns[i]
            mark = ("↓" if self.sort_reverse else "↑") if i == self.sort_column else ""
            title = column.title + mark if cell_len(column.title + mark) <= cell_width else column.title
            text += _sized(title, cell_width, right=column.right) + " " * _GAP
        return Strip([Segment(text, style)]).adjust_cell_length(width, style)

    def _style(self, name: str) -> Style:
        return self.get_component_rich_style(f"table--{name}", partial=True)

    def _lay_out(self) -> None:
        self._layout = fit(self.columns, self.scrollable_content_region.width - _MARGIN + _GAP, _GAP)

    def _arrange(self) -> None:
        matches = matcher(self.query_text)
        rows = [row for key in self._keys if (row := self._row(key)) is not None and matches(row)]
        rows.sort(key=self._sort_key(), reverse=self.sort_reverse)
        self.total = len(self._keys)
        self._order = [row.key for row in rows]
        self._place = {key: index for index, key in enumerate(self._order)}
        self._painted.clear()
        self._set_size()
        at = self._place.get(self._cursor, min(self._at, len(self._order) - 1))
        self._at = max(0, at)
        self._point()
        self._keep_in_sight()
        self.refresh()

    def _sort_key(self) -> Callable[[Row], tuple[int, Any, tuple[Any, ...]]]:
        column = self.columns[self.sort_column] if self.sort_column < len(self.columns) else None
        return sort_key(self.sort_column, column.number if column is not None else None)

    def _set_size(self) -> None:
        self.virtual_size = Size(self.scrollable_content_region.width, len(self._order) + _HEADER)

    def _in_order(self, key: Hashable, row: Row) -> bool:
        """Whether the row may stay where it is: it still fits between its neighbours."""
        place = self._place.get(key)
        if place is None:
            return True
        by = self._sort_key()
        own = by(row)
        for neighbour, comes_first in ((place - 1, True), (place + 1, False)):
            if not 0 <= neighbour < len(self._order):
                continue
            other = self._row(self._order[neighbour])
            if other is None:
                return False
            first, second = (by(other), own) if comes_first else (own, by(other))
            if (first < second) if self.sort_reverse else (first > second):
                return False
        return True

    def _move_to(self, index: int) -> None:
        index = max(0, min(index, len(self._order) - 1))
        if index == self._at:
            return
        before, self._at = self._at, index
        self._refresh_row(before)
        self._refresh_row(index)
        self._keep_in_sight()
        self._point()

    def _point(self) -> None:
        key = self._order[self._at] if self._order else None
        if key != self._cursor:
            self._cursor = key
            self.post_message(self.Moved(key))

    def _keep_in_sight(self) -> None:
        page = max(1, self.size.height - _HEADER)
        top = self.scroll_offset.y
        if self._at < top:
            self.scroll_to(y=self._at, animate=False)
        elif self._at >= top + page:
            self.scroll_to(y=self._at - page + 1, animate=False)

    def _refresh_row(self, index: int) -> None:
        y = index - self.scroll_offset.y + _HEADER
        if _HEADER <= y < self.size.height:
            self.refresh(Region(0, y, self.size.width, 1))


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _sized(text: str, width: int, *, right: bool = False) -> str:
    """``text`` in exactly ``width`` cells; what does not fit ends in an ellipsis."""
    length = len(text) if text.isascii() else cell_len(text)
    if length > width:
        return set_cell_size(text, width - 1) + "…" if width > 0 else ""
    return " " * (width - length) + text if right else text + " " * (width - length)
