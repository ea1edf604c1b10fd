"""The screen with the list: the fleet above, the row's detail below, what can be done at the bottom.

It shows the trail's current context, and is the ``Desk`` that actions are done on.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingsMap, BindingType
from textual.containers import Vertical
from textual.screen import Screen

from hyperd.client import sanitize
from hyperd.errors import HyperdError
from tui.action import Action, Target
from tui.actions import Actions
from tui.context import Trail
from tui.desk import T
from tui.fleet import Changes, Fleet
from tui.kind import Kind
from tui.kinds import Kinds
from tui.rights import Rights
from tui.screens import consoles, panes, surroundings
from tui.screens.backing import back
from tui.screens.hearing import hear
from tui.screens.naming import at_hand, chosen, refusal
from tui.screens.news import News
from tui.screens.sessions import SessionsScreen
from tui.shelf import Key
from tui.usage import Usage
from tui.widgets.area import ListArea
from tui.widgets.bars import BottomBar, ListBar, TopBar
from tui.widgets.command import CommandLine
from tui.widgets.console import ConsolePane
from tui.widgets.detail import DetailPane, TabLine
from tui.widgets.lines import LinesView
from tui.widgets.session import SessionPane
from tui.widgets.table import VirtualTable
from tui.works import Works

if TYPE_CHECKING:
    from tui.app import HvApp

_TICK_SECONDS = 5.0


class MainScreen(Screen[None]):
    app: HvApp
    DEFAULT_CSS = """
    MainScreen { background: $background; }
    MainScreen #panes { height: 1fr; }
    MainScreen #list { height: 1fr; }
    MainScreen DetailPane { display: none; }
    MainScreen.opened DetailPane { display: block; }
    MainScreen.wide #panes { layout: horizontal; }
    MainScreen.wide #list { width: 1fr; }
    MainScreen.wide DetailPane { width: 38%; border-left: vkey $surface; }
    MainScreen.zoomed DetailPane { width: 1fr; border-left: none; }
    MainScreen.zoomed #list, MainScreen.zoomed ListBar { display: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = []

    def __init__(
        self, fleet: Fleet, kinds: Kinds, acts: Actions, trail: Trail, *,
        machine: str, escape: str, read_only: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        keys = [Binding(a.key, f"act('{a.id}')", a.title, show=False, id=a.id) for a in acts if a.key]
        self._bindings.key_to_bindings.update(BindingsMap(keys).key_to_bindings)
        self.fleet, self.kinds, self.actions, self.trail = fleet, kinds, acts, trail
        self.usage, self.read_only = Usage(fleet), read_only
        self.news, self.works = News(fleet), Works()
        self.rights = Rights(fleet, self.work, self.redraw_bars)
        self.sessions = SessionsScreen(fleet, self.named, self.redraw_bars, escape=escape)
        self.handed_over = False  # whether the terminal is another program's for the moment
        self.machine, self._escape = machine, escape  # the machine to open once it is known

    def compose(self) -> ComposeResult:
        """Bars, list, detail, command line."""
        yield TopBar()
        yield ListBar()
        with Vertical(id="panes"):
            yield ListArea(self.fleet, self.usage, self.kinds, self.trail, id="list")
            yield DetailPane(self.fleet, self.usage, escape=self._escape)
        yield CommandLine([*self.actions.by_word])
        yield BottomBar()

    def on_mount(self) -> None:
        """Paint what there is (nothing), then connect."""
        self.table.focus()
        self.show_context()
        self.set_interval(_TICK_SECONDS, self._tick)

    @property
    def area(self) -> ListArea:
        return self.query_one(ListArea)

    @property
    def kind(self) -> Kind:
        return self.area.kind

    @property
    def table(self) -> VirtualTable:
        return self.area.table

    @property
    def detail(self) -> DetailPane:
        return self.query_one(DetailPane)

    @property
    def cursor(self) -> Key | None:
        return self.area.cursor

    @property
    def target(self) -> Target | None:
        """What is under the cursor, with its object."""
        return self.area.target

    # What the fleet tells

    def tell(self, changes: Changes) -> None:
        """Called by the fleet at most ten times a second; also once more while the screen is taken down."""
        if len(self.query("CommandLine, VirtualTable")) == 2:
            hear(self, changes)

    # The list

    def show_context(self) -> None:
        """The list that the trail says, as it was left."""
        self.area.show()
        if self.has_class("opened"):
            self.detail.present(self.kind, self.cursor)
        self.redraw_bars()

    def show_list(self, plural: str, query: str | None = None) -> None:
        """Another list, as it was left, or with this filter."""
        self.remove_class("zoomed")
        self.table.focus()
        self.trail.visit(plural)
        if query is not None:
            self.trail.current.query = query
        self.show_context()

    def show_namespace(self, namespace: str) -> None:
        """Only what is in a namespace; empty for all."""
        self.trail.namespace = namespace
        self.show_context()

    def go_to(self, plural: str, key: Key) -> None:
        """Show one object: its list, its row, its detail."""
        self.show_object(plural, key)
        self.open()

    def show_object(self, plural: str, key: Key) -> None:
        """Its list, and the cursor on its row; what was shown before is one step back."""
        if not self.area.in_namespace(key):
            self.trail.namespace = ""
        context = self.trail.visit(plural, anew=True)
        context.query, context.cursor = "", key.identity
        self.show_context()
        self.table.select(key)

    def reorder(self, column: int) -> None:
        """Sort by a column; the same one again turns the order round."""
        self.area.reorder(column)
        self.redraw_bars()

    def _tick(self) -> None:
        if not self.query(CommandLine):
            return
        self.news.fade()
        self.table.repaint()
        self.detail.redraw()
        self.redraw_bars()

    # What is done

    def action_act(self, action_id: str) -> None:
        """A key was pressed."""
        self.perform(action_id)

    def why_not(self, action: Action) -> str:
        """Why an action cannot be done now; empty where it can."""
        return refusal(self, action, at_hand(self, action))

    def perform(self, action_id: str, words: Sequence[str] = ()) -> None:
        """Do one action; says why when it does not apply here."""
        action = self.actions[action_id]
        try:
            targets, left = chosen(self, action, words)
            if reason := refusal(self, action, targets):
                self.say(f"{action.title} does not apply: {reason}", error=True)
            else:
                action.begin(self, targets, left)
        except HyperdError as err:
            self.say(err.message, error=True)

    def ask(self, question: str, detail: str, then: Callable[[], None]) -> None:
        """Ask before something is destroyed; ``then`` is called on a deliberate yes."""
        from tui.screens.confirm import Confirm

        self.app.push_screen(Confirm(question, detail), lambda yes: then() if yes else None)

    def work(self, work: Coroutine[None, None, None], group: str, *, opens: bool = False) -> None:
        """Do what takes time beside the screen; its HyperdErrors are said. Keys wait where it ``opens`` one."""
        end = self.app.ahead.opening() if opens else lambda: None

        async def heard() -> None:
            try:
                await work
            except HyperdError as err:
                self.say(err.message, error=True)
            finally:
                end()

        self.run_worker(heard(), group=group)

    def copy(self, text: str) -> None:
        """Put it on the clipboard of the user's terminal."""
        self.app.copy_to_clipboard(text)

    def push(self, screen: Screen[None]) -> None:
        """Lay a screen over this one."""
        self.app.push_screen(screen)
        self.app.ahead.opened()

    def named(self, key: Key) -> str:
        """An object's name with where it is, for people."""
        several = len(self.fleet.homes) > 1
        where = " · ".join(part for part in (key.namespace, key.home if several else "") if part)
        return sanitize.line(f"{key.name} ({where})" if where else key.name)

    async def operation_end(self, key: Key) -> str:
        """Wait for the end of an operation. Raises HyperdError where it failed."""
        return await self.news.operation_end(key)

    async def hand_over(self, call: Callable[[], T]) -> T:
        """Give the whole terminal to ``call``, in a thread. Raises BadRequest where it cannot be given away."""
        return await consoles.hand_over(self, call)

    def mark(self, what: str) -> None:
        """Mark the ``row``, all up ``to`` it, or ``all`` that is shown."""
        {"row": self.area.mark, "to": self.area.mark_to, "all": self.area.mark_all}[what]()
        self.redraw_bars()

    def unmark(self) -> None:
        """Mark nothing."""
        self.area.unmark()
        self.redraw_bars()

    def prompt(self, text: str) -> None:
        """Open the command line with this in it."""
        self.query_one(CommandLine).open(text)

    def open(self, tab: str = "") -> None:
        """Open the detail; once more without a tab, the keys go to it."""
        panes.open_detail(self, tab)

    def zoom(self) -> None:
        """The detail over the list's place too, or no longer."""
        panes.zoom(self)

    def step_tab(self, by: int) -> None:
        """The next or previous tab."""
        if not self.has_class("opened"):
            self.open()
        self.detail.step(by)

    def connect_console(self, key: Key) -> None:
        """Take a machine's console, in the screen of consoles."""
        consoles.show(self, key, "console")

    def show_screen(self, key: Key) -> None:
        """Take a machine's screen, there."""
        consoles.show(self, key, "screen")

    def attach_console(self, key: Key) -> None:
        """The console on the real terminal; the UI stays connected meanwhile."""
        self.work(consoles.attach_raw(self, key, self._escape), "attach", opens=True)

    def back(self) -> None:
        """Close the innermost thing that is open."""
        back(self)

    def help(self) -> None:
        """Every key."""
        from tui.screens.help import show

        show(self)

    def palette(self) -> None:
        """Find an action or an object."""
        from tui.palette import Palette

        self.app.push_screen(Palette())

    def redraw_all(self) -> None:
        """Write all of the screen anew."""
        self.app.redraw_all()

    def leave(self) -> None:
        """End the program."""
        self.app.exit()

    # The lines around the list

    def say(self, text: str, *, error: bool = False) -> None:
        """Put a sentence on the bottom line for some seconds."""
        if self.query(BottomBar):
            self.news.say(text, error=error)
            self.redraw_bars()

    def redraw_bars(self) -> None:
        """Draw the fleet's line, the list's line, the keys, and what stands in an empty list's place."""
        if len(self.query("TopBar, VirtualTable")) > 1:  # else it is being taken down
            surroundings.draw(self)

    # Messages of the widgets

    def on_descendant_focus(self) -> None:
        """Other keys matter where the keys go now."""
        self.redraw_bars()

    def on_virtual_table_moved(self, message: VirtualTable.Moved) -> None:
        """Another row: another detail, other keys."""
        message.stop()
        self.area.note_cursor(by_hand=message.by_hand)
        if self.has_class("opened"):
            self.detail.present(self.kind, self.cursor)
        self.redraw_bars()

    def on_virtual_table_titled(self, message: VirtualTable.Titled) -> None:
        self.reorder(message.index)

    def on_tab_line_chosen(self, message: TabLine.Chosen) -> None:
        self.detail.choose(message.tab)

    def on_session_pane_leave(self, message: SessionPane.Leave) -> None:
        """Out of a console that was only looked at."""
        message.stop()
        self.remove_class("zoomed")
        self.table.focus()
        self.detail.redraw()

    def on_console_pane_opened(self, message: ConsolePane.Opened) -> None:
        """What was looked at is wanted."""
        message.stop()
        self.perform("console")

    def on_command_line_filtered(self, message: CommandLine.Filtered) -> None:
        """The filter, or what is sought in the detail, while it is typed."""
        if message.within:
            self.detail.seek(message.query)
        else:
            self.filter(message.query)

    def filter(self, query: str) -> None:
        """Keep the rows that match."""
        self.area.filter(query)
        self.redraw_bars()

    def on_lines_view_asked(self, message: LinesView.Asked) -> None:
        """Something is to be sought in the detail."""
        message.stop()
        self.query_one(CommandLine).open("/", within=True)

    def on_command_line_closed(self, message: CommandLine.Closed) -> None:
        """Keys go to where they went before."""
        if message.within:
            self.detail.focus_content()
            if not message.kept:
                self.detail.seek("")
        else:
            self.table.focus()
            if not message.kept and self.table.query_text:
                self.filter("")
        self.redraw_bars()

    def on_command_line_entered(self, message: CommandLine.Entered) -> None:
        """A command: a word, and what it takes."""
        word, *rest = message.command.split()
        action = self.actions.by_word.get(word)
        if action is None:
            self.say(f"no command {word}; ? lists them", error=True)
        else:
            self.perform(action.id, rest)

    def on_resize(self, event: events.Resize) -> None:
        """On a large screen the detail is there from the start; beside the list where that is wide enough."""
        panes.fit(self, event.size)
        self.call_after_refresh(self._after_resize)

    def _after_resize(self) -> None:
        self.detail.present(self.kind, self.cursor)
        self.redraw_bars()
