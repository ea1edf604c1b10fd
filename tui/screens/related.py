"""What an object uses and what uses it, both ways, each a key away."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, NamedTuple

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from hyperd.client import sanitize
from hyperd.client.kinds import built_in
from hyperd.client.shapes import mapping, mappings
from hyperd.client.why import references
from hyperd.resources.values.names import GROUP
from tui.action import Target
from tui.desk import Desk
from tui.lines import state_of
from tui.screens.closing import ClosesOnce
from tui.shelf import Key, Object
from tui.widgets.lines import LinesView

_TICK_SECONDS = 0.5
_MOST_USERS = 200
_CORE = ("nodes",)


class _Other(NamedTuple):
    """An object on the other end; ``key`` is None where it is not (yet) known here."""

    plural: str
    key: Key | None
    kind: str
    name: str


class Related(ClosesOnce, ModalScreen[None]):
    """Enter goes to the one under the cursor; ``[`` there leads back."""

    DEFAULT_CSS = """
    Related { align: center middle; background: $background 60%; }
    Related > Vertical {
        width: 96%; max-width: 100; height: auto; max-height: 90%; padding: 1 2; background: $surface;
    }
    Related Static { height: auto; }
    Related LinesView { background: $surface; height: auto; max-height: 30; margin: 1 0; }
    """
    BINDINGS: ClassVar[list[BindingType]] = []

    def __init__(self, desk: Desk, target: Target) -> None:
        super().__init__()
        self._desk = desk
        self._target = target
        self._at = 0
        self._others: list[_Other] = []
        # Kinds that nobody looks at are followed for as long as it is asked who refers to what.
        self._watched = [one.plural for one in built_in() if one.group == GROUP or one.plural in _CORE]

    def compose(self) -> ComposeResult:
        """The object, both lists, the keys."""
        with Vertical():
            yield Static(
                Text(f"{self._target.obj.get('kind')} {self._desk.named(self._target.key)}", style="bold")
            )
            yield LinesView()
            yield Static(Text("Enter go there   ↑ ↓ move   Esc close", style="dim"))

    def on_mount(self) -> None:
        """Follow what may refer to it."""
        for plural in self._watched:
            self._desk.fleet.watch(plural)
        self.redraw()
        self.set_interval(_TICK_SECONDS, self.redraw)

    def on_unmount(self) -> None:
        """No longer."""
        for plural in self._watched:
            self._desk.fleet.unwatch(plural)

    def on_resize(self) -> None:
        """Leave room for the name and the keys."""
        self.query_one(LinesView).styles.max_height = max(3, self.size.height * 9 // 10 - 7)

    def redraw(self) -> None:
        """Both lists as they are now."""
        uses, users = list(self._uses()), list(self._users())
        self._others = [*uses, *users]
        self._at = max(0, min(self._at, len(self._others) - 1))
        lines = [Text("uses", style="dim"), *(self._line(place, one) for place, one in enumerate(uses))]
        lines += [Text("used by", style="dim")]
        lines += [self._line(place, one) for place, one in enumerate(users, len(uses))]
        for place, empty in ((len(lines), not users), (1, not uses)):
            if empty:
                lines.insert(place, Text("  nothing that is known here", style="dim"))
        self.query_one(LinesView).set_lines(lines)

    def _line(self, place: int, other: _Other) -> Text:
        chosen = place == self._at
        line = Text("▌ " if chosen else "  ", style="bold" if chosen else "")
        line.append(f"{sanitize.line(other.kind):<32} ", style="dim").append(f"{sanitize.line(other.name):<28} ")
        state = self._desk.fleet.shelf(other.plural).state(other.key) if other.key is not None else None
        return (
            line.append_text(state_of(state)) if state is not None else line.append("not known here", style="dim")
        )

    def _plural(self, kind: str) -> str:
        resources = self._desk.fleet.resources
        return next((plural for plural, one in resources.items() if one.kind == kind), "")

    def _uses(self) -> Iterator[_Other]:
        home = self._target.key.home
        for kind, namespace, name in _referred(self._target.obj):
            plural = self._plural(kind)
            key = self._desk.fleet.shelf(plural).find(home, namespace, name) if plural else None
            yield _Other(plural, key, kind, name)

    def _users(self) -> Iterator[_Other]:
        fleet, of = self._desk.fleet, self._target
        kind = str(of.obj.get("kind") or "")
        wanted, found = (kind, of.key.namespace, of.key.name), 0
        for plural in self._watched:
            for key, obj in fleet.objects(plural).items():
                if key.home != of.key.home or key == of.key or found >= _MOST_USERS:
                    continue
                if wanted in _referred(obj):
                    found += 1
                    yield _Other(plural, key, str(obj.get("kind") or ""), key.name)

    def on_key(self, event: events.Key) -> None:
        """Move, go there, or leave."""
        event.stop()
        event.prevent_default()
        step = {"up": -1, "k": -1, "down": 1, "j": 1}.get(event.key)
        if event.key in ("escape", "q", "u"):
            self.dismiss()
        elif step is not None:
            self._at += step
            self.redraw()
        elif event.key == "enter" and self._others:
            other = self._others[self._at]
            if other.key is not None:
                self.dismiss()
                self._desk.go_to(other.plural, other.key)


def _referred(obj: Object) -> list[tuple[str, str, str]]:
    """(kind, namespace, name) of what an object refers to, of its owners, and of whom an event is about."""
    metadata = obj.get("metadata") or {}
    here = str(metadata.get("namespace") or "")
    found = list(references(obj))
    for one in [*mappings(metadata.get("ownerReferences")), mapping(obj.get("involvedObject"))]:
        if one.get("kind") and one.get("name"):
            namespace = "" if one["kind"] == "Node" else str(one.get("namespace") or here)
            found.append((str(one["kind"]), namespace, str(one["name"])))
    return list(dict.fromkeys(found))
