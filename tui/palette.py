"""The palette: actions for the row, lists, and objects by name."""

from __future__ import annotations

from functools import partial
from typing import Protocol, runtime_checkable

from textual.command import CommandPalette, DiscoveryHit, Hit, Hits, Provider

from hyperd.client import sanitize
from tui.actions import ACTIONS, Action
from tui.fleet import Fleet, Key
from tui.screens.closing import ClosesOnce
from tui.views import VIEWS

_MOST_OBJECTS = 50


@runtime_checkable
class Acts(Protocol):
    """A screen from which the palette can be opened."""

    fleet: Fleet

    def allows(self, action: Action) -> bool:
        """Whether the action can be done now."""
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
        """Before anything is typed: the actions that apply."""
        for action in ACTIONS:
            if action.id != "palette" and self._main.allows(action):
                yield DiscoveryHit(action.title, partial(self._main.perform, action.id), help=action.help)

    async def search(self, query: str) -> Hits:
        """Actions by meaning, objects by name; a plain substring chooses objects before they are scored."""
        matcher = self.matcher(query)
        for action in ACTIONS:
            text = f"{action.title}: {action.help}"
            if (score := matcher.match(text)) > 0 and self._main.allows(action):
                yield Hit(score, matcher.highlight(text), partial(self._main.perform, action.id))
        wanted = query.lower()
        found = 0
        for view in VIEWS:
            if view.plural == "events":
                continue
            for key in self._main.fleet.objects(view.plural):
                if wanted not in key.name.lower() or found >= _MOST_OBJECTS:
                    continue
                found += 1
                label = sanitize.line(f"{view.words[0]} {key.name} {key.namespace}".strip())
                yield Hit(matcher.match(label) or 0.1, label, partial(self._main.go_to, view.plural, key))


class Palette(ClosesOnce, CommandPalette):
    """Textual's, with our entries."""

    def __init__(self) -> None:
        super().__init__(providers=[Everything], placeholder="an action, or an object")
