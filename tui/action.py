"""Something that a user can do: what keys, footer, help, palette and ``:`` commands are made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from hyperd.errors import BadRequest
from tui.desk import Desk
from tui.kind import Kind
from tui.shelf import Key, Object

_NAMES = {
    "enter": "Enter", "escape": "Esc", "tab": "Tab", "shift+tab": "Shift+Tab", "colon": ":", "slash": "/",
    "question_mark": "?", "ctrl+d": "Ctrl+D", "ctrl+l": "Ctrl+L", "ctrl+p": "Ctrl+P", "left_square_bracket": "[",
    "right_square_bracket": "]", "minus": "-", "plus": "+",
    "ctrl+s": "Ctrl+S", "space": "Space", "ctrl+space": "Ctrl+Space", "ctrl+a": "Ctrl+A",
}  # fmt: skip


@dataclass(frozen=True)
class Target:
    """An object that something is done to, as it was when it was chosen."""

    kind: Kind
    key: Key
    obj: Object


@dataclass(frozen=True)
class Parameters:
    """What an action takes beside its object: a dataclass whose fields have defaults. This one takes nothing."""


def _nothing(_: str) -> str:
    return ""


P = TypeVar("P", bound=Parameters)
Run = Callable[[Desk, Sequence[Target], P], None]


@dataclass(frozen=True)
class Action:
    """One thing to do, made by ``action``.

    Attributes:
        key: A key, or several of them separated by commas.
        words: What it is called on the command line; the first is shown.
        applies: The kinds that it can be done to; None where it needs no object.
        refuses: Why it cannot be done to this object now; empty where it can.
        parameters: What may follow the word, for completion and help.
        begin: Does it, with the words that were given.
    """

    id: str
    key: str
    title: str
    help: str
    group: str
    begin: Callable[[Desk, Sequence[Target], Sequence[str]], None]
    words: tuple[str, ...] = ()
    applies: Callable[[Kind], bool] | None = None
    refuses: Callable[[Target], str] = lambda _: ""
    parameters: tuple[str, ...] = ()
    footer: bool = False
    needs: Callable[[str], str] = lambda _: ""
    """What its user must be allowed, by the plural of the kind it is done to; see ``Rights``."""
    changes: bool = False
    """Whether something may be another afterwards; in a read-only TUI it is not offered."""
    many: bool = False
    """Whether it can be done to several objects at once: the marked ones, or all that are named."""

    @property
    def key_label(self) -> str:
        """How a person writes the key."""
        return _NAMES.get(self.key.partition(",")[0], self.key.partition(",")[0])

    def why_not(self, kind: Kind, target: Target | None) -> str:
        """Why it cannot be done to the object under the cursor; empty where it can."""
        if self.applies is None:
            return ""
        if not self.applies(kind):
            return f"not for {kind.title}"
        if target is None:
            return "there is no row"
        reason = self.refuses(target)
        return f"{target.key.name} {reason}" if reason else ""


def action(
    id_: str,
    key: str,
    title: str,
    help_: str,
    group: str,
    run: Run[P],
    parameters: type[P],
    *,
    words: str = "",
    applies: Callable[[Kind], bool] | None = None,
    refuses: Callable[[Target], str] = lambda _: "",
    needs: Callable[[str], str] | None = None,
    changes: bool = False,
    footer: bool = False,
    many: bool = False,
) -> Action:
    """An action whose ``run`` gets its ``parameters``, a dataclass, read from words (see ``read``).

    What needs a right ``changes`` something.
    """

    def begin(desk: Desk, targets: Sequence[Target], given: Sequence[str]) -> None:
        run(desk, targets, read(title, parameters, given))

    names = tuple(field.name for field in dataclasses.fields(parameters))
    return Action(
        id_, key, title, help_, group, begin, tuple(words.split()), applies, refuses, names, footer,
        needs or _nothing, changes or needs is not None, many,
    )  # fmt: skip


def read(title: str, parameters: type[P], given: Sequence[str]) -> P:
    """``given`` as a dataclass: ``force`` or ``--force`` sets a bool of that name, other words are texts in order.

    ``node=n2`` or ``--node=n2`` sets the text of that name, in whichever place.

    Raises BadRequest for a word that there is no place for.
    """
    fields = dataclasses.fields(parameters)
    flags = {field.name for field in fields if field.type in (bool, "bool")}
    places = [field.name for field in fields if field.name not in flags]
    values: dict[str, str | bool] = {}
    for word in given:
        bare = word.removeprefix("--")
        name, is_named, value = bare.partition("=")
        if bare in flags:
            values[bare] = True
        elif is_named and name in places:
            places.remove(name)
            values[name] = value
        elif places:
            values[places.pop(0)] = word
        else:
            raise BadRequest(f"{title} takes no {word}")
    return dataclasses.replace(parameters(), **values)
