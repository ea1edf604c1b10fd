"""The one registry of what a user can do: keys, footer, help, palette and ``:`` commands all come from it.

An action's work is the method ``do_<id>`` of the main screen; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hyperd.client.health import Level, health
from tui.fleet import Object
from tui.views import VIEWS

_Allowed = Callable[[Object], bool]

_RUNNING = frozenset(("Running", "Migrating", "Degraded", "Starting", "Pause"))


@dataclass(frozen=True)
class Action:
    """One thing to do. ``key`` may list alternatives; ``words`` are its ``:`` commands.

    ``kinds`` (plurals) says to which objects it applies; empty means that it needs none. ``allowed`` refines that.
    """

    id: str
    key: str
    title: str
    help: str
    group: str
    words: tuple[str, ...] = ()
    kinds: frozenset[str] = frozenset()
    allowed: _Allowed | None = None
    footer: bool = False

    @property
    def key_label(self) -> str:
        """How a person writes the key."""
        names = {
            "enter": "Enter", "escape": "Esc", "tab": "Tab", "shift+tab": "Shift+Tab", "colon": ":", "slash": "/",
            "question_mark": "?", "ctrl+d": "Ctrl+D", "ctrl+p": "Ctrl+P", "upper_c": "C",
        }  # fmt: skip
        return names.get(self.key.partition(",")[0], self.key.partition(",")[0])

    def applies(self, plural: str, obj: Object | None) -> bool:
        """Whether it can be done to ``obj``, which is of the kind ``plural``."""
        if not self.kinds:
            return True
        return plural in self.kinds and obj is not None and (self.allowed is None or self.allowed(obj))


_MACHINE = frozenset(("virtualmachines",))
_EVERY = frozenset(view.plural for view in VIEWS)
_DELETABLE = _EVERY - {"events", "nodes"}


def running(obj: Object) -> bool:
    """Whether a machine is on, so that it can be stopped and its console answers."""
    return health(obj).word in _RUNNING


def startable(obj: Object) -> bool:
    """Whether a machine is off and its policy lets a user start it."""
    return health(obj).level is Level.OFF and (obj.get("spec") or {}).get("runPolicy") != "AlwaysOff"


ACTIONS: tuple[Action, ...] = (
    *(
        Action(f"view_{view.plural}", view.digit, view.title, f"show {view.title}", "Lists", view.words)
        for view in VIEWS
    ),
    Action("namespace", "n", "namespace", "choose a namespace; :ns alone shows all", "Lists", ("ns", "namespace")),
    Action("filter", "slash", "filter", "keep rows with these words; !word drops them", "Lists", footer=True),
    Action("sort", "o", "sort", "sort by the next column", "Lists", ("sort",)),
    Action("reverse", "O", "reverse", "turn the order round", "Lists", ("reverse",)),
    Action("open", "enter", "open", "open the details of the row", "Object", kinds=_EVERY, footer=True),
    Action("next_tab", "tab", "next tab", "the next tab of the details", "Object"),
    Action("previous_tab", "shift+tab", "previous tab", "the tab before", "Object"),
    Action("yaml", "y", "YAML", "the object as YAML", "Object", ("yaml",), _EVERY),
    Action("events", "e", "events", "what happened to it", "Object", (), _EVERY),
    Action("console", "c", "console", "its console, here", "Machine", ("console",), _MACHINE, running, True),
    Action("attach", "C", "raw", "the same on the whole terminal", "Machine", ("attach",), _MACHINE, running),
    Action("start", "s", "start", "start it", "Machine", ("start",), _MACHINE, startable, True),
    Action("stop", "x", "stop", "ask the guest to shut down", "Machine", ("stop",), _MACHINE, running, True),
    Action("restart", "r", "restart", "restart it, apply what waits", "Machine", ("restart",), _MACHINE, running),
    Action("delete", "ctrl+d", "delete", "delete it, after a question", "Object", ("delete",), _DELETABLE),
    Action("command", "colon", "command", "type a command: vd, ns shop, stop, sort age", "General", footer=True),
    Action("palette", "ctrl+p", "palette", "find an action or an object", "General", ("palette",)),
    Action("help", "question_mark", "help", "this list", "General", ("help", "h"), footer=True),
    Action("back", "escape", "back", "close what is open, drop the filter", "General"),
    Action("quit", "q", "quit", "leave", "General", ("q", "quit", "exit")),
)  # fmt: skip

BY_ID = {action.id: action for action in ACTIONS}
BY_WORD = {word: action for action in ACTIONS for word in action.words}
