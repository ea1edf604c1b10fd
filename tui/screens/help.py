"""Every key, written from the registry of actions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from tui.action import Action
from tui.screens.closing import ClosesOnce
from tui.widgets.lines import LinesView

if TYPE_CHECKING:
    from tui.screens.main import MainScreen

_MOVING = (
    ("↑ ↓ k j", "move"),
    ("PgUp PgDn", "a page"),
    ("g G", "first, last"),
    ("← → Enter", "in YAML: put away what is below a key, or show it"),
    ("Shift+PgUp", "look back in a console"),
)


class Help(ClosesOnce, ModalScreen[None]):
    """A list that any of the usual keys closes."""

    DEFAULT_CSS = """
    Help { align: center middle; background: $background 60%; }
    Help > Vertical { width: 90%; max-width: 100; height: 90%; max-height: 52; padding: 1 2;
        background: $surface; }
    Help Static { height: auto; color: $text-muted; }
    Help LinesView { background: $surface; height: 1fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,question_mark,enter", "dismiss", show=False)]

    def __init__(self, actions: Iterable[Action], reasons: Mapping[str, str], escape: str) -> None:
        super().__init__()
        self._actions = list(actions)
        self._reasons = reasons
        self._escape = escape

    def compose(self) -> ComposeResult:
        """The list, and how to leave."""
        with Vertical():
            yield LinesView()
            yield Static("Esc closes · ↑ ↓ scroll")

    def on_mount(self) -> None:
        """Fill it."""
        view = self.query_one(LinesView)
        view.set_lines(help_lines(self._actions, self._reasons, self._escape))
        view.focus()


def show(screen: MainScreen) -> None:
    """Lay it over the screen, with why what cannot be done cannot."""
    reasons = {action.id: reason for action in screen.actions if (reason := screen.why_not(action))}
    screen.app.push_screen(Help(screen.actions, reasons, screen.detail.console.terminal.escape.label))


def help_lines(actions: Iterable[Action], reasons: Mapping[str, str], escape: str) -> list[Text]:
    """Groups of keys; what cannot be done now is grey and says why. ``escape`` is what leaves a console."""
    lines: list[Text] = []
    actions = list(actions)
    for group in dict.fromkeys(action.group for action in actions):
        lines += [Text(""), Text(group, style="bold")] if lines else [Text(group, style="bold")]
        for action in (action for action in actions if action.group == group):
            line = Text(f"  {action.key_label:<11}").append(action.help)
            if action.words:
                line.append(f"  :{' '.join((action.words[0], *map(_placed, action.parameters)))}", style="dim")
            if reason := reasons.get(action.id):
                line.stylize("dim")
                line.append(f"  ({reason})", style="dim italic")
            lines.append(line)
    lines += [Text(""), Text("Moving", style="bold")]
    lines += [Text(f"  {keys:<11}{what}") for keys, what in _MOVING]
    lines += [Text(f"  {escape:<11}in a console: the next key is a command; twice, it is sent")]
    return lines


def _placed(parameter: str) -> str:
    return f"[{parameter}]"
