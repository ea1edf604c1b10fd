"""Screens that lie over another one close once, however many keys were sent to them before they had closed."""

from __future__ import annotations

from typing import Any

from textual.await_complete import AwaitComplete
from textual.screen import Screen


class ClosesOnce:
    """To inherit before the screen's own class, and no screen itself: Textual takes styles from the first that is.

    Keys that were under way when it closed would close what is below it, and after the last screen the app.
    """

    def dismiss(self: Any, result: Any = None) -> AwaitComplete:
        """Close it with ``result``, unless it is closed."""
        return Screen.dismiss(self, result) if self.app.screen is self else AwaitComplete()
