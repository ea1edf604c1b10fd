"""What the actions of the registry do: the half of the main screen that changes things.

A method ``do_<id>`` stands for each action. Writes go to a home in workers; its answer comes back
as a sentence on the bottom line, what it did comes back by the watch.
"""

from __future__ import annotations

import asyncio

from textual.app import SuspendNotSupported
from textual.screen import Screen

from hyperd.client import sanitize
from hyperd.client.attach import attach
from hyperd.client.health import health
from hyperd.errors import HyperdError
from tui.actions import BY_ID, Action
from tui.fleet import Fleet, Key, Object
from tui.operations import OPERATION, manifest
from tui.views import VIEWS, View
from tui.widgets.command import CommandLine
from tui.widgets.detail import CONSOLE, EVENTS, YAML, DetailPane
from tui.widgets.table import VirtualTable

_TAKING_WORDS = ("namespace", "sort")


class Acting(Screen[None]):
    """Needs of the screen below it: the list, the detail, and a place to say things."""

    fleet: Fleet
    view: View
    namespace: str

    def __init__(self, *, escape: str) -> None:
        super().__init__()
        self._escape = escape
        self._several = False
        self._ours: set[Key] = set()
        """Operations whose end the user wants to hear of."""

    @property
    def table(self) -> VirtualTable:
        return self.query_one(VirtualTable)

    @property
    def detail(self) -> DetailPane:
        return self.query_one(DetailPane)

    @property
    def selected(self) -> tuple[Key, Object] | None:
        """The row's key and object."""
        key = self._cursor_key()
        obj = self.fleet.get(self.view.plural, key) if key is not None else None
        return (key, obj) if key is not None and obj is not None else None

    def show_view(self, view: View) -> None:
        """Show another kind, or the same one anew."""
        raise NotImplementedError

    def say(self, text: str, *, error: bool = False) -> None:
        """Put a sentence on the bottom line."""
        raise NotImplementedError

    def redraw_bars(self) -> None:
        """Draw the lines around the list again."""
        raise NotImplementedError

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
        if argument and action.kinds:
            # What was named is meant, not what the cursor happens to be on.
            if not self._point_at(action, argument):
                return
            argument = ""
        elif argument and action_id not in _TAKING_WORDS and not action_id.startswith("view_"):
            self.say(f"{action.title} takes no {argument}", error=True)
            return
        if not self.allows(action):
            self.say(self._why_not(action), error=True)
            return
        if action_id.startswith("view_"):
            self._switch(next(view for view in VIEWS if f"view_{view.plural}" == action_id), argument)
            return
        work = getattr(self, f"do_{action_id}")
        work(argument)

    def _point_at(self, action: Action, wanted: str) -> bool:
        """Put the cursor on ``name``, ``namespace/name`` or ``name.namespace``; says why it cannot."""
        views = [self.view] if self.view.plural in action.kinds else []
        if len(action.kinds) == 1:
            views = [view for view in VIEWS if view.plural in action.kinds]
        found = [
            (view, key)
            for view in views
            for key in self.fleet.objects(view.plural)
            if wanted in (key.name, f"{key.namespace}/{key.name}", f"{key.name}.{key.namespace}")
        ]
        if len(found) > 1 and self.namespace:
            found = [(view, key) for view, key in found if key.namespace == self.namespace] or found
        if len(found) != 1:
            places = ", ".join(self._named(key) for _, key in found[:4])
            kind = views[0].title if views else "such objects"
            self.say(
                f"{wanted} is ambiguous: {places}; say namespace/name" if found else f"no {wanted} among {kind}",
                error=True,
            )
            return False
        view, key = found[0]
        if self.view is not view or not self.table.select(key):
            self.show_object(view.plural, key)
        return self._cursor_key() == key

    def show_object(self, plural: str, key: Key) -> None:
        """Show the list that ``key`` is in, with the cursor on it."""
        raise NotImplementedError

    def _why_not(self, action: Action) -> str:
        chosen = self.selected
        if chosen is None or self.view.plural not in action.kinds:
            return f"{action.title} does not apply to {self.view.title}"
        return f"{action.title} does not apply: {chosen[0].name} is {health(chosen[1]).word}"

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
        self.redraw_bars()

    def do_reverse(self, _: str) -> None:
        """Turn the order round."""
        self.table.sort_by(self.table.sort_column)
        self.redraw_bars()

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
            self.run_worker(self._raw_console(chosen[0]), exclusive=True, group="attach")

    def do_start(self, _: str) -> None:
        """Start the machine."""
        chosen = self.selected
        if chosen is not None:
            self._operate("Start", chosen[0])

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
        from tui.palette import Palette

        self.app.push_screen(Palette())

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
            self.redraw_bars()
        elif self.table.query_text:
            self.table.filter("")
            self.redraw_bars()

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
        self.redraw_bars()
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
                # The one that was asked about: the list may have moved on meanwhile.
                self._operate(what, chosen[0])

        self.app.push_screen(Confirm(f"{what} {self._named(chosen[0])}?", detail), decided)

    def _operate(self, what: str, key: Key) -> None:
        self.run_worker(self._create_operation(key, what), group="write")

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

    async def _raw_console(self, key: Key) -> None:
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
