"""What goes on now, and what was said."""

from __future__ import annotations

from collections.abc import Sequence

from tui.action import Parameters, Target, action
from tui.desk import Desk


def _activity(desk: Desk, _: Sequence[Target], given: Parameters) -> None:
    from tui.screens.activity import Activity

    desk.push(Activity(desk))


ACTIONS = (
    action(
        "activity", "a", "activity", "what is on its way, how long yet, and what was said", "General", _activity,
        Parameters, words="activity messages",
    ),
)  # fmt: skip
