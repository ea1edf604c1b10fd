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
from textual.screen import Screen
from textual.widgets import Static

from hyperd.client import sanitize
from hyperd.client.health import Level, health
from hyperd.errors import HyperdError
from tui import views
from tui.actions import ACTIONS, BY_ID, BY_WORD, Action
from tui.detail import completed
from tui.fleet import Changes, Fleet, HomeStatus, Key, Object
from tui.operations import OPERATION, manifest
from tui.views import VIEWS, View
from tui.widgets.bars import BottomBar, ListBar, TopBar
from tui.widgets.command import CommandLine
from tui.widgets.console import ConsolePane
from tui.widgets.detail import CONSOLE, EVENTS, YAML, DetailPane, TabLine
from tui.widgets.rows import Row
from tui.widgets.table import VirtualTable

_TICK_SECONDS = 5.0
_SAY_SECONDS = 8.0
_ROOMY_ROWS = 34
"""From this height on the detail is open from the start."""
_COUNTED = (("vm", "virtualmachines"), ("vd", "virtualdisks"), ("vi", "virtualimages"))
_IMPORTING = ("virtualimages", "clustervirtualimages", "virtualdisks")


class MainScreen(Screen[None]):
    """Draws what the fleet holds and carries actions out. ``do_…`` methods are the actions of the registry."""

    DEFAULT_CSS = """
    MainScreen { background: $background; }
    MainScreen #list { height: 1fr; }
    MainScreen #empty { height: 1fr; padding: 1 3; color: $text-muted; display: none; }
    MainScreen DetailPane { display: none; }
    MainScreen.opened DetailPane { display: block; }
    MainScreen.opened.tall #list { height: 1fr; min-height: 10; }
    MainScreen.opened.tall DetailPane { height: 1fr; }
    MainScreen.opened #list { height: 9; }
    MainScreen.zoomed #list, MainScreen.zoomed ListBar { display: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(action.key, f"act('{action.id}')", action.title, show=False, id=action.id) for action in ACTIONS
    ]

    def __init__(self, fleet: Fleet, *, namespace: str = "", machine: str = "", escape: str = "^]") -> None:
        super().__init__()
        self.fleet = fleet
        self.view: View = VIEWS[0]
        self.namespace = namespace
        self._machine = machine
        self._escape = escape
        self._several = len(fleet.homes) > 1
        self._rows: dict[tuple[str, Hashable], Row] = {}
        self._said = ""
        self._said_error = False
        self._said_at = 0.0
        self._ours: set[Key] = set()

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

    @property
    def table(self) -> VirtualTable:
        return self.query_one(VirtualTable)

    @property
    def detail(self) -> DetailPane:
        return self.query_one(DetailPane)

    @property
    def selected(self) -> tuple[Key, Object] | None:
        """The row's key and object."""
        key = self.table.cursor
        if not isinstance(key, Key):
            return None
        obj = self.fleet.get(self.view.plural, key)
        return (key, obj) if obj is not None else None

    # What the fleet tells

    def tell(self, changes: Changes) -> None:
        """Called by the fleet at most ten times a second."""
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
        self._bars()
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
        self._bars()

    def go_to(self, plural: str, key: Key) -> None:
        """Show one object: its list, its row, its detail."""
        view = next(view for view in VIEWS if view.plural == plural)
        if not self._in_namespace(key):
            self.namespace = ""
        self.table.query_text = ""
        self.show_view(view)
        self.table.select(key)
        self._open()

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
        if self._said and time.monotonic() - self._said_at > _SAY_SECONDS:
            self._said = ""
        self.table.tick()
        if any(state.status is not HomeStatus.CONNECTED for state in self.fleet.homes.values()) or not self._said:
            self._bars()

    # The lines around it

    def say(self, text: str, *, error: bool = False) -> None:
        """Put a sentence on the bottom line for some seconds."""
        self._said, self._said_error, self._said_at = sanitize.line(text), error, time.monotonic()
        self._bars()

    def _bars(self) -> None:
        counts = []
        for word, plural in _COUNTED:
            objects = self.fleet.objects(plural)
            unwell = sum(health(obj).level in (Level.BAD, Level.WAITING) for obj in objects.values())
            counts.append((word, len(objects), unwell))
        self.query_one(TopBar).present(self.fleet.homes.items(), self.namespace, counts)
        table = self.table
        order = table.columns[table.sort_column].title.lower() if table.columns else ""
        order += " ▼" if table.sort_reverse else ""
        self.query_one(ListBar).present(self.view.title, table.query_text, len(table.keys), table.total, order)
        shown = [action for action in ACTIONS if action.footer and self.allows(action)]
        self.query_one(BottomBar).present(
            self._said, error=self._said_error, running=self._running(), actions=shown
        )
        self._show_empty()

    def _running(self) -> list[str]:
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

    # Keys and what they do

    def allows(self, action: Action) -> bool:
        """Whether ``action`` can be done to the row."""
        if not action.kinds:
            return True
        chosen = self.selected
        return chosen is not None and action.applies(self.view.plural, chosen[1])

    def action_act(self, action_id: str) -> None:
        """A key of the registry was pressed."""
        self.perform(action_id)

    def perform(self, action_id: str, argument: str = "") -> None:
        """Do one action; says why when it does not apply here."""
        action = BY_ID[action_id]
        if not self.allows(action):
            self.say(f"{action.title} does not apply here", error=True)
            return
        if action_id.startswith("view_"):
            self._switch(next(view for view in VIEWS if f"view_{view.plural}" == action_id), argument)
            return
        work = getattr(self, f"do_{action_id}")
        work(argument)

    def _switch(self, view: View, query: str) -> None:
        self.table.query_text = query
        self.remove_class("zoomed")
        self.table.focus()
        self.show_view(view)

    def do_namespace(self, argument: str) -> None:
        """Ask for a namespace, or show one; none shows all."""
        if not argument:
            self.query_one(CommandLine).open(":ns ")
            return
        self.namespace = "" if argument in ("all", "-") else argument
        self.show_view(self.view)

    def do_filter(self, _: str) -> None:
        """Open the filter, with what it holds."""
        self.query_one(CommandLine).open(f"/{self.table.query_text}")

    def do_sort(self, argument: str) -> None:
        """By the named column, or the next one."""
        titles = [column.title.lower() for column in self.table.columns]
        if argument and argument.lower() not in titles:
            self.say(f"no column {argument}; there are {', '.join(titles)}", error=True)
            return
        index = titles.index(argument.lower()) if argument else (self.table.sort_column + 1) % len(titles)
        if index != self.table.sort_column:
            self.table.sort_by(index)
        self._bars()

    def do_reverse(self, _: str) -> None:
        """Turn the order round."""
        self.table.sort_by(self.table.sort_column)
        self._bars()

    def do_open(self, _: str) -> None:
        """Details; once more, the keys go to them."""
        if self.has_class("opened"):
            self.detail.focus_content()
        self._open()

    def do_next_tab(self, _: str) -> None:
        """Next tab of the detail."""
        self._step_tab(1)

    def do_previous_tab(self, _: str) -> None:
        """Tab before."""
        self._step_tab(-1)

    def do_yaml(self, _: str) -> None:
        """The YAML tab."""
        self._open(YAML)

    def do_events(self, _: str) -> None:
        """The Events tab."""
        self._open(EVENTS)

    def do_console(self, _: str) -> None:
        """The console, over the list's place too."""
        chosen = self.selected
        if chosen is not None:
            self._open(CONSOLE)
            self.add_class("zoomed")
            self.detail.console.connect(chosen[0])

    def do_attach(self, _: str) -> None:
        """The console on the real terminal; the UI stays connected meanwhile."""
        chosen = self.selected
        if chosen is not None:
            self.run_worker(self._attach(chosen[0]), exclusive=True, group="attach")

    def do_start(self, _: str) -> None:
        """Start the machine."""
        self._operate("Start")

    def do_stop(self, _: str) -> None:
        """Stop it, after a question."""
        self._ask("Stop", "The guest is asked to shut down; what it does not save is lost.")

    def do_restart(self, _: str) -> None:
        """Restart it, after a question."""
        self._ask("Restart", "The guest is asked to shut down, then the machine starts again.")

    def do_delete(self, _: str) -> None:
        """Delete the object, after a question."""
        chosen = self.selected
        if chosen is None:
            return
        from tui.screens.confirm import Confirm

        key, obj = chosen
        kind = str(obj.get("kind", "object"))
        detail = "Its disks stay." if self.view.plural == "virtualmachines" else "What it holds is lost."
        question = f"Delete {kind} {self._named(key)}?"

        def decided(yes: bool | None) -> None:
            if yes:
                self.run_worker(self._delete(self.view.plural, key), group="write")

        self.app.push_screen(Confirm(question, detail), decided)

    def do_command(self, _: str) -> None:
        """Open the command line."""
        self.query_one(CommandLine).open(":")

    def do_palette(self, _: str) -> None:
        """Open the palette."""
        from textual.command import CommandPalette

        from tui.palette import Everything

        self.app.push_screen(CommandPalette(providers=[Everything], placeholder="an action, or an object"))

    def do_help(self, _: str) -> None:
        """Every key."""
        from tui.screens.help import Help

        self.app.push_screen(Help(self.detail.console.terminal.escape.label))

    def do_back(self, _: str) -> None:
        """Close the innermost thing that is open."""
        if self.focused is not None and self.focused is not self.table:
            self.table.focus()
            self.remove_class("zoomed")
        elif self.has_class("opened"):
            self.remove_class("opened", "zoomed")
            self.detail.console.disconnect()
        elif self.table.query_text:
            self.table.filter("")
            self._bars()

    def do_quit(self, _: str) -> None:
        """Leave."""
        self.app.exit()

    def _named(self, key: Key) -> str:
        where = " · ".join(part for part in (key.namespace, key.home if self._several else "") if part)
        return sanitize.line(f"{key.name} ({where})" if where else key.name)

    def _open(self, tab: str = "") -> None:
        self.add_class("opened")
        self.detail.present(self.view.plural, self._cursor_key())
        if tab:
            self.detail.choose(tab)
        self.call_after_refresh(self.detail.redraw)

    def _step_tab(self, by: int) -> None:
        if not self.has_class("opened"):
            self._open()
        self.detail.step(by)

    def _cursor_key(self) -> Key | None:
        key = self.table.cursor
        return key if isinstance(key, Key) else None

    def _ask(self, what: str, detail: str) -> None:
        chosen = self.selected
        if chosen is None:
            return
        from tui.screens.confirm import Confirm

        def decided(yes: bool | None) -> None:
            if yes:
                self._operate(what)

        self.app.push_screen(Confirm(f"{what} {self._named(chosen[0])}?", detail), decided)

    def _operate(self, what: str) -> None:
        chosen = self.selected
        if chosen is not None:
            self.run_worker(self._create_operation(chosen[0], what), group="write")

    async def _create_operation(self, key: Key, what: str) -> None:
        client = self.fleet.client(key.home)
        if client is None:
            self.say(f"There is no connection to {key.home} yet.", error=True)
            return
        try:
            made = await client.create(OPERATION, key.namespace, manifest(key, what))
        except HyperdError as err:
            self.say(err.message, error=True)
            return
        self._ours.add(Key(key.home, key.namespace, str(made["metadata"]["name"])))
        self.say(f"{what} of {key.name} asked for")

    async def _delete(self, plural: str, key: Key) -> None:
        client = self.fleet.client(key.home)
        if client is None:
            self.say(f"There is no connection to {key.home} yet.", error=True)
            return
        try:
            await client.delete(self.fleet.resources[plural], key.namespace or None, key.name)
        except HyperdError as err:
            self.say(err.message, error=True)
            return
        self.say(f"{key.name} is being deleted")

    async def _attach(self, key: Key) -> None:
        import asyncio

        from textual.app import SuspendNotSupported

        from hyperd.client.attach import attach

        home = self.fleet.homes[key.home].home
        self.detail.console.disconnect()
        try:
            with self.app.suspend():
                print("\x1b[2J\x1b[H", end="", flush=True)  # noqa: T201  the terminal is ours, not the app's, here
                ended = await asyncio.to_thread(attach, home, key.namespace, key.name, escape=self._escape)
            self.say(ended)
        except SuspendNotSupported:
            self.say("This terminal cannot be handed over; c opens the console here.", error=True)
        except HyperdError as err:
            self.say(err.message, error=True)
        self.refresh(layout=True)

    # Messages of the widgets

    def on_virtual_table_moved(self, message: VirtualTable.Moved) -> None:
        """Another row: another detail, other keys."""
        message.stop()
        if self.has_class("opened"):
            self.detail.present(self.view.plural, self._cursor_key())
        self._bars()

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

    def on_command_line_filtered(self, message: CommandLine.Filtered) -> None:
        """The filter, while it is typed."""
        self.table.filter(message.query)
        self._bars()

    def on_command_line_closed(self, message: CommandLine.Closed) -> None:
        """Keys go to the list again."""
        self.table.focus()
        if not message.kept and self.table.query_text:
            self.table.filter("")
        self._bars()

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
        self._bars()
