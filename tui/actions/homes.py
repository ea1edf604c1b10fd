"""The homes: how they are, one more, one less."""

from __future__ import annotations

from collections.abc import Sequence

from tui.action import Parameters, Target, action
from tui.desk import Desk


def _homes(desk: Desk, _: Sequence[Target], given: Parameters) -> None:
    from tui.screens.homes import Homes

    desk.push(Homes(desk))


ACTIONS = (
    action(
        "homes", "H", "homes", "how each home is; add one, take one away", "Lists", _homes, Parameters,
        words="homes home",
    ),
)  # fmt: skip
