"""What a guest's terminal and its screen have in common: whose the keys are.

They are the guest's, until the escape key; then the next one is a command of ours, and after it they are the
guest's again. While there is no session they open one, or lead away.
"""

from __future__ import annotations

import time

from textual import events
from textual.message import Message
from textual.widget import Widget

from hyperd.client.escape import EscapeKey
from tui.widgets.keys import encode

_DEAD_SECONDS = 1.0
_LINES_WITHOUT_ASKING = 1
_RESUMES = ("c", "i", "enter")
SENT, RESUMED = "sent", "resumed"
"""Commands that were done already: the escape key itself went to the guest, or typing goes on."""


class GuestKeys(Widget, can_focus=True):
    """Decides about each key before the guest gets it."""

    class Command(Message):
        """A key that is a command of ours; or ``SENT`` or ``RESUMED``."""

        def __init__(self, source: GuestKeys, key: str) -> None:
            super().__init__()
            self.source = source
            self.key = key

    class Commanding(Message):
        """The escape key was pressed: the next key is a command."""

    class Pasted(Message):
        """Several lines were pasted, which nobody gets before somebody has said so."""

        def __init__(self, source: GuestKeys, text: str) -> None:
            super().__init__()
            self.source = source
            self.text = text

    class Wanted(Message):
        """The user wants the session that is not there."""

    class Left(Message):
        """The user wants out, of a session that is not there."""

    def __init__(self, *, escape: str = "^]", id: str | None = None) -> None:
        super().__init__(id=id)
        self.escape = EscapeKey(escape)
        self.live = False
        """Whether keys are for a guest."""
        self.commanding = False
        self._dead_since = 0.0

    def end(self) -> None:
        """The session is over. What is still being typed was for the guest, so no key counts for a moment."""
        self.live = self.commanding = False
        self._dead_since = time.monotonic()

    def take_command(self) -> None:
        """The next key is a command."""
        self.commanding = True
        self.post_message(self.Commanding())

    def ours(self, key: str, character: str | None) -> bool:
        """Whether this key is not for the guest; then something was done about it."""
        if self.commanding:
            self._command(key, character)
        elif not self.live:
            self._dead_key(key)
        else:
            return False
        return True

    def on_paste(self, event: events.Paste) -> None:
        """It is for the guest; several lines only after a question, as each may be a command."""
        event.stop()
        if not self.live or self.commanding:
            return
        if len(event.text.splitlines()) > _LINES_WITHOUT_ASKING:
            self.post_message(self.Pasted(self, event.text))
        else:
            self.paste(event.text)

    def paste(self, text: str) -> None:
        """Give the guest ``text``."""

    def send_escape(self) -> None:
        """Give the guest the escape key itself."""

    def _command(self, key: str, character: str | None) -> None:
        typed = encode(key, character, app_cursor=False).encode()
        if typed and typed == self.escape.control:
            self.commanding = False
            self.send_escape()
            self.post_message(self.Command(self, SENT))
        elif key in _RESUMES and self.live:
            self.commanding = False
            self.post_message(self.Command(self, RESUMED))
        else:
            self.post_message(self.Command(self, key))

    def _dead_key(self, key: str) -> None:
        if time.monotonic() - self._dead_since < _DEAD_SECONDS:
            return
        if key == "c":
            self.post_message(self.Wanted())
        elif key in ("escape", "q", "ctrl+right_square_bracket"):
            self.post_message(self.Left())
        else:
            self.post_message(self.Command(self, key))
