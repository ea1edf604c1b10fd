"""The Textual application: one fleet, one screen, the first frame before the first byte of network."""

from __future__ import annotations

from collections.abc import Sequence

from textual import events
from textual.app import App

from hyperd.client.home import Home
from hyperd.client.kinds import built_in
from tui.fleet import Fleet
from tui.screens.main import MainScreen
from tui.views import VIEWS


class HvApp(App[None], inherit_bindings=False):
    """``hv tui``."""

    TITLE = "hv"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    * { scrollbar-background: $background; scrollbar-color: $surface-lighten-2; }
    """

    def __init__(
        self, homes: Sequence[Home], *, namespace: str = "", machine: str = "", escape: str = "^]"
    ) -> None:
        super().__init__()
        wanted = [view.plural for view in VIEWS]
        resources = [resource for resource in built_in() if resource.plural in wanted]
        self.fleet = Fleet(homes, resources)
        self.main = MainScreen(self.fleet, namespace=namespace, machine=machine, escape=escape)

    def on_mount(self) -> None:
        """Show the screen; follow the fleet once it has been painted."""
        self.push_screen(self.main)
        self.call_after_refresh(self._follow)

    def on_key(self, event: events.Key) -> None:
        """Where keys come faster than the focus moves, those that follow are not keys of the list any more."""
        if event.is_printable and event.character is not None and self.main.takes_late(event.character):
            event.stop()
            event.prevent_default()

    def _follow(self) -> None:
        self.run_worker(self.fleet.run(self.main.tell), name="fleet", group="fleet", exit_on_error=True)
