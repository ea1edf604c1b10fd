"""Looking at one object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hyperd.errors import BadRequest
from tui.action import Parameters, Target, action
from tui.desk import Desk
from tui.detail import yaml
from tui.kind import EVENTS, YAML, Kind

_MOST_COPIED = 64 << 10


def _every(_: Kind) -> bool:
    return True


def _open(desk: Desk, _: Sequence[Target], given: Parameters) -> None:
    desk.open()


def _next(desk: Desk, _: Sequence[Target], given: Parameters) -> None:
    desk.step_tab(1)


def _previous(desk: Desk, _: Sequence[Target], given: Parameters) -> None:
    desk.step_tab(-1)


def _yaml(desk: Desk, _: Sequence[Target], given: Parameters) -> None:
    desk.open(YAML)


def _events(desk: Desk, _: Sequence[Target], given: Parameters) -> None:
    desk.open(EVENTS)


def _zoom(desk: Desk, _: Sequence[Target], given: Parameters) -> None:
    desk.zoom()


def _wrap(desk: Desk, _: Sequence[Target], given: Parameters) -> None:
    desk.say("long lines go on below" if desk.detail.wrap() else "long lines are cut")


@dataclass(frozen=True)
class What(Parameters):
    """Without either, the name, and what is shown where the detail has the keys."""

    yaml: bool = False
    pane: bool = False


def _fold(desk: Desk, _: Sequence[Target], given: Parameters) -> None:
    desk.open(YAML)
    desk.say("all of it is shown" if desk.detail.unfold() else "status and what is long are put away")


def _copy(desk: Desk, targets: Sequence[Target], given: What) -> None:
    if given.yaml:
        what, text = "YAML", "".join(f"{line}\n" for line in yaml(targets[0].obj))
    elif given.pane or not desk.table.has_focus:
        what, text = "pane", desk.detail.text
    else:
        what, text = "name", targets[0].key.name
    if len(text) > _MOST_COPIED:
        raise BadRequest(f"that is more than a terminal takes at once ({_MOST_COPIED >> 10} KiB)")
    desk.copy(text)
    desk.say(f"the {what} of {targets[0].key.name} is copied, if your terminal takes OSC 52")


ACTIONS = (
    action(
        "open", "enter", "open", "open the details of the row", "Object", _open, Parameters,
        applies=_every, footer=True,
    ),
    action("next_tab", "tab", "next tab", "the next tab of the details", "Object", _next, Parameters),
    action("previous_tab", "shift+tab", "previous tab", "the tab before", "Object", _previous, Parameters),
    action(
        "yaml", "y", "YAML", "the object as YAML", "Object", _yaml, Parameters, words="yaml", applies=_every
    ),
    action(
        "events", "E", "events", "what happened to it", "Object", _events, Parameters,
        applies=lambda kind: EVENTS in kind.tabs,
    ),
    action("zoom", "z", "zoom", "the details over the whole screen, and back", "Object", _zoom, Parameters),
    action(
        "fold", "f", "unfold", "show all of the YAML, or put status and what is long away again", "Object", _fold,
        Parameters, words="fold", applies=_every,
    ),
    action("wrap", "W", "wrap", "have long lines go on below", "Object", _wrap, Parameters, words="wrap"),
    action(
        "copy", "Y", "copy", "copy the name, or what the details show, to your clipboard", "Object", _copy, What,
        words="yank", applies=_every,
    ),
)  # fmt: skip
