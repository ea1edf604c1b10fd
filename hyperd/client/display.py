"""What a terminal only shows of a guest's bytes; what makes it say something is left out.

A terminal says things where keys come in: after ``hv log --raw`` an answer to a guest's question, or a report of
the mouse, would be typed into the user's shell. Sequences are let through by name, since terminals differ in what
else they answer.
"""

from __future__ import annotations

import codecs
import re
from enum import Enum, auto

_LONGEST = 4096
"""Characters of one sequence; a longer one shows nothing."""
# A lone surrogate is a byte that belongs to no character.
_PLAIN = re.compile("[\x07-\x0f\x20-\x7e\xa0-\ud7ff\udca0-\udcff\ue000-\U0010ffff]+")
_ENDS = re.compile("[\x18\x1a\x80-\x9f\udc80-\udc9f]")
_CSI = re.compile(
    r"(?:[\d;:]*[@A-HIJKLMPSXZ`adefgmr]|\d*T|\d{0,3}b|[su]|\?\d*[JK]|!p"
    r"|[\d;]*(?: [@Aq]|\"q|\$[rtvxz{]|'[}~]))\Z"
)
_MODES = re.compile(r"(\??)([\d;]*)([hl])\Z")
_SHOWN_MODES = {
    "": frozenset({"4"}),
    "?": frozenset({"3", "4", "5", "6", "7", "12", "25", "45", "47", "69", "1047", "1048", "1049", "2026"}),
}
"""The others lock the keyboard, or have keys, the mouse, the focus, a paste or a resize say something else."""
_ESCAPE = re.compile(r"(?:[78DEHMNOcno|}~]|#[3-8]|%[@G]|[()*+\-./][!\"$%&,]?[0-~])\Z")
_OSC = re.compile(r"(?:0|1|2|8|4|1\d|104|11\d)(?:;.*)?\Z", re.DOTALL)
_QUESTION = re.compile(r"(?:4|1\d);(?:.*;)?\?(?:;|\Z)", re.DOTALL)
_PIXELS = re.compile(r"[\d;]*q\Z")


class _State(Enum):
    GROUND = auto()
    ESCAPE = auto()
    CSI = auto()
    OSC = auto()
    DCS = auto()
    """A device control string, up to its name."""
    PIXELS = auto()
    """Its content, where that is an image."""
    DROPPED = auto()
    """The content of a string that is not shown."""


_INTRODUCED = {"[": _State.CSI, "]": _State.OSC, "P": _State.DCS} | dict.fromkeys("X^_", _State.DROPPED)


class Display:
    """Feed bytes, get what of them is only shown. A sequence may be cut anywhere; little of it is kept."""

    def __init__(self, *, utf8: bool = True) -> None:
        """``utf8`` says that the terminal reads UTF-8: elsewhere a byte of a character may be a control."""
        self._encoding = "utf-8" if utf8 else "latin-1"
        self._decoder = codecs.getincrementaldecoder(self._encoding)("surrogateescape")
        self._state = _State.GROUND
        self._text = ""
        """The sequence so far, without what introduced it."""
        self._ended = ""
        """The OSC before an escape, which is complete where that turns out to be its end."""

    def feed(self, data: bytes) -> bytes:
        """What is shown now, of ``data`` and of a sequence that it ends."""
        text, at = self._decoder.decode(data), 0
        shown: list[str] = []
        while at < len(text):
            run = _PLAIN.match(text, at) if self._state in (_State.GROUND, _State.PIXELS, _State.DROPPED) else None
            if run is not None:
                at = run.end()
                shown.append("" if self._state is _State.DROPPED else run[0])
            else:
                shown.append(self._step(text[at]))
                at += 1
        return "".join(shown).encode(self._encoding, "surrogateescape")

    def _step(self, char: str) -> str:
        if char == "\x1b":
            ended = self._text if self._state is _State.OSC else ""
            shown = self._enter(_State.ESCAPE)
            self._ended = ended
            return shown
        if _ENDS.match(char):
            return self._enter(_State.GROUND)
        if self._state in (_State.ESCAPE, _State.CSI):
            return self._in_sequence(char)
        if self._state is _State.OSC:
            return self._in_osc(char)
        if self._state is _State.DCS and " " <= char <= "~":
            return self._in_dcs(char)
        return ""

    def _enter(self, state: _State) -> str:
        """Leave what is being read; an image on the screen is ended properly."""
        shown = "\x1b\\" if self._state is _State.PIXELS else ""
        self._state, self._text, self._ended = state, "", ""
        return shown

    def _in_sequence(self, char: str) -> str:
        if not " " <= char <= "~":
            if char > "~":
                self._enter(_State.GROUND)
            # Control characters are obeyed in the middle of a sequence, which goes on.
            return char if _PLAIN.match(char) else ""
        if self._state is _State.ESCAPE and not self._text and char in _INTRODUCED:
            return self._enter(_INTRODUCED[char])
        self._take(char)
        if char < ("@" if self._state is _State.CSI else "0"):
            return ""
        text, ended, state = self._text, self._ended, self._state
        self._enter(_State.GROUND)
        if state is _State.CSI:
            return _shown_csi(text)
        return _shown_osc(ended) if text == "\\" else f"\x1b{text}" if _ESCAPE.match(text) else ""

    def _in_osc(self, char: str) -> str:
        if char == "\x07":
            text = self._text
            return self._enter(_State.GROUND) + _shown_osc(text)
        if char >= " ":
            self._take(char)
        return ""

    def _in_dcs(self, char: str) -> str:
        self._take(char)
        if char < "@":
            return ""
        text = self._text
        shown = bool(_PIXELS.match(text))
        self._enter(_State.PIXELS if shown else _State.DROPPED)
        return f"\x1bP{text}" if shown else ""

    def _take(self, char: str) -> None:
        # One more than may be shown says that it was too long.
        if len(self._text) <= _LONGEST:
            self._text += char


def _shown_csi(text: str) -> str:
    if modes := _MODES.match(text):
        mark, numbers, action = modes.groups()
        shown = [number for number in numbers.split(";") if number in _SHOWN_MODES[mark]]
        return f"\x1b[{mark}{';'.join(shown)}{action}" if shown else ""
    return f"\x1b[{text}" if len(text) <= _LONGEST and _CSI.match(text) else ""


def _shown_osc(text: str) -> str:
    if len(text) > _LONGEST or not _OSC.match(text) or _QUESTION.match(text):
        return ""
    return f"\x1b]{text}\x1b\\"
