"""Standard output that never blocks, and what a guest's bytes did to the terminal that they went to.

A terminal may be slow, or stand still (a scrolled-back tmux, a stopped ssh): keys must be obeyed all the same.
"""

from __future__ import annotations

import os
import re
import select
import stat
import termios
import time

_MOST_WAITING = 256 << 10
_PIECE = 64 << 10
_GOODBYE_SECONDS = 1.0
_LOOK_SECONDS = 0.5
_TAIL = 32
_SEQUENCE = re.compile(
    rb"\x1b\[\?(?P<modes>[\d;]*)(?P<on>[hl])|\x1b\[(?P<region>[\d;]*)r|\x1b(?P<reset>c)"
    rb"|\x1b\[(?P<keys>[>=][\d;]*[um])|\x1b\[(?P<shape>\d* q)"
)
_ALTERNATE = frozenset((b"47", b"1047", b"1049"))
_ORIGIN = b"6"
_ALWAYS = (
    b"\x18\x1b\\"  # end what may have been cut
    b"\x1b[0m\x0f\x1b(B\x1b[4l\x1b[20l"  # attributes, character set, insert and newline mode
    b"\x1b[?25h\x1b[?7h\x1b[?5l\x1b[?1l\x1b>"  # cursor, line wrap, colours, cursor keys and keypad
    b"\x1b[?2004l\x1b[?1004l\x1b[?9l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1005l\x1b[?1006l"  # paste, focus, mouse
    b"\x1b[?1015l"
)


class Modes:
    """Follows what was switched on; only what cannot be undone without a trace needs it."""

    def __init__(self) -> None:
        self._tail = b""
        self._alternate = self._moved = self._keys = self._shape = False

    def feed(self, data: bytes) -> None:
        """Bytes on their way to the terminal."""
        if b"\x1b" not in data and b"\x1b" not in self._tail:
            return
        text = self._tail + data
        for found in _SEQUENCE.finditer(text):
            if found["on"]:
                modes = found["modes"].split(b";")
                if _ALTERNATE.intersection(modes):
                    self._alternate = found["on"] == b"h"
                self._moved = self._moved or _ORIGIN in modes
            elif found["region"] is not None:
                self._moved = True
            elif found["reset"]:
                self._alternate = self._moved = False
            self._keys = self._keys or bool(found["keys"])
            self._shape = self._shape or bool(found["shape"])
        self._tail = text[-_TAIL:]

    def undo(self) -> bytes:
        """What leaves the terminal as programs expect it."""
        end = _ALWAYS
        if self._keys:
            end += b"\x1b[<9u\x1b[>4m\x1b[m"
        if self._shape:
            end += b"\x1b[0 q"
        if self._moved:
            # These send the cursor to the top; the bottom is where a shell goes on.
            end += b"\x1b[?6l\x1b[r\x1b[999;1H"
        return end + (b"\x1b[?1049l" if self._alternate else b"")


class Outlet:
    """Bytes for descriptor 1; ``room`` says whether more may be written. Raises OSError when nobody reads."""

    def __init__(self) -> None:
        self._waiting = bytearray()
        self._modes = Modes()
        self._own = True
        self._blocking = os.get_blocking(1)
        try:
            kind = os.fstat(1).st_mode
            if not (os.isatty(1) or stat.S_ISFIFO(kind)):
                raise OSError
            # Of its own: the shell and our standard input share the description of descriptor 1.
            self._fd = os.open("/proc/self/fd/1", os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            self._own, self._fd = False, 1
            os.set_blocking(1, False)

    def fileno(self) -> int:
        return self._fd

    @property
    def room(self) -> bool:
        return len(self._waiting) < _MOST_WAITING

    @property
    def waits(self) -> bool:
        """Whether something is still to be written."""
        return bool(self._waiting)

    def write(self, data: bytes) -> None:
        """Write ``data`` now or later."""
        self._modes.feed(data)
        self._waiting += data
        self.flush()

    def flush(self) -> None:
        """Write what is taken."""
        try:
            while self._waiting:
                del self._waiting[: os.write(self._fd, self._waiting[:_PIECE])]
        except BlockingIOError:
            pass

    def drain(self) -> None:
        """Wait until all of it is taken, for as long as that lasts."""
        while self._waiting:
            # Not for ever: of a signal between two looks nobody would hear.
            select.select([], [self._fd], [], _LOOK_SECONDS)
            self.flush()

    def close(self) -> None:
        """Drop what the terminal has not taken, and undo what it was told; give up where it stands still."""
        try:
            if os.isatty(1):
                if self._waiting:
                    self._waiting.clear()
                    termios.tcflush(1, termios.TCOFLUSH)
                self._waiting += self._modes.undo()
            deadline = time.monotonic() + _GOODBYE_SECONDS
            self.flush()
            while self._waiting and (left := deadline - time.monotonic()) > 0:
                select.select([], [self._fd], [], left)
                self.flush()
        except (OSError, termios.error):
            pass
        if self._own:
            os.close(self._fd)
        else:
            os.set_blocking(1, self._blocking)
