"""One machine that is worked on: its console and its screen, of which one is shown."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical

from tui.fleet import Fleet
from tui.shelf import Key
from tui.widgets.console import ConsolePane
from tui.widgets.session import SessionPane
from tui.widgets.vgapane import VgaPane

CONSOLE, SCREEN = "console", "screen"


class MachineTab(Vertical):
    """Sessions of one machine, which stay open whatever is shown."""

    DEFAULT_CSS = """
    MachineTab { height: 1fr; width: 1fr; }
    MachineTab SessionPane { height: 1fr; }
    """

    def __init__(self, fleet: Fleet, key: Key, *, escape: str) -> None:
        super().__init__()
        self._fleet = fleet
        self._escape = escape
        self.key = key
        self.shown = ""

    def compose(self) -> ComposeResult:
        """Both, dark until they are asked for."""
        yield ConsolePane(self._fleet, escape=self._escape)
        yield VgaPane(self._fleet, escape=self._escape)

    @property
    def console(self) -> ConsolePane:
        return self.query_one(ConsolePane)

    @property
    def vga(self) -> VgaPane:
        return self.query_one(VgaPane)

    @property
    def pane(self) -> SessionPane:
        """What is shown."""
        return self.vga if self.shown == SCREEN else self.console

    @property
    def connected(self) -> bool:
        return self.console.connected or self.vga.connected

    def show(self, what: str) -> None:
        """Show the console or the screen; its session is taken unless it has ended."""
        self.shown = what
        self.console.display, self.vga.display = what == CONSOLE, what == SCREEN
        pane = self.pane
        if pane.key is None or not pane.over:
            pane.connect(self.key)

    def disconnect(self) -> None:
        """Give both sessions back."""
        self.console.disconnect()
        self.vga.disconnect()
