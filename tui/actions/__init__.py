"""What a user can do. A file here with ``ACTIONS`` is all that more of it needs."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Iterator, Sequence

from tui.action import Action, Parameters, Target, action
from tui.desk import Desk
from tui.kind import Kind

_GROUPS = ("Lists", "Object", "Machine")
OTHERS = "Other lists"
_LAST = ("General", OTHERS)
"""The order in help and footer; other groups come between these."""


class Actions:
    """Actions by id and by word, in the order of their groups."""

    def __init__(self, actions: Iterable[Action]) -> None:
        self._by_id: dict[str, Action] = {}
        self.by_word: dict[str, Action] = {}
        for each in sorted(actions, key=lambda each: _place(each.group)):
            self.add(each)

    def add(self, new: Action) -> None:
        """One more; a word that another has stays the other's."""
        self._by_id[new.id] = new
        for word in new.words:
            self.by_word.setdefault(word, new)

    def __iter__(self) -> Iterator[Action]:
        return iter(self._by_id.values())

    def __getitem__(self, id_: str) -> Action:
        return self._by_id[id_]


def load(kinds: Iterable[Kind]) -> Actions:
    """The actions of every file here, and one for the list of each kind that has a key."""
    lists = [opening(kind) for kind in kinds]
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    found = [importlib.import_module(f"{__name__}.{name}").ACTIONS for name in names]
    return Actions([*lists, *(action for actions in found for action in actions)])


def _place(group: str) -> int:
    if group in _LAST:
        return len(_GROUPS) + 1 + _LAST.index(group)
    return _GROUPS.index(group) if group in _GROUPS else len(_GROUPS)


def opening(kind: Kind) -> Action:
    """What opens the list of a kind."""

    def begin(desk: Desk, _: Sequence[Target], given: Sequence[str]) -> None:
        desk.show_list(kind.plural, " ".join(given).removeprefix("/") if given else None)

    return Action(
        f"view_{kind.plural}", kind.digit, kind.title, f"show {kind.title}", "Lists" if kind.digit else OTHERS,
        begin, kind.words, parameters=("filter",),
    )  # fmt: skip


__all__ = ["Actions", "Parameters", "action", "load", "opening"]
