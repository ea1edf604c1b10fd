"""The one screen: the fleet above, a list in the middle, the row's detail below it, keys at the bottom."""

from __future__ import annotations

import time
from collections.abc import Hashable
from typing import ClassVar

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Static

from hyperd.client import sanitize
from hyperd.client.health import Level, health
from tui import views
from tui.actions import ACTIONS, BY_WORD
from tui.detail import completed
from tui.fleet import Changes, Fleet, HomeStatus, Key
from tui.operations import OPERATION
from tui.screens.acting import Acting
from tui.views import VIEWS, View
from tui.widgets.bars import BottomBar, ListBar, TopBar
from tui.widgets.command import CommandLine
from tui.widgets.console import ConsolePane
from tui.widgets.detail import DetailPane, TabLine
from tui.widgets.rows import Row
from tui.widgets.table import VirtualTable
from tui.widgets.terminal import Terminal

_TICK_SECONDS = 5.0
_SAY_SECONDS = 8.0
_ROOMY_ROWS = 34
"""From this height on the detail is open from the start."""
_COUNTED = (("vm", "virtualmachines"), ("vd", "virtualdisks"), ("vi", "virtualimages"))
_IMPORTING = ("virtualimages", "clustervirtualimages", "virtualdisks")


class MainScreen(Acting):
    """Draws what the fleet holds; ``Acting`` is what it can do."""

    DEFAULT_CSS = """
    MainScreen { background: $background; }
    MainScreen #list { height: 1fr; }
    MainScreen #empty { height: 1fr; padding: 1 3; color: $text-muted; display: none; }
    MainScreen DetailPane { display: none; }
    MainScreen.opened DetailPane { display: block; }
    MainScreen.zoomed #list, MainScreen.zoomed ListBar { display: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(action.key, f"act('{action.id}')", action.title, show=False, id=action.id) for action in ACTIONS
    ]

    def __init__(self, fleet: Fleet, *, namespace: str = "", machine: str = "", escape: str = "^]") -> None:
        super().__init__(escape=escape)
        self.fleet = fleet
        self.view: View = VIEWS[0]
        self.namespace = namespace
        self._machine = machine
        self._several = len(fleet.homes) > 1
        self._rows: dict[tuple[str, Hashable], Row] = {}
        self._said = ""
        self._said_error = False
        self._said_at = 0.0

    def compose(self) -> ComposeResult:
        """Bars, list, detail, command line."""
        yield TopBar("")
        yield ListBar("")
        with Vertical(id="list"):
            yield VirtualTable(id="table")
            yield Static("", id="empty")
        yield DetailPane(self.fleet, escape=self._escape)
        yield CommandLine([*views.BY_WORD, *BY_WORD])
        yield BottomBar("")

    def on_mount(self) -> None:
        """Paint what there is (nothing), then connect."""
        self.table.focus()
        self.show_view(self.view)
        self.set_interval(_TICK_SECONDS, self._tick)

    # What the fleet tells

    def tell(self, changes: Changes) -> None:
        """Called by the fleet at most ten times a second; also once more while the screen is taken down."""
        if not self.query(CommandLine):
            return
        if changes.homes:
            self._rows.clear()
            self.table.refresh()
        keys = changes.keys.get(self.view.plural)
        if keys is not None:
            objects = self.fleet.objects(self.view.plural)
            self.table.changed(keys, lambda key: key in objects and self._in_namespace(key))
        if self._machine and self.fleet.listed("virtualmachines"):
            self._open_first()
        self._report_operations(changes.keys.get(OPERATION.plural, set()))
        self.redraw_bars()
        key = self.table.cursor
        if "events" in changes.keys or "virtualdisks" in changes.keys or (keys is not None and key in keys):
            self.detail.redraw()

    def _report_operations(self, keys: set[Key]) -> None:
        for key in keys & self._ours:
            op = self.fleet.get(OPERATION.plural, key)
            if op is None:
                self._ours.discard(key)
                continue
            phase = health(op).word
            what = f"{op['spec']['type']} of {op['spec']['virtualMachineName']}"
            if phase in ("Failed", "Superseded"):
                self.say(f"{what}: {completed(op)}", error=True)
                self._ours.discard(key)
            elif phase == "Completed":
                self.say(f"{what}: done")
                self._ours.discard(key)

    def _open_first(self) -> None:
        name, self._machine = self._machine, ""
        for key in self.fleet.objects("virtualmachines"):
            if key.name == name or f"{key.name}.{key.namespace}" == name:
                self.go_to("virtualmachines", key)
                return

    # The list

    def show_view(self, view: View) -> None:
        """Show another kind."""
        again = view is self.view
        self.view = view
        objects = self.fleet.objects(view.plural)
        self.table.show(
            views.columns(view, several_homes=self._several),
            [key for key in objects if self._in_namespace(key)],
            lambda key: self._row(view, key),
            sort_column=None if again and self.table.columns else self._shift(view.sort_column),
            reverse=view.reverse,
        )
        self.redraw_bars()

    def go_to(self, plural: str, key: Key) -> None:
        """Show one object: its list, its row, its detail."""
        self.show_object(plural, key)
        self._open()

    def show_object(self, plural: str, key: Key) -> None:
        """Its list, and the cursor on its row."""
        view = next(view for view in VIEWS if view.plural == plural)
        if not self._in_namespace(key):
            self.namespace = ""
        self.table.query_text = ""
        self.show_view(view)
        self.table.select(key)

    def _shift(self, column: int) -> int:
        return column + 1 if self._several and column > 0 else column

    def _in_namespace(self, key: Hashable) -> bool:
        return not self.namespace or (isinstance(key, Key) and key.namespace in ("", self.namespace))

    def _row(self, view: View, key: Hashable) -> Row | None:
        assert isinstance(key, Key)  # noqa: S101  the table was given these keys
        obj = self.fleet.get(view.plural, key)
        if obj is None:
            return None
        home = self.fleet.homes[key.home]
        kept = self._rows.get((view.plural, key))
        version = obj["metadata"].get("resourceVersion")
        if kept is not None and isinstance(kept.version, tuple) and kept.version[0] == version and not home.stale:
            return kept
        since = time.time() - (time.monotonic() - home.since) if home.stale else None
        row = views.make_row(view, key, obj, several_homes=self._several, stale_since=since)
        self._rows[view.plural, key] = row
        return row

    def _tick(self) -> None:
        if not self.query(CommandLine):
            return
        if self._said and time.monotonic() - self._said_at > _SAY_SECONDS:
            self._said = ""
        self.table.tick()
        self.detail.redraw()
        if any(state.status is not HomeStatus.CONNECTED for state in self.fleet.homes.values()) or not self._said:
            self.redraw_bars()

    # The lines around it

    def say(self, text: str, *, error: bool = False) -> None:
        """Put a sentence on the bottom line for some seconds."""
        if not self.query(BottomBar):
            return
        self._said, self._said_error, self._said_at = sanitize.line(text), error, time.monotonic()
        self.redraw_bars()

    def redraw_bars(self) -> None:
        """Draw the fleet's line, the list's line, the keys, and what stands in an empty list's place."""
        counts = []
        for word, plural in _COUNTED:
            objects = self.fleet.objects(plural)
            unwell = sum(health(obj).level in (Level.BAD, Level.WAITING) for obj in objects.values())
            counts.append((word, len(objects), unwell))
        self.query_one(TopBar).present(self.fleet.homes.items(), self.namespace, counts)
        table = self.table
        self.query_one(ListBar).present(self.view.title, table.query_text, len(table.keys), table.total)
        shown = [action for action in ACTIONS if action.footer and self.allows(action)]
        said = self._said or self._trouble()
        if isinstance(self.focused, Terminal):
            shown = []
            said = said or self._keys_of_the_console(self.focused)
        self.query_one(BottomBar).present(
            said, error=self._said_error and bool(self._said), running=self._what_runs(), actions=shown
        )
        self._show_empty()
        self._share_height()

    def _trouble(self) -> str:
        """Why a home is not there, in words: its glyph does not tell."""
        for name, state in self.fleet.homes.items():
            if trouble := state.trouble:
                return sanitize.line(f"{name}: {trouble}" if self._several else trouble)
        return ""

    def _keys_of_the_console(self, terminal: Terminal) -> str:
        if self.detail.console.connected:
            return f"keys go to the guest · {terminal.escape.label} leaves · Shift+PgUp looks back"
        if terminal.live:
            return f"not connected yet, keys go nowhere · {terminal.escape.label} leaves"
        return "not connected · c opens the console · Esc goes back"

    def _share_height(self) -> None:
        """The detail gets what a short list does not need; at most half is the list's."""
        area = self.query_one("#list")
        if not self.has_class("opened"):
            area.styles.height = "1fr"
            return
        half = max(8, self.size.height // 2 - 2) if self.has_class("tall") else 9
        area.styles.height = min(max(self.table.total + 2, 8), half)

    def _what_runs(self) -> list[str]:
        found = []
        for plural in _IMPORTING:
            for key, obj in self.fleet.objects(plural).items():
                if progress := health(obj).progress:
                    found.append(sanitize.line(f"{key.name} {progress}"))
        for op in self.fleet.objects(OPERATION.plural).values():
            if health(op).word == "InProgress":
                spec = op["spec"]
                found.append(sanitize.line(f"{str(spec['type']).lower()} {spec['virtualMachineName']}"))
        return found

    def _show_empty(self) -> None:
        empty = self.query_one("#empty", Static)
        none = not self.table.keys
        empty.display = none
        self.table.styles.height = 1 if none else "1fr"
        if none:
            lines = self._why_empty()
            text = Text(lines[0], style="bold")
            empty.update(text.append("".join(f"\n{line}" for line in lines[1:]), style="not bold"))

    def _why_empty(self) -> tuple[str, ...]:
        if self.table.query_text and self.table.total:
            return (f"No row has “{sanitize.line(self.table.query_text)}”.", "Esc drops the filter.")
        if not self.fleet.listed(self.view.plural):
            states = self.fleet.homes.values()
            problems = [sanitize.line(state.message) for state in states if state.message]
            return (problems[0], "It is tried again all the time.") if problems else ("Connecting …",)
        if self.namespace:
            return (f"Nothing in the namespace {sanitize.line(self.namespace)}.", ":ns shows all namespaces.")
        return self.view.empty or ("There is none.",)

    # Messages of the widgets

    def on_descendant_focus(self) -> None:
        """Other keys matter where the keys go now."""
        self.redraw_bars()

    def on_virtual_table_moved(self, message: VirtualTable.Moved) -> None:
        """Another row: another detail, other keys."""
        message.stop()
        if self.has_class("opened"):
            self.detail.present(self.view.plural, self._cursor_key())
        self.redraw_bars()

    def on_tab_line_chosen(self, message: TabLine.Chosen) -> None:
        """A tab was clicked."""
        self.detail.choose(message.tab)

    def on_console_pane_leave(self, message: ConsolePane.Leave) -> None:
        """Out of the console: the session is given back, the list is there again."""
        message.stop()
        self.remove_class("zoomed")
        self.detail.console.disconnect()
        self.table.focus()
        self.detail.redraw()

    def on_console_pane_changed(self, message: ConsolePane.Changed) -> None:
        """Say what keys do now."""
        message.stop()
        self.redraw_bars()

    def on_console_pane_held(self, message: ConsolePane.Held) -> None:
        """Nobody is thrown out without a question that names them."""
        message.stop()
        from tui.screens.confirm import Confirm

        def decided(yes: bool | None) -> None:
            if yes:
                self.detail.console.connect(message.key, force=True)
            else:
                self.post_message(ConsolePane.Leave())

        self.app.push_screen(
            Confirm(f"Take over the console of {self._named(message.key)}?", message.why), decided
        )

    def takes_late(self, character: str) -> bool:
        """Whether a key that was sent to the list belongs to what opened meanwhile.

        The command line gets it. A console does not: its session may not stand yet, and half a password is none.
        """
        line = self.query(CommandLine).first() if self.query(CommandLine) else None
        if line is not None and self.app.screen is self and line.display:
            line.insert_text_at_cursor(character)
            return True
        return self.app.screen is self and isinstance(self.focused, Terminal)

    def on_command_line_filtered(self, message: CommandLine.Filtered) -> None:
        """The filter, while it is typed."""
        self.table.filter(message.query)
        self.redraw_bars()

    def on_command_line_closed(self, message: CommandLine.Closed) -> None:
        """Keys go to the list again."""
        self.table.focus()
        if not message.kept and self.table.query_text:
            self.table.filter("")
        self.redraw_bars()

    def on_command_line_entered(self, message: CommandLine.Entered) -> None:
        """A command: a list, or an action with an argument."""
        word, _, argument = message.command.partition(" ")
        argument = argument.strip()
        if word in ("ns", "namespace"):
            self.do_namespace(argument or "all")
        elif word in views.BY_WORD:
            self._switch(views.BY_WORD[word], argument.removeprefix("/"))
        elif word in BY_WORD:
            self.perform(BY_WORD[word].id, argument)
        else:
            self.say(f"no command {word}; ? lists them", error=True)

    def on_resize(self, event: events.Resize) -> None:
        """On a tall screen the detail is there from the start."""
        tall = event.size.height >= _ROOMY_ROWS
        if tall and not self.has_class("tall"):
            self.add_class("opened")
        self.set_class(tall, "tall")
        self.call_after_refresh(self._after_resize)

    def _after_resize(self) -> None:
        self.detail.present(self.view.plural, self._cursor_key())
        self.redraw_bars()
