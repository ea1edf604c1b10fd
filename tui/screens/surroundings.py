"""What stands around the list: counts and homes above, news and keys below, advice where there is nothing.

All of it is drawn from counts that are kept, so that drawing costs the same for ten objects and ten thousand.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from hyperd.client import sanitize
from tui.screens import panes
from tui.widgets.bars import BottomBar, ListBar, TopBar
from tui.widgets.terminal import Terminal

if TYPE_CHECKING:
    from tui.screens.main import MainScreen

_NAMED_RUNNING = 6
"""So many of the things that run are named; the others are counted."""


def draw(screen: MainScreen) -> None:
    """All of it."""
    fleet, table, news = screen.fleet, screen.table, screen.news
    counts = [
        (kind.counted, len(shelf), shelf.unwell)
        for kind in screen.kinds
        if kind.counted and (shelf := fleet.shelf(kind.plural)) is not None
    ]
    if sessions := len(screen.sessions.tabs):
        counts.append(("consoles", sessions, 0))
    screen.query_one(TopBar).present(
        fleet.homes.items(), screen.trail.namespace, counts, screen.usage.totals(), read_only=screen.read_only
    )
    screen.query_one(ListBar).present(
        screen.kind.title, table.query_text, table.count, table.total, len(screen.trail.current.marks)
    )
    shown = [action for action in screen.actions if action.footer and action.key]
    said = news.text or _trouble(screen)
    if isinstance(screen.focused, Terminal):
        shown = []
        said = said or "not connected · c opens the console · Esc goes back"
    running, more = _what_runs(screen)
    screen.query_one(BottomBar).present(
        said,
        error=news.error and bool(news.text),
        running=running,
        more=more,
        actions=shown,
        refused={action.id for action in shown if screen.why_not(action)},
    )
    screen.area.explain(() if table.count else _why_empty(screen))
    panes.share_height(screen)


def _trouble(screen: MainScreen) -> str:
    """Why a home is not there, in words: its glyph does not tell."""
    for name, state in screen.fleet.homes.items():
        if trouble := state.trouble:
            return sanitize.line(f"{name}: {trouble}" if len(screen.fleet.homes) > 1 else trouble)
    return ""


def _what_runs(screen: MainScreen) -> tuple[list[str], int]:
    """The first things that are on their way, and how many more there are."""
    named: list[str] = []
    for work in screen.works.running:
        named.append(sanitize.line(f"{work.title} {work.part or 0:.0%}"))
    more = 0
    for kind in screen.kinds:
        if kind.running is None:
            continue
        shelf = screen.fleet.shelf(kind.plural)
        for key, state in islice(shelf.busy.items(), _NAMED_RUNNING):
            if text := kind.running(shelf.objects[key], state):
                named.append(sanitize.line(text))
        more += max(0, len(shelf.busy) - _NAMED_RUNNING)
    return named[:_NAMED_RUNNING], more + max(0, len(named) - _NAMED_RUNNING)


def _why_empty(screen: MainScreen) -> tuple[str, ...]:
    table, fleet, namespace = screen.table, screen.fleet, screen.trail.namespace
    if table.query_text and table.total:
        return (f"No row has “{sanitize.line(table.query_text)}”.", "Esc drops the filter.")
    if not fleet.listed(screen.kind.plural):
        problems = [sanitize.line(state.message) for state in fleet.homes.values() if state.message]
        return (problems[0], "It is tried again all the time.") if problems else ("Connecting …",)
    if namespace:
        return (f"Nothing in the namespace {sanitize.line(namespace)}.", ":ns shows all namespaces.")
    return screen.kind.empty or ("There is none.",)
