"""What an action is done to: what words on the command line name, what is marked, or the row of the cursor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hyperd.errors import BadRequest
from tui.action import Action, Target
from tui.desk import Desk
from tui.kind import Kind
from tui.shelf import Key

if TYPE_CHECKING:
    from tui.screens.main import MainScreen

_LOOKED_AT = 50
"""Of more marked objects it is not asked beforehand whether any of them takes the action."""

READ_ONLY = "hv tui was opened read-only"


def chosen(screen: MainScreen, action: Action, words: Sequence[str]) -> tuple[list[Target], list[str]]:
    """What ``action`` is done to, and the words that are left as its parameters.

    What is named is meant, not what the cursor happens to be on: ``web-7``, ``shop/web-7`` or ``web-7.shop``.
    Raises BadRequest for what is not there, and where a name is ambiguous.
    """
    if action.applies is None:
        return [], list(words)
    names = [word for word in words if word.removeprefix("--").partition("=")[0] not in action.parameters]
    names = names if action.many else names[:1] if words[:1] == names[:1] else []
    if names:
        left = [word for word in words if word not in names] if action.many else list(words[1:])
        found = [named(screen, list(screen.kinds), action, name) for name in names]
        if len(found) == 1 and not (screen.kind is found[0].kind and screen.table.select(found[0].key)):
            screen.show_object(found[0].kind.plural, found[0].key)
        return found, left
    return at_hand(screen, action), list(words)


def at_hand(screen: MainScreen, action: Action) -> list[Target]:
    """What it is done to where nothing is named."""
    if action.applies is None:
        return []
    if action.many and (marked := screen.area.marked):
        return marked
    return [screen.target] if screen.target is not None else []


def refusal(screen: MainScreen, action: Action, targets: Sequence[Target]) -> str:
    """Why it cannot be done to any of them; empty where it can be done to one."""
    if screen.read_only and action.changes:
        return READ_ONLY
    if len(targets) > _LOOKED_AT:
        return ""
    if action.applies is None:
        return _forbidden_here(screen, action)
    reasons = [action.why_not(target.kind, target) or _forbidden(screen, action, target) for target in targets]
    if len(reasons) > 1:
        return "" if "" in reasons else f"none of the {len(reasons)} takes it: {reasons[0]}"
    return reasons[0] if reasons else action.why_not(screen.kind, None)


def _forbidden_here(screen: MainScreen, action: Action) -> str:
    """What its user may not do to any object of the list, where the cursor is or a new one would be."""
    need = action.needs(screen.kind.plural)
    home = screen.cursor.home if screen.cursor is not None else next(iter(screen.fleet.homes), "")
    return screen.rights.lacks(Key(home, screen.trail.namespace, ""), need) if need and home else ""


def _forbidden(screen: MainScreen, action: Action, target: Target) -> str:
    """What its user may not do."""
    if not (need := action.needs(target.kind.plural)):
        return ""
    reason = screen.rights.lacks(target.key, need)
    return f"{target.key.name} {reason}" if reason else ""


def named(desk: Desk, kinds: Sequence[Kind], action: Action, wanted: str) -> Target:
    """The one object that ``wanted`` names, of the list that is shown or else of the action's only kind.

    Raises BadRequest for none, and for several.
    """
    assert action.applies is not None  # noqa: S101  else nothing is named
    can = [kind for kind in kinds if action.applies(kind)]
    chosen = [desk.kind] if desk.kind in can and len(can) != 1 else can[:1] if len(can) == 1 else []
    found = [
        Target(kind, key, obj)
        for kind in chosen
        for key, obj in desk.fleet.objects(kind.plural).items()
        if wanted in (key.name, f"{key.namespace}/{key.name}", f"{key.name}.{key.namespace}")
    ]
    if len(found) > 1 and (here := desk.trail.namespace):
        found = [target for target in found if target.key.namespace == here] or found
    if len(found) == 1:
        return found[0]
    if found:
        places = ", ".join(desk.named(target.key) for target in found[:4])
        raise BadRequest(f"{wanted} is ambiguous: {places}; say namespace/name")
    raise BadRequest(f"no {wanted} among {chosen[0].title if chosen else 'such objects'}")


def open_first(screen: MainScreen, name: str) -> None:
    """Show the machine that ``hv tui NAME`` asks for."""
    for key in screen.fleet.objects("virtualmachines"):
        if name in (key.name, f"{key.name}.{key.namespace}"):
            screen.go_to("virtualmachines", key)
            return
