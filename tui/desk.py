"""What actions may ask of the screen that they are done on."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Protocol, TypeVar

from textual.screen import Screen

from tui.context import Trail
from tui.fleet import Fleet
from tui.kind import Kind
from tui.kinds import Kinds
from tui.shelf import Key
from tui.works import Works

if TYPE_CHECKING:
    from tui.screens.news import News
    from tui.widgets.detail import DetailPane
    from tui.widgets.table import VirtualTable

T = TypeVar("T")


class Desk(Protocol):
    """A list, the detail of one of its rows, and a line to say things on."""

    fleet: Fleet
    kinds: Kinds
    trail: Trail
    news: News
    works: Works
    read_only: bool
    """Whether nothing may be changed from here."""

    @property
    def kind(self) -> Kind:
        """What is listed."""
        ...

    @property
    def cursor(self) -> Key | None:
        """The object under the cursor."""
        ...

    @property
    def table(self) -> VirtualTable: ...

    def say(self, text: str, *, error: bool = False) -> None:
        """Put a sentence on the bottom line."""
        ...

    def ask(self, question: str, detail: str, then: Callable[[], None]) -> None:
        """Ask before something is destroyed; ``then`` is called on a deliberate yes."""
        ...

    def work(self, work: Coroutine[None, None, None], group: str, *, opens: bool = False) -> None:
        """Do what takes time beside the screen; its HyperdErrors are said. Keys wait where it ``opens`` one."""
        ...

    def copy(self, text: str) -> None:
        """Put it on the clipboard of the user's terminal."""
        ...

    def push(self, screen: Screen[None]) -> None:
        """Lay a screen over this one."""
        ...

    def named(self, key: Key) -> str:
        """An object's name with where it is, for people."""
        ...

    async def operation_end(self, key: Key) -> str:
        """Wait for the end of an operation. Raises HyperdError where it failed."""
        ...

    async def hand_over(self, call: Callable[[], T]) -> T:
        """Give the whole terminal to ``call``, in a thread. Raises BadRequest where it cannot be given away."""
        ...

    def mark(self, what: str) -> None:
        """Mark the ``row``, all up ``to`` it, or ``all`` that is shown."""
        ...

    def unmark(self) -> None:
        """Mark nothing."""
        ...

    def show_list(self, plural: str, query: str | None = None) -> None:
        """Another list, as it was left, or with this filter."""
        ...

    def go_to(self, plural: str, key: Key) -> None:
        """Show one object: its list, its row, its detail."""
        ...

    def show_context(self) -> None:
        """Show what the trail's current context is."""
        ...

    def show_namespace(self, namespace: str) -> None:
        """Only what is in a namespace; empty for all."""
        ...

    def reorder(self, column: int) -> None:
        """Sort by a column; the same one again turns the order round."""
        ...

    def prompt(self, text: str) -> None:
        """Open the command line with this in it."""
        ...

    def open(self, tab: str = "") -> None:
        """Open the detail; once more without a tab, the keys go to it."""
        ...

    def zoom(self) -> None:
        """The detail over the list's place too, or no longer."""
        ...

    @property
    def detail(self) -> DetailPane: ...

    def step_tab(self, by: int) -> None:
        """The next or previous tab."""
        ...

    def connect_console(self, key: Key) -> None:
        """Take a machine's console, here."""
        ...

    def show_screen(self, key: Key) -> None:
        """Take a machine's screen, here."""
        ...

    def attach_console(self, key: Key) -> None:
        """Take it on the whole terminal."""
        ...

    def back(self) -> None:
        """Close the innermost thing that is open."""
        ...

    def help(self) -> None:
        """Every key."""
        ...

    def palette(self) -> None:
        """Find an action or an object."""
        ...

    def redraw_all(self) -> None:
        """Write all of the screen anew, whatever stands on the terminal."""
        ...

    def leave(self) -> None:
        """End the program."""
        ...
