"""The one place where text from a home becomes text for a terminal.

Names, labels, messages and console titles are written by others; a terminal obeys what it is sent. Control
characters (C0 but tab and newline, DEL, C1), bidirectional overrides, zero-width and invisible characters and
lone surrogates become visible and harmless here. The console is the exception: its bytes are the point.
"""

from __future__ import annotations

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

_INVISIBLE = (
    (0x80, 0x9F),  # C1: 0x9B alone starts an escape sequence on 8-bit terminals
    (0x00AD, 0x00AD),  # soft hyphen
    (0x061C, 0x061C),  # Arabic letter mark
    (0x115F, 0x1160),  # Hangul fillers, which look like nothing
    (0x180E, 0x180E),
    (0x200B, 0x200F),  # zero width, LRM, RLM
    (0x2028, 0x202E),  # line separators, bidirectional embeddings and overrides
    (0x2060, 0x206F),  # word joiner, isolates, deprecated formatting
    (0x3164, 0x3164),
    (0xD800, 0xDFFF),  # surrogates cannot be encoded
    (0xFE00, 0xFE0F),  # variation selectors change widths behind the layout's back
    (0xFEFF, 0xFEFF),
    (0xFFA0, 0xFFA0),
    (0xFFF9, 0xFFFB),
    (0xE0000, 0xE01EF),  # tags and further variation selectors
)


class _Visible(dict[int, str]):
    """A translation table that is filled as characters are met."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        if code < 0x20:
            char = chr(0x2400 + code)  # control pictures: ESC shows as ␛
        elif code == 0x7F:
            char = "\N{SYMBOL FOR DELETE}"
        elif hostile(char):
            char = _REPLACEMENT
        self[code] = char
        return char


class _Escaped(dict[int, str]):
    """As ``_Visible``, but loses nothing: for JSON and YAML strings."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        if char not in "\t\n" and hostile(char):
            char = f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
        if code < 0x1000:
            self[code] = char
        return char


_TEXT = _Visible({ord("\t"): "\t", ord("\n"): "\n"})
_LINE = _Visible({ord("\t"): " ", ord("\n"): " "})
_ESCAPED = _Escaped()


def hostile(char: str) -> bool:
    """Whether a terminal may obey, hide or reorder because of ``char``."""
    code = ord(char)
    return code < 0x20 or code == 0x7F or any(low <= code <= high for low, high in _INVISIBLE)


def text(value: str) -> str:
    """``value`` made safe to print; tabs and newlines stay."""
    return value if value.isascii() and value.isprintable() else value.translate(_TEXT)


def line(value: str) -> str:
    """``value`` made safe for one line or cell; tabs and newlines become spaces."""
    return value if value.isascii() and value.isprintable() else value.translate(_LINE)


def escaped(value: str) -> str:
    r"""``value`` with every hostile character written as ``\uXXXX``, for inside a double-quoted YAML string.

    JSON has no ``\U``; ``json_text`` of the CLI splits such characters into surrogate pairs.
    """
    return value if value.isascii() and value.isprintable() else value.translate(_ESCAPED)
