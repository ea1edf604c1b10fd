"""The palette: actions for the row, lists, and objects by name."""

from __future__ import annotations

from functools import partial
from typing import Protocol, runtime_checkable

from rich.text import Text
from textual.command import CommandPalette, DiscoveryHit, Hit, Hits, Provider
from textual.content import Content
from textual.widgets import Input

from hyperd.client import sanitize
from tui.action import Action
from tui.actions import OTHERS, Actions
from tui.fleet import Fleet
from tui.kinds import Kinds
from tui.screens.closing import ClosesOnce
from tui.shelf import Key

_MOST_OBJECTS = 50
_TITLE_WIDTH, _KEY_WIDTH = 22, 10


@runtime_checkable
class Acts(Protocol):
    """A screen from which the palette can be opened."""

    fleet: Fleet
    kinds: Kinds
    actions: Actions

    def why_not(self, action: Action) -> str:
        """Why the action cannot be done now; empty where it can."""
        ...

    def perform(self, action_id: str) -> None:
        """Do it."""
        ...

    def go_to(self, plural: str, key: Key) -> None:
        """Show the object in its list."""
        ...


class Everything(Provider):
    """What can be done now, and where one can go."""

    @property
    def _main(self) -> Acts:
        screen = self.screen
        assert isinstance(screen, Acts)  # noqa: S101  the palette is opened from there alone
        return screen

    async def discover(self) -> Hits:
        """Before anything is typed: what can be done to the row, then all else, then what cannot be done now."""
        reasons = {action: self._main.why_not(action) for action in self._main.actions if action.id != "palette"}
        for action, reason in sorted(
            reasons.items(), key=lambda entry: (bool(entry[1]), entry[0].applies is None)
        ):
            act = partial(self._main.perform, action.id)
            line = Text().append(f"{action.title:<{_TITLE_WIDTH}} ", style="dim strike" if reason else "bold")
            line.append(f"{action.key_label:<{_KEY_WIDTH}} " if action.key else " " * (_KEY_WIDTH + 1))
            line.append(reason or action.help, style="dim")
            yield DiscoveryHit(Content.from_rich_text(line), act, text=action.title)

    async def search(self, query: str) -> Hits:
        """Actions by meaning, objects by name; a plain substring chooses objects before they are scored."""
        matcher = self.matcher(query)
        for action in self._main.actions:
            text = f"{action.title}: {self._main.why_not(action) or action.help}"
            if action.group == OTHERS and query.lower() not in text:
                continue  # of so many names some fit any letters
            if (score := matcher.match(text)) > 0:
                yield Hit(score, matcher.highlight(text), partial(self._main.perform, action.id))
        wanted = query.lower()
        found = 0
        for kind in self._main.kinds:
            if kind.plural == "events":
                continue
            for key in self._main.fleet.objects(kind.plural):
                if wanted not in key.name.lower() or found >= _MOST_OBJECTS:
                    continue
                found += 1
                label = sanitize.line(f"{kind.words[0]} {key.name} {key.namespace}".strip())
                yield Hit(matcher.match(label) or 0.1, label, partial(self._main.go_to, kind.plural, key))


class Palette(ClosesOnce, CommandPalette):
    """Textual's, with our entries, a line each."""

    DEFAULT_CSS = """
    Palette > Vertical { width: 96%; max-width: 110; background: $surface; }
    Palette SearchIcon { display: none; }
    """

    def __init__(self) -> None:
        super().__init__(providers=[Everything], placeholder="an action, or an object")

    def on_mount(self) -> None:
        """A cursor that blinks is written twice a second."""
        self.query_one(Input).cursor_blink = False
