"""Kinds that homes turn out to serve: each gets its list, its command and its completion."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from tui.actions import opening
from tui.default import described
from tui.widgets.command import CommandLine

if TYPE_CHECKING:
    from tui.screens.main import MainScreen


def learn(screen: MainScreen, plurals: Collection[str]) -> None:
    """Know these, or their columns, from now on."""
    for plural in plurals:
        kind = described(plural, screen.fleet.resources[plural], screen.fleet.columns.get(plural, ()))
        screen.kinds.put(kind)
        screen.actions.add(opening(kind))
    if plurals:
        screen.query_one(CommandLine).learn([*screen.actions.by_word])
    if screen.kind.plural in plurals:
        screen.show_context()
