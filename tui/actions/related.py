"""From an object to what it uses, and to what uses it."""

from __future__ import annotations

from collections.abc import Sequence

from tui.action import Parameters, Target, action
from tui.desk import Desk
from tui.kind import Kind


def _related(desk: Desk, targets: Sequence[Target], given: Parameters) -> None:
    from tui.screens.related import Related

    desk.push(Related(desk, targets[0]))


def _any(kind: Kind) -> bool:
    return True


ACTIONS = (
    action(
        "related", "u", "related", "what it uses and what uses it; Enter goes there", "Object", _related,
        Parameters, words="related uses", applies=_any,
    ),
)  # fmt: skip
