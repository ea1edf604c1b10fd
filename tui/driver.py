"""Reading the keyboard of a terminal that may send anything, or be gone.

Textual's own reader ends the program at a byte that is not UTF-8, waits for ever for the end of a paste, and asks
a terminal that has hung up again and again.
"""

from __future__ import annotations

import codecs
import os
import re
import selectors
import threading
import time
from collections.abc import Callable

from textual import events
from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver
from textual.keys import _character_to_key
from textual.message import Message

from tui.frugal import Frugal
from tui.graphics import kitty

_PIECE = 4096
_POLL_SECONDS = 0.1
_PASTE_SECONDS = 3.0
"""How long the next part of a paste may take, before keys are keys again."""
_LONGEST_PASTE = 1 << 20
_GONE_SECONDS = 2.0
_MOST_COLUMNS, _MOST_ROWS = 2000, 1000
_PASTE_BEGINS, _PASTE_ENDS = "\x1b[200~", "\x1b[201~"
_REPLIES = re.compile(r"\x1b_G(?P<kitty>[^\x1b]*)\x1b\\|\x1b\[\?(?P<attributes>[\d;]*)c")
"""What a terminal says when it is asked what it can show."""
_UNFINISHED_REPLY = re.compile(r"\x1b(?:_G?[^\x1b]*\x1b?|\[\?[\d;]*|\[)?\Z")
_REPLY_SECONDS = 5.0
_MISTAKEN = {"\x1b\r": "\x1b[13;3u", "\x1b\x7f": "\x1b[127;3u", "\x1b[1;2R": "\x1b[13;2~"}
"""Alt+Enter, Alt+Backspace and Shift+F3, which Textual reads as other keys, in a form that it reads aright."""
_MISTAKES = re.compile("|".join(re.escape(keys) for keys in _MISTAKEN))
_SIXEL = "4"
_GOES_ON = "[]OPX^_\\"
_WITH_ALT = re.compile(r"\x1b([^\x00-\x1f\x7f-\x9f\[\\\]OPX^_])")
"""A key that came in one packet with Esc: with Alt held, or right after it."""
_ESCAPE_ALONE = re.compile(r"\x1b(?=[\x00-\x08\n-\x0c\x0e-\x1f])")
_ESCAPE = "\x1b[27u"
"""Esc, in the form that leaves no doubt."""
_OLD_MOUSE = re.compile(rb"\x1b\[M[\s\S]{3}")
"""Reports of a kind that nobody asked for, whose coordinates are single bytes beyond ASCII."""


class TerminalDriver(LinuxDriver):
    """As Textual's, with a reader that outlives what it reads, and a writer that repeats nothing."""

    def write(self, data: str) -> None:
        """Put ``data`` on the terminal, as far as it is not there."""
        if text := self.frugal.feed(data):
            super().write(text)

    @property
    def frugal(self) -> Frugal:
        """What stands on this terminal."""
        frugal: Frugal | None = self.__dict__.get("_frugal")
        if frugal is None:
            frugal = self.__dict__["_frugal"] = Frugal(terminal=os.environ.get("TERM", ""))
        return frugal

    def ask_graphics(self, told: Callable[[str], None]) -> None:
        """Ask the terminal which pictures it shows; ``told`` gets ``kitty``, ``sixel`` or ``blocks`` on the loop.

        A terminal that knows nothing of this still answers who it is; one that does not is not waited for.
        """
        loop = self._loop

        def heard(answer: str) -> None:
            loop.call_soon_threadsafe(told, answer)

        self.reader.expect(heard)
        self.write(kitty.QUERY.decode() + "\x1b[c")
        self.flush()

    @property
    def reader(self) -> KeyReader:
        """What reads this terminal."""
        reader: KeyReader | None = self.__dict__.get("_reader")
        if reader is None:
            reader = self.__dict__["_reader"] = KeyReader(self._debug)
        return reader

    def run_input_thread(self) -> None:
        """Read and dispatch until the application ends, or the terminal does."""
        reader = self.reader
        with selectors.SelectSelector() as selector:
            selector.register(self.fileno, selectors.EVENT_READ)
            while not self.exit_event.is_set():
                data = None
                if selector.select(_POLL_SECONDS):
                    try:
                        data = os.read(self.fileno, _PIECE)
                    except OSError:
                        data = b""
                    if not data:
                        self._hang_up()
                        return
                for message in reader.read(data):
                    self.process_message(message)

    def process_message(self, message: Message) -> None:
        """Pass it on, unless it is a size that no terminal has."""
        if isinstance(message, events.Resize) and not (
            0 < message.size.width <= _MOST_COLUMNS and 0 < message.size.height <= _MOST_ROWS
        ):
            return
        if isinstance(message, events.Resize):  # terminals cut and fold what stands there
            self._loop.call_soon_threadsafe(self.frugal.forget)
        super().process_message(message)

    def _hang_up(self) -> None:
        """End the program: there is nobody to show anything to, and nothing to restore."""
        watchdog = threading.Timer(_GONE_SECONDS, os._exit, (1,))
        watchdog.daemon = True
        watchdog.start()
        self._loop.call_soon_threadsafe(self._app.exit, None, 1)


class KeyReader:
    """Bytes of a terminal become Textual's messages; none of them raises."""

    def __init__(self, debug: bool = False) -> None:
        self._debug = debug
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._parser = XTermParser(debug)
        self._pasted = 0
        self._heard = 0.0
        self._tail = ""
        self._held = ""
        self._kitty = False
        self._told: Callable[[str], None] | None = None
        self._asked = 0.0
        self._escaped = False
        """Whether Esc came last, and nothing that would make it the beginning of something."""

    def expect(self, told: Callable[[str], None]) -> None:
        """The terminal was asked which pictures it shows: its answer is for ``told``, and no keys."""
        self._told, self._kitty, self._asked = told, False, time.monotonic()

    def read(self, data: bytes | None) -> list[Message]:
        """The messages of ``data``; None says that nothing came for a moment."""
        now = time.monotonic()
        if data is not None:
            self._heard = now
            return self._feed(self._escape_apart(self._decoder.decode(_OLD_MOUSE.sub(b"", data))))
        if self._pasted and now - self._heard > _PASTE_SECONDS:
            return self._feed(_PASTE_ENDS)
        if self._escaped:
            self._escaped = False
            return self._feed(_ESCAPE)
        if self._held:
            held, self._held = self._held, ""
            return self._feed(held)
        return self._parsed(None)

    def _escape_apart(self, text: str) -> str:
        """With Esc as such where what follows it came later, or is Esc too; a last one waits for that."""
        if self._escaped and text:
            self._escaped = False
            text = f"\x1b{text}" if self._held or text[0] in _GOES_ON else f"{_ESCAPE}{text}"
        if self._pasted or self._held or _PASTE_BEGINS in text:
            return self._without_replies(text)
        text = _ESCAPE_ALONE.sub(_ESCAPE, text)
        if text.endswith("\x1b"):
            self._escaped, text = True, text[:-1]
        return self._without_replies(text)

    def _without_replies(self, text: str) -> str:
        """Keys only. What a terminal answers must not be typed into a guest."""
        text, self._held = self._held + text, ""
        if "\x1b" not in text or self._pasted:
            return text
        text = _MISTAKES.sub(lambda keys: _MISTAKEN[keys[0]], _REPLIES.sub(self._reply, text))
        if self._told is not None and time.monotonic() - self._asked < _REPLY_SECONDS:
            unfinished = _UNFINISHED_REPLY.search(text)
            if unfinished is not None:
                self._held, text = text[unfinished.start() :], text[: unfinished.start()]
        return text

    def _reply(self, found: re.Match[str]) -> str:
        if found["kitty"] is not None:
            self._kitty = self._kitty or found["kitty"].endswith(";OK")
        elif self._told is not None:
            told, self._told = self._told, None
            known = "sixel" if _SIXEL in found["attributes"].split(";")[1:] else "blocks"
            told("kitty" if self._kitty else known)
        return ""

    def _feed(self, text: str) -> list[Message]:
        self._note_paste(text)
        found = self._parsed(text) if text else []
        if self._pasted > _LONGEST_PASTE:
            found += self._feed(_PASTE_ENDS)
        return found

    def _note_paste(self, text: str) -> None:
        seen = self._tail + text
        begins, ends = seen.rfind(_PASTE_BEGINS), seen.rfind(_PASTE_ENDS)
        if begins > ends:
            self._pasted = len(seen) - begins
        elif ends >= 0:
            self._pasted = 0
        elif self._pasted:
            self._pasted += len(text)
        self._tail = seen[-len(_PASTE_ENDS) + 1 :]

    def _parsed(self, text: str | None) -> list[Message]:
        if text is None or self._pasted or "\x1b" not in text or _PASTE_ENDS in text:
            return self._read_by_parser(text)
        found: list[Message] = []
        at = 0
        for alt in _WITH_ALT.finditer(text):
            if alt.start() > at:
                found += self._read_by_parser(text[at : alt.start()])
            found.append(events.Key(f"alt+{_character_to_key(alt[1])}", alt[1]))
            at = alt.end()
        return found + (self._read_by_parser(text[at:]) if at < len(text) else [])

    def _read_by_parser(self, text: str | None) -> list[Message]:
        found: list[Message] = []
        try:
            for message in self._parser.tick() if text is None else self._parser.feed(text):
                found.append(message)
        except Exception:  # noqa: BLE001  whatever a terminal sends, the next key must be heard
            self._parser = XTermParser(self._debug)
            self._pasted = 0
        return found
