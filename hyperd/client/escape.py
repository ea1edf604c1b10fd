"""The keys that leave a raw console: configurable, since Ctrl+] does not exist on every keyboard.

``^]`` and its like are one control key; pressed twice in a row it is sent to the guest. ``~.`` counts after Enter,
as in ssh; ``~~`` sends one tilde.
"""

from __future__ import annotations

from hyperd.errors import BadRequest

DEFAULT = "^]"


class EscapeKey:
    """Filters what is typed. ``pending`` says that a prefix is held back until more is typed or time passes."""

    def __init__(self, spec: str = DEFAULT) -> None:
        self.spec = spec
        self.pending = False
        self._line_start = True
        self._control = b""
        if spec in ("~.", "none"):
            return
        if len(spec) != 2 or spec[0] != "^" or not "@" <= spec[1].upper() <= "_":
            raise BadRequest(f"The escape {spec!r} is none of ^A to ^_, ~. or none.")
        self._control = bytes((ord(spec[1].upper()) - 64,))

    @property
    def control(self) -> bytes:
        """The one key that it is; empty where it is several, or none."""
        return self._control

    @property
    def label(self) -> str:
        """How to leave, for a status line."""
        if self._control:
            return f"Ctrl+{self.spec[1].upper()}"
        return "Enter ~ ." if self.spec == "~." else "nothing"

    def feed(self, typed: bytes) -> tuple[bytes, bool]:
        """What to send on, and whether the user leaves."""
        out = bytearray()
        for code in typed:
            key = bytes((code,))
            if self.spec == "~.":
                if self._tilde(key, out):
                    return bytes(out), True
            elif self._control and (key == self._control or self.pending):
                if self.pending and key != self._control:
                    return bytes(out), True
                if self.pending:
                    out += key
                self.pending = not self.pending
            else:
                out += key
        return bytes(out), False

    def expire(self) -> bool:
        """A moment passed without a key: whether a single escape key now means to leave."""
        left = self.pending and bool(self._control)
        if left:
            self.pending = False
        return left

    def _tilde(self, key: bytes, out: bytearray) -> bool:
        if self.pending:
            self.pending = False
            if key == b".":
                return True
            out += b"~" if key == b"~" else b"~" + key
        elif key == b"~" and self._line_start:
            self.pending = True
            return False
        else:
            out += key
        self._line_start = key in (b"\r", b"\n")
        return False
