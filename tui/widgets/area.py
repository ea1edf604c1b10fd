"""The list that the trail's current context says: its table, and what stands there while it is empty."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Static

from tui.action import Target
from tui.context import Trail
from tui.fleet import Changes, Fleet
from tui.kind import Kind
from tui.kinds import Kinds
from tui.listing import Listing, order_of
from tui.shelf import Key
from tui.usage import Usage
from tui.widgets.sieve import asked
from tui.widgets.table import VirtualTable


class ListArea(Vertical):
    """Keeps table and context in step, as objects come, change and go."""

    DEFAULT_CSS = """
    ListArea #empty { height: 1fr; padding: 1 3; color: $text-muted; display: none; }
    """

    def __init__(self, fleet: Fleet, usage: Usage, kinds: Kinds, trail: Trail, *, id: str) -> None:
        super().__init__(id=id)
        self._fleet = fleet
        self._usage = usage
        self._kinds = kinds
        self._trail = trail
        if kinds.get(trail.current.view) is None:
            trail.current.view = next(iter(kinds)).plural
        self.listing = Listing(fleet, usage, kinds[trail.current.view])
        self._sought = trail.current.cursor
        """The identity of what the cursor is to go to once it is there."""

    def compose(self) -> ComposeResult:
        """The table, and words in its place."""
        yield VirtualTable(id="table")
        yield Static("", id="empty")

    @property
    def kind(self) -> Kind:
        return self.listing.kind

    @property
    def table(self) -> VirtualTable:
        return self.query_one(VirtualTable)

    @property
    def cursor(self) -> Key | None:
        """The object under the cursor."""
        key = self.table.cursor
        return key if isinstance(key, Key) else None

    @property
    def target(self) -> Target | None:
        """What is under the cursor, with its object."""
        key = self.cursor
        obj = self._fleet.get(self.kind.plural, key) if key is not None else None
        return Target(self.kind, key, obj) if key is not None and obj is not None else None

    def on_mount(self) -> None:
        """What is listed is followed."""
        self._fleet.watch(self.kind.plural)

    def show(self) -> None:
        """The list that the trail says, as it was left."""
        context = self._trail.current
        if self._kinds.get(context.view) is None:
            context.view = next(iter(self._kinds)).plural
        if self.kind is not self._kinds[context.view]:
            before = self.kind.plural
            self.listing = Listing(self._fleet, self._usage, self._kinds[context.view])
            self._fleet.watch(self.kind.plural)
            self._fleet.unwatch(before)
        listing, kind = self.listing, self.kind
        titles = [column.title for column in listing.columns]
        own = context.sort not in titles
        sort = (kind.sort or titles[0]) if own else context.sort
        objects = self._fleet.objects(kind.plural)
        self._sought = context.cursor
        self.table.show(
            listing.columns,
            [key for key in objects if self.in_namespace(key)],
            lambda key: listing.row(key) if isinstance(key, Key) else None,
            value=lambda key, index: listing.value(key, index) if isinstance(key, Key) else None,
            tie=lambda key: order_of(key) if isinstance(key, Key) else (),
            labels=lambda key: self._labels(key) if isinstance(key, Key) else {},
            marked=lambda key: isinstance(key, Key) and key.identity in context.marks,
            query=context.query,
            sort_column=titles.index(sort),
            reverse=kind.reverse if own else context.reverse,
        )
        self._seek(objects)

    def tell(self, changes: Changes) -> None:
        """What has changed in the fleet."""
        if changes.homes:
            self.listing.forget_all()
            if self.listing.several != (len(self._fleet.homes) > 1):
                self.listing = Listing(self._fleet, self._usage, self.kind)
                self.show()
        keys = changes.keys.get(self.kind.plural)
        if keys is not None:
            self.listing.forget(keys)
            objects = self._fleet.objects(self.kind.plural)
            # What is gone is not marked any more: another of its name was never chosen.
            self._trail.current.marks.difference_update(key.identity for key in keys if key not in objects)
            self.table.changed(keys, lambda key: key in objects and self.in_namespace(key))
            self._seek(keys)
        elif changes.homes:
            self.table.repaint()

    def measured(self, keys: Iterable[Key]) -> None:
        """Other numbers are known of these."""
        self.listing.forget(keys)
        if any(
            map(self.listing.live, (self.table.sort_column, *asked(self.table.query_text, self.table.columns)))
        ):
            objects = self._fleet.objects(self.kind.plural)
            self.table.changed(keys, lambda key: key in objects and self.in_namespace(key))
        else:
            self.table.repaint()

    def _seek(self, keys: Iterable[Key]) -> None:
        """The cursor where it was when this list was left."""
        if self._sought and (key := next((key for key in keys if key.identity == self._sought), None)):
            self._sought = ""
            self.table.select(key)

    def note_cursor(self, *, by_hand: bool) -> None:
        """The cursor is on another row; who moves it by hand does not wait for what it was on last time."""
        if by_hand:
            self._sought = ""
        if not self._sought and (key := self.cursor) is not None:
            self._trail.current.cursor = key.identity

    def in_namespace(self, key: Hashable) -> bool:
        """Whether the object is in the namespace that is shown, or in none."""
        wanted = self._trail.namespace
        return not wanted or (isinstance(key, Key) and key.namespace in ("", wanted))

    def reorder(self, column: int) -> None:
        """Sort by a column; the same one again turns the order round."""
        self.table.sort_by(column)
        context = self._trail.current
        context.sort, context.reverse = self.table.columns[column].title, self.table.sort_reverse

    @property
    def marked(self) -> list[Target]:
        """What is marked, in the order of its names, also what the filter hides."""
        marks = self._trail.current.marks
        if not marks:
            return []
        objects = self._fleet.objects(self.kind.plural)
        ends = {mark.rpartition("/")[2] for mark in marks}  # for less than an identity of all
        found = [
            Target(self.kind, key, obj)
            for key, obj in objects.items()
            if (key.uid or key.name) in ends and key.identity in marks
        ]
        return sorted(found, key=lambda target: order_of(target.key))

    def mark(self) -> None:
        """Mark the row, or mark it no more, and go to the next."""
        if (key := self.cursor) is not None:
            self._trail.current.marks.symmetric_difference_update((key.identity,))
            self.table.repaint()
            self.table.action_move(1)

    def mark_to(self) -> None:
        """Mark all rows from the cursor to the nearest mark above it, or below."""
        keys, marks, at = self._shown, self._trail.current.marks, self.cursor
        if at is None:
            return
        here = keys.index(at)
        places = [place for place, key in enumerate(keys) if key.identity in marks and place != here]
        nearest = min(places, key=lambda place: (place > here, abs(place - here)), default=here)
        first, last = sorted((here, nearest))
        marks.update(key.identity for key in keys[first : last + 1])
        self.table.repaint()

    def mark_all(self) -> None:
        """Mark all that the filter shows; where they are, mark none of them."""
        marks, shown = self._trail.current.marks, {key.identity for key in self._shown}
        (marks.difference_update if shown <= marks else marks.update)(shown)
        self.table.repaint()

    def unmark(self) -> None:
        """Mark nothing."""
        self._trail.current.marks.clear()
        self.table.repaint()

    @property
    def _shown(self) -> list[Key]:
        return [key for key in self.table.keys if isinstance(key, Key)]

    def _labels(self, key: Key) -> Mapping[str, str]:
        obj = self._fleet.get(self.kind.plural, key) or {}
        labels = (obj.get("metadata") or {}).get("labels")
        return labels if isinstance(labels, dict) else {}

    def filter(self, query: str) -> None:
        """Show only rows that match, from now on."""
        self.table.filter(query)
        self._trail.current.query = query

    def explain(self, lines: Sequence[str]) -> None:
        """Say this in the place of an empty table; nothing shows the table."""
        empty = self.query_one("#empty", Static)
        empty.display = bool(lines)
        self.table.styles.height = 1 if lines else "1fr"
        if lines:
            text = Text(lines[0], style="bold")
            empty.update(text.append("".join(f"\n{line}" for line in lines[1:]), style="not bold"))
