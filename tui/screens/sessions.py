"""The screen of consoles: a tab a machine, up to four of them side by side, each with serial line and screen.

Sessions stay open when one goes back to the lists. Keys are the guest's until the escape key; the one after it is
looked up in ``KEYS``.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container
from textual.screen import Screen

from hyperd.client import sanitize
from tui.fleet import Fleet
from tui.screens import saving
from tui.screens.confirm import Confirm
from tui.shelf import Key
from tui.widgets.ask import AskLine
from tui.widgets.guestkeys import RESUMED, SENT, GuestKeys
from tui.widgets.keysyms import CTRL_ALT_DEL
from tui.widgets.machinetab import CONSOLE, SCREEN, MachineTab
from tui.widgets.session import SessionPane
from tui.widgets.sessionbars import KeysBar, TabsBar

if TYPE_CHECKING:
    from tui.app import HvApp

_TILES = 4
_NARROW = 100
"""Below this two tiles lie one above the other."""
_SHOWN_LINES, _SHOWN_WIDTH = 4, 60


class SessionsScreen(Screen[None]):
    """Opened by ``c`` and ``v`` on a machine."""

    app: HvApp
    DEFAULT_CSS = """
    SessionsScreen { background: $background; }
    SessionsScreen #tiles { layout: grid; grid-size: 1 1; height: 1fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = []

    def __init__(
        self, fleet: Fleet, named: Callable[[Key], str], changed: Callable[[], None], *, escape: str
    ) -> None:
        """``named`` is what people call a machine; ``changed`` hears that there are other tabs."""
        super().__init__()
        self._fleet = fleet
        self._named = named
        self._changed = changed
        self._escape = escape
        self.tabs: list[MachineTab] = []
        self._current: MachineTab | None = None
        self._tiled = self._ready = False
        self._waiting: list[tuple[Key, str]] = []
        self._opening: set[Key] = set()

    def compose(self) -> ComposeResult:
        """Tabs, tiles, and a line of keys."""
        yield TabsBar()
        yield Container(id="tiles")
        yield AskLine()
        yield KeysBar()

    def on_mount(self) -> None:
        """What was asked for before there was a screen."""
        self._ready = True
        waiting, self._waiting = self._waiting, []
        for key, what in waiting:
            self.open(key, what)

    @property
    def current(self) -> MachineTab | None:
        return self._current

    def open(self, key: Key, what: str) -> None:
        """Show a machine's console or screen, in its tab or a new one."""
        # Keys that follow are for what is opened here.
        end = self.app.ahead.opening()
        if not self._ready:
            self._waiting.append((key, what))
            return
        tab = next((tab for tab in self.tabs if tab.key == key), None)
        if tab is not None:
            self._choose(tab, what)
            end()
            return
        if key in self._opening:
            return
        self._opening.add(key)
        tab = MachineTab(self._fleet, key, escape=self._escape)
        mounted = self.query_one("#tiles").mount(tab)

        async def then() -> None:
            await mounted
            self._opening.discard(key)
            self.tabs.append(tab)
            self._choose(tab, what)
            self.app.ahead.opened()

        self.run_worker(then(), group="opening")

    def close_one(self, key: Key) -> None:
        """Give a machine's sessions back."""
        for tab in [tab for tab in self.tabs if tab.key == key]:
            self._close(tab)

    def _choose(self, tab: MachineTab, what: str = "") -> None:
        self._current = tab
        self._arrange()
        tab.show(what or tab.shown or CONSOLE)
        self._learn_graphics(tab)
        tab.pane.guest.focus()
        self._see()
        self.redraw()

    def _learn_graphics(self, tab: MachineTab) -> None:
        """Which pictures the terminal shows is asked once, when the first screen is looked at."""
        vga = tab.vga.vga
        vga.write, vga.cell = self.app.write_picture, self.app.cell
        if tab.shown == SCREEN:
            vga.mode = self.app.graphics(self._learned)

    def _learned(self, mode: str) -> None:
        for tab in self.tabs:
            vga = tab.vga.vga
            vga.unpicture()
            vga.mode = mode
            vga.refresh()
            vga.repaint()

    def _arrange(self) -> None:
        """Show the current tab, or with it as many as there is room for."""
        current = self._current
        if current is None:
            return
        at = self.tabs.index(current)
        first = min(at, max(0, len(self.tabs) - _TILES)) if self._tiled else at
        shown = self.tabs[first : first + (_TILES if self._tiled else 1)]
        for tab in self.tabs:
            tab.display = tab in shown
        columns = 2 if len(shown) > 2 or (len(shown) == 2 and self.size.width >= _NARROW) else 1
        tiles = self.query_one("#tiles")
        tiles.styles.grid_size_columns = columns
        tiles.styles.grid_size_rows = -(-len(shown) // columns)

    def _see(self) -> None:
        """Only what is in sight is asked for."""
        here = self.app.screen is self
        for tab in self.tabs:
            tab.vga.see(here and tab.display and tab.shown == SCREEN)

    def _close(self, tab: MachineTab) -> None:
        at = self.tabs.index(tab)
        tab.vga.see(False)
        tab.disconnect()
        self.tabs.remove(tab)
        tab.remove()
        if self._current is not tab:
            self._arrange()
        elif self.tabs:
            self._choose(self.tabs[min(at, len(self.tabs) - 1)])
        else:
            self._current = None
            self.leave()

    def leave(self) -> None:
        """Back to the lists; sessions go on."""
        if self.app.screen is self:
            self.app.pop_screen()
        self.call_after_refresh(self._changed)

    def redraw(self) -> None:
        """Draw the lines around the tiles."""
        if self._current is None or not self._ready:
            return
        guest = self._current.pane.guest
        self.query_one(TabsBar).present(
            [(self._named(tab.key), tab.shown, tab.connected) for tab in self.tabs],
            self.tabs.index(self._current),
        )
        self.query_one(KeysBar).present(
            label=guest.escape.label, live=guest.live, connected=self._current.pane.connected,
            commanding=guest.commanding, screen=self._current.shown == SCREEN,
        )  # fmt: skip

    def say(self, text: str, *, error: bool = False) -> None:
        """Put a sentence on the bottom line, until the next key changes it."""
        self.query_one(KeysBar).say(text, error=error)

    # Commands

    def on_guest_keys_commanding(self, message: GuestKeys.Commanding) -> None:
        """Say what there is."""
        message.stop()
        self.query_one(KeysBar).hush()
        self.redraw()

    def on_guest_keys_command(self, message: GuestKeys.Command) -> None:
        """One key of ours."""
        message.stop()
        tab = self._current
        if tab is None:
            return
        key = message.key
        if key in (SENT, RESUMED):
            tab.pane.guest.focus()
        elif key.isdigit() and 0 < int(key) <= len(self.tabs):
            self._resume(message.source)
            self._choose(self.tabs[int(key) - 1])
        elif key in self.KEYS:
            stays = self.KEYS[key](self, tab)
            if not stays:
                self._resume(message.source)
        self.redraw()

    def _resume(self, guest: GuestKeys) -> None:
        guest.commanding = False

    def _switch(self, tab: MachineTab) -> None:
        tab.pane.guest.commanding = False
        self._choose(tab, CONSOLE if tab.shown == SCREEN else SCREEN)

    def _step(self, tab: MachineTab, by: int = 1) -> None:
        self._choose(self.tabs[(self.tabs.index(tab) + by) % len(self.tabs)])

    def _tile(self, tab: MachineTab) -> None:
        self._tiled = not self._tiled
        self._choose(tab)

    def _search(self, tab: MachineTab) -> bool:
        terminal = tab.console.terminal
        if tab.shown == SCREEN:
            self.say("A screen is a picture; its text cannot be searched.", error=True)
            return True

        def found(text: str) -> None:
            terminal.focus()
            if text and not terminal.find(text):
                self.say(f"“{sanitize.line(text)}” is nowhere above", error=True)

        self.query_one(AskLine).ask("search back: ", "", found)
        return True

    def _again(self, tab: MachineTab, *, back: bool) -> bool:
        terminal = tab.console.terminal
        if tab.shown == CONSOLE and not terminal.find(terminal.sought, back=back):
            self.say("nothing more is found", error=True)
        return True

    def _save(self, tab: MachineTab) -> bool:
        ask = self.query_one(AskLine).ask
        if tab.shown == CONSOLE:
            content = saving.text(tab.console.terminal.history)
            ask("text file: ", saving.file_name(tab.key, "txt"), self._saved(tab, saving.saver(self, content)))
        elif (frame := tab.vga.vga.frame) is not None:
            content = saving.picture(frame)
            ask("PNG file: ", saving.file_name(tab.key, "png"), self._saved(tab, saving.saver(self, content)))
        return True

    def _saved(
        self, tab: MachineTab, save: Callable[[str], Coroutine[object, object, None]]
    ) -> Callable[[str], None]:
        def then(name: str) -> None:
            tab.pane.guest.commanding = False
            tab.pane.guest.focus()
            self.redraw()
            self.run_worker(save(name))

        return then

    def _stty(self, tab: MachineTab) -> None:
        columns, rows = tab.console.terminal.cells
        if tab.shown == CONSOLE and tab.console.connected:
            # Not Enter: whether a shell reads this, its user sees.
            tab.console.terminal.type(f" stty rows {rows} cols {columns}")

    def _ctrl_alt_del(self, tab: MachineTab) -> None:
        if tab.shown == SCREEN:
            tab.vga.press(CTRL_ALT_DEL)

    def _read(self, tab: MachineTab) -> None:
        vga = tab.vga.vga
        vga.reads = not vga.reads
        vga.repaint()

    def _back_to_lists(self, tab: MachineTab) -> None:
        tab.console.terminal.forget()
        self.leave()

    KEYS: ClassVar[dict[str, Callable[[SessionsScreen, MachineTab], bool | None]]] = {
        "v": _switch,
        "tab": _step,
        "shift+tab": lambda self, tab: self._step(tab, -1),
        "t": _tile,
        "slash": _search,
        "n": lambda self, tab: self._again(tab, back=True),
        "N": lambda self, tab: self._again(tab, back=False),
        "s": _save,
        "y": _stty,
        "d": _ctrl_alt_del,
        "p": _read,
        "x": _close,
        "escape": _back_to_lists,
        "q": _back_to_lists,
    }

    # What panes tell

    def on_session_pane_leave(self, message: SessionPane.Leave) -> None:
        """Out of a session that is over: its tab goes."""
        message.stop()
        tab = next((tab for tab in self.tabs if message.pane in (tab.console, tab.vga)), None)
        if tab is not None and not tab.connected:
            self._close(tab)
        self.leave()

    def on_session_pane_changed(self, message: SessionPane.Changed) -> None:
        message.stop()
        self.redraw()

    def on_session_pane_held(self, message: SessionPane.Held) -> None:
        """Nobody is thrown out without a question that names them."""
        message.stop()
        what = message.pane.WHAT

        def decided(yes: bool | None) -> None:
            if yes:
                message.pane.connect(message.key, force=True)
                message.pane.guest.focus()
            else:
                message.pane.post_message(SessionPane.Leave(message.pane))

        self.app.push_screen(Confirm(f"Take over the {what} of {self._named(message.key)}?", message.why), decided)

    def on_guest_keys_pasted(self, message: GuestKeys.Pasted) -> None:
        """Each of several lines may be a command."""
        message.stop()
        lines = message.text.splitlines()
        shown = [sanitize.line(line)[:_SHOWN_WIDTH] for line in lines[:_SHOWN_LINES]]
        more = [f"… and {len(lines) - _SHOWN_LINES} more"] if len(lines) > _SHOWN_LINES else []
        name = self._named(self._current.key) if self._current is not None else "the guest"

        def decided(yes: bool | None) -> None:
            if yes:
                message.source.paste(message.text)

        self.app.push_screen(Confirm(f"Paste {len(lines)} lines into {name}?", "\n".join(shown + more)), decided)

    def on_tabs_bar_chosen(self, message: TabsBar.Chosen) -> None:
        message.stop()
        self._choose(self.tabs[message.index])

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """The tile that has the keys is the current one."""
        tab = next((tab for tab in self.tabs if tab in event.widget.ancestors), None)
        if tab is not None and tab is not self._current:
            self._current = tab
        self.redraw()

    def on_screen_suspend(self) -> None:
        """Another screen is on top: pictures would lie over it."""
        for tab in self.tabs:
            tab.vga.see(False)

    def on_screen_resume(self) -> None:
        """Here again."""
        if self._current is not None:
            self._current.pane.guest.commanding = False
            self._current.pane.guest.focus()
        self.call_after_refresh(self._see)
        self.redraw()

    def on_resize(self) -> None:
        self._arrange()
