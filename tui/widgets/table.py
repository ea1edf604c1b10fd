"""A table that draws only what is seen: ten thousand rows cost what forty do.

A row is asked for when it is drawn; to put it in its place one value of it is enough. Strips are kept by row,
version and look. What changes is put where it belongs by bisection, and only lines that look different are
painted: a change costs what it changes, however long the list. The cursor follows its row, not its place.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import ClassVar

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
from hyperd.client.health import Level
from tui.shelf import Key
from tui.widgets import painting
from tui.widgets.order import Order, Place
from tui.widgets.rows import Column, Row, fit, worth
from tui.widgets.sieve import Labels, Sieve

_MARGIN = 3
"""The cursor, the mark, and a gap."""
_HEADER = 1
_FEW = 64
"""Up to so many rows are put in their places one by one; more are sorted anew where that is cheaper."""


def _no_labels(_: Hashable) -> Mapping[str, str]:
    return {}


def _never(_: Hashable) -> bool:
    return False


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
        """The cursor is on another row; ``key`` is None when there is none.

        ``by_hand`` is False where the row it was on went away.
        """

        def __init__(self, key: Hashable | None, *, by_hand: bool) -> None:
            super().__init__()
            self.key = key
            self.by_hand = by_hand

    class Titled(Message):
        """The title of a column was clicked."""

        def __init__(self, index: int) -> None:
            super().__init__()
            self.index = index

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.columns: Sequence[Column] = ()
        self.sort_column = 0
        self.query_text = ""
        self.total = 0
        self.sorts = 0
        """How often all rows were put in order."""
        self.painted = 0
        """How many rows were painted anew."""
        self._row: Callable[[Hashable], Row | None] = lambda _: None
        self._value: Callable[[Hashable, int], object] = self._value_of_row
        self._tie: Callable[[Hashable], tuple[str, ...]] = lambda key: (str(key),)
        self._marked: Callable[[Hashable], bool] = _never
        self._keys: set[Hashable] = set()
        self._order = Order()
        self._sieve = Sieve((), self._row, _no_labels)
        self._cursor: Hashable | None = None
        self._at = 0
        self._layout: tuple[tuple[int, int], ...] = ()
        self._strips: LRUCache[tuple[object, ...], Strip] = LRUCache(1024)
        self._lines: dict[int, Strip] = {}
        """What stands on the widget's lines."""

    @property
    def cursor(self) -> Hashable | None:
        """The key under the cursor."""
        return self._cursor

    @property
    def keys(self) -> Sequence[Hashable]:
        """What is shown, in order."""
        return self._order.keys()

    @property
    def shown(self) -> list[tuple[Key, Row]]:
        """All rows that the filter shows, in order, with their keys."""
        found = ((key, self._row(key)) for key in self.keys if isinstance(key, Key))
        return [(key, row) for key, row in found if row is not None]

    @property
    def sort_reverse(self) -> bool:
        return self._order.reverse

    @property
    def count(self) -> int:
        """How many rows are shown."""
        return len(self._order)

    def show(
        self,
        columns: Sequence[Column],
        keys: Iterable[Hashable],
        row: Callable[[Hashable], Row | None],
        *,
        value: Callable[[Hashable, int], object] | None = None,
        tie: Callable[[Hashable], tuple[str, ...]] | None = None,
        labels: Labels = _no_labels,
        marked: Callable[[Hashable], bool] = _never,
        query: str | None = None,
        sort_column: int | None = None,
        reverse: bool = False,
    ) -> None:
        """Show another list.

        ``row`` gives a key's row, and the same row as long as its version stays; ``value`` gives one of its
        columns for less; ``tie`` puts rows of one value in order; ``labels`` are what filters ask for.
        """
        self.columns = columns
        self._row = row
        self._value = value or self._value_of_row
        self._tie = tie or self._tie
        self._marked = marked
        self._keys = set(keys)
        if query is not None:
            self.query_text = query
        if sort_column is not None:
            self.sort_column, self._order.reverse = sort_column, reverse
        self._sieve = Sieve(columns, row, labels)
        self._lay_out()
        self._arrange()

    def changed(self, keys: Iterable[Hashable], present: Callable[[Hashable], bool]) -> None:
        """Rows that are new, different or gone (``present`` tells)."""
        keys = list(keys)
        matches = self._sieve.matches(self.query_text)
        for key in keys:
            self._sieve.forget(key)
            (self._keys.add if present(key) else self._keys.discard)(key)
        self.total = len(self._keys)
        if len(keys) > max(_FEW, len(self._order) // 8):
            self._arrange(anew=False)
            self.repaint()
            return
        moved = [
            self._order.put(key, self._place(key) if key in self._keys and matches(key) else None) for key in keys
        ]
        if any(moved):
            self._settle()
        self.repaint()

    def repaint(self) -> None:
        """Paint the lines in sight that say something else now."""
        now = time.time()
        for y in range(_HEADER, self.size.height):
            if (before := self._lines.get(y)) is not None and before is not self._line(y, now):
                self.refresh(Region(0, y, self.size.width, 1))

    def filter(self, query: str) -> None:
        """Show only rows that match, from now on."""
        self.query_text = query
        self._arrange()

    def sort_by(self, index: int) -> None:
        """Sort by a column; the same one again turns the order round."""
        self._order.reverse = not self.sort_reverse if index == self.sort_column else False
        self.sort_column = index
        self._arrange()

    def select(self, key: Hashable) -> bool:
        """Put the cursor on ``key``; False when it is not shown."""
        index = self._order.index(key)
        if index is None:
            return False
        self._move_to(index)
        return True

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
        if self._lay_out():
            self._lines.clear()
            self.refresh()  # the first lines of the new width may have been painted by the old layout
        self._set_size()

    def on_focus(self) -> None:
        """The cursor's look tells where keys go."""
        self._refresh_row(self._at)

    def on_blur(self) -> None:
        """See ``on_focus``."""
        self._refresh_row(self._at)

    def on_click(self, event: events.Click) -> None:
        """A click selects the row, or the column to sort by."""
        if event.y >= _HEADER:
            self._move_to(event.y - _HEADER + self.scroll_offset.y)
            return
        left = _MARGIN
        for index, width in self._layout:
            if left <= event.x < left + width + painting.GAP:
                self.post_message(self.Titled(index))
            left += width + painting.GAP

    def notify_style_update(self) -> None:
        """Another theme: nothing drawn is of use."""
        super().notify_style_update()
        self._strips.clear()
        self._lines.clear()

    def render_line(self, y: int) -> Strip:
        """Line ``y`` of the widget: the header, or a row."""
        if y < _HEADER:
            return self._header(self.scrollable_content_region.width)
        strip = self._lines[y] = self._line(y, time.time())
        return strip

    def _line(self, y: int, now: float) -> Strip:
        index = y - _HEADER + self.scroll_offset.y
        key = self._order.key(index)
        row = self._row(key) if key is not None else None
        width = self.scrollable_content_region.width
        if row is None:
            return self._blank(width)
        selected, marked = index == self._at, self._marked(key)
        ages = tuple(
            coarse(now - row.values[i]) if row.values[i] is not None else ""
            for i, _ in self._layout
            if self.columns[i].age
        )
        look = (
            key,
            row.version,
            ages,
            width,
            self._layout,
            selected,
            selected and self.has_focus,
            row.stale,
            marked,
        )
        strip = self._strips.get(look)
        if strip is None:
            self.painted += 1
            strip = self._strips[look] = self._paint(row, ages, width, selected, marked)
        return strip

    def _blank(self, width: int) -> Strip:
        strip = self._strips.get(("", width))
        if strip is None:
            strip = self._strips["", width] = Strip.blank(width, self.rich_style)
        return strip

    def _paint(self, row: Row, ages: tuple[str, ...], width: int, selected: bool, marked: bool) -> Strip:
        base = self.rich_style
        if row.stale:
            base += self._style("stale")
        if selected:
            base += self._style("cursor" if self.has_focus else "cursor-blurred")
        margin = f"{'▌' if selected else ' '}{'*' if marked else ' '} "
        start = Segment(margin, base + self._style("marker") if selected or marked else base)
        cells = painting.row(row, self.columns, self._layout, ages, base, self._style)
        # Cells of one look become one run: each change of look costs twenty bytes on the line.
        return Strip([start, *cells]).adjust_cell_length(width, base).simplify()

    def _header(self, width: int) -> Strip:
        style = self.rich_style + self._style("header")
        text = " " * _MARGIN + painting.titles(self.columns, self._layout, self.sort_column, self.sort_reverse)
        return Strip([Segment(text, style)]).adjust_cell_length(width, style)

    def _style(self, name: str) -> Style:
        return self.get_component_rich_style(f"table--{name}", partial=True)

    def _lay_out(self) -> bool:
        """Give each column its place; returns whether that is another one."""
        before = self._layout
        width = self.scrollable_content_region.width - _MARGIN + painting.GAP
        self._layout = tuple(fit(self.columns, width, painting.GAP))
        return before != self._layout

    def _arrange(self, *, anew: bool = True) -> None:
        """Put all rows in order; ``anew`` paints all of them."""
        self.sorts += 1
        matches = self._sieve.matches(self.query_text)
        self._order.fill((self._place(key), key) for key in self._keys if matches(key))
        self.total = len(self._keys)
        if anew:
            self._lines.clear()
        self._settle()
        if anew:
            self.refresh()

    def _settle(self) -> None:
        """The cursor on its row again, and in sight."""
        self._set_size()
        at = self._order.index(self._cursor)
        self._at = max(0, min(self._at, len(self._order) - 1) if at is None else at)
        self._point(by_hand=False)
        self._keep_in_sight()

    def _value_of_row(self, key: Hashable, index: int) -> object:
        row = self._row(key)
        return row.values[index] if row is not None and index < len(row.values) else None

    def _place(self, key: Hashable) -> Place:
        column = self.columns[self.sort_column] if self.sort_column < len(self.columns) else None
        value = self._value(key, self.sort_column) if column is not None else None
        number = column.number if column is not None else None
        return worth(value, number, reverse=self.sort_reverse), self._tie(key)

    def _set_size(self) -> None:
        self.virtual_size = Size(self.scrollable_content_region.width, len(self._order) + _HEADER)

    def _move_to(self, index: int) -> None:
        index = max(0, min(index, len(self._order) - 1))
        if index == self._at:
            return
        before, self._at = self._at, index
        self._refresh_row(before)
        self._refresh_row(index)
        self._keep_in_sight()
        self._point(by_hand=True)

    def _point(self, *, by_hand: bool) -> None:
        key = self._order.key(self._at)
        if key != self._cursor:
            self._cursor = key
            self.post_message(self.Moved(key, by_hand=by_hand))

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
