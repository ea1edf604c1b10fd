"""What a guest's console says, before an emulator is trusted with it.

The emulator does what it is told: ``CSI 65535 b`` repeats a character so often that 72 KB of it take a minute.
No screen has lines so long, so such numbers are cut before they are obeyed.
"""

from __future__ import annotations

import re

LONGEST_LINE = 512
"""Columns that any terminal of ours may have, and so how often a character is repeated."""
_LONGEST_SEQUENCE = 256
_C0 = r"\x00-\x17\x19\x1c-\x1f"  # obeyed within a sequence, which goes on after them
_REPEAT = re.compile(rf"((?:\x1b[{_C0}]*\[|\x9b)[0-?{_C0}]*)b")
_MAY_REPEAT = re.compile(rf"b(?<=[\[\x9b0-?{_C0}]b)")
"""What every repetition ends in: looked for first, as a tenth of what the whole expression costs."""
_UNFINISHED = re.compile(rf"(?:\x1b[{_C0}]*(?:\[[0-?{_C0}]*[ -/{_C0}]*)?|\x9b[0-?{_C0}]*[ -/{_C0}]*)\Z")


class Tame:
    """Feed decoded text, get the same without what costs more than it shows, also across the borders of chunks."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, text: str) -> str:
        """``text``; a sequence that it breaks off in comes with the next."""
        text = text.replace("\x7f", "")  # terminals pass over it, within sequences too; the emulator prints it
        if self._held or "\x1b" in text or "\x9b" in text:
            text, self._held = self._held + text, ""
            unfinished = _UNFINISHED.search(text, max(0, len(text) - _LONGEST_SEQUENCE))
            if unfinished is not None:
                text, self._held = text[: unfinished.start()], unfinished[0]
            if _MAY_REPEAT.search(text):
                text = _REPEAT.sub(_bounded, text)
        return text

    @property
    def held(self) -> str:
        """The beginning of a sequence whose end has not come."""
        return self._held


def _bounded(found: re.Match[str]) -> str:
    digits = re.sub(rf"[{_C0}]", "", found[1])
    too_many = any(len(number) > 4 or int(number or "0") > LONGEST_LINE for number in re.findall(r"\d+", digits))
    return "" if too_many else found[0]
