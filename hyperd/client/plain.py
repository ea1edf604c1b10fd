"""A console's bytes as plain text: escape sequences dropped, the rest sanitized, across chunk borders."""

from __future__ import annotations

import codecs
import re

from hyperd.client import sanitize

_SEQUENCE = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)"  # OSC, DCS, SOS, PM, APC
    r"|\x1b[ -/]*[0-Z\\^_`-~]"  # two characters
)
_UNFINISHED = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x1b]*\x1b?|[ -/]*)\Z")
_LONGEST_HELD = 4096


class PlainText:
    """Feed bytes, get text. A sequence cut by a chunk's end is held back, but never without limit."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""

    def feed(self, data: bytes) -> str:
        """The text of ``data`` that is complete."""
        text = self._held + self._decoder.decode(data)
        self._held = ""
        text = _SEQUENCE.sub("", text)
        unfinished = _UNFINISHED.search(text)
        if unfinished and len(unfinished[0]) <= _LONGEST_HELD:
            self._held = unfinished[0]
            text = text[: unfinished.start()]
        if text.endswith("\r"):
            self._held = "\r" + self._held
            text = text[:-1]
        text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\x07", "").replace("\b", "")
        return sanitize.text(text)
