"""Textual's keys as the bytes a VT220 would send."""

from __future__ import annotations

_NAMED = {
    "enter": "\r", "tab": "\t", "shift+tab": "\x1b[Z", "backspace": "\x7f", "escape": "\x1b", "space": " ",
    "insert": "\x1b[2~", "delete": "\x1b[3~", "pageup": "\x1b[5~", "pagedown": "\x1b[6~",
    "f1": "\x1bOP", "f2": "\x1bOQ", "f3": "\x1bOR", "f4": "\x1bOS", "f5": "\x1b[15~", "f6": "\x1b[17~",
    "f7": "\x1b[18~", "f8": "\x1b[19~", "f9": "\x1b[20~", "f10": "\x1b[21~", "f11": "\x1b[23~", "f12": "\x1b[24~",
    "ctrl+@": "\x00", "ctrl+space": "\x00", "ctrl+backslash": "\x1c", "ctrl+right_square_bracket": "\x1d",
    "ctrl+circumflex_accent": "\x1e", "ctrl+underscore": "\x1f", "ctrl+h": "\x08", "ctrl+j": "\n",
    "shift+enter": "\r", "ctrl+backspace": "\x08",
}  # fmt: skip
_TILDE = {
    "insert": 2,
    "delete": 3,
    "pageup": 5,
    "pagedown": 6,
    "f5": 15,
    "f6": 17,
    "f7": 18,
    "f8": 19,
    "f9": 20,
    "f10": 21,
    "f11": 23,
    "f12": 24,
}
_LETTERS = {"f1": "P", "f2": "Q", "f3": "R", "f4": "S"}
_CURSOR = {"up": "A", "down": "B", "right": "C", "left": "D", "home": "H", "end": "F"}
_MODIFIERS = {"shift": 1, "alt": 2, "ctrl": 4}


def encode(key: str, character: str | None, *, app_cursor: bool) -> str:
    """What to send for one key press; empty for keys that no guest knows."""
    if key == "backspace" and character == "\x08":
        return character  # Ctrl+H, which Textual calls by the same name
    if key in _NAMED:
        return _NAMED[key]
    if key in _CURSOR:
        return f"\x1b{'O' if app_cursor else '['}{_CURSOR[key]}"
    *modifiers, name = key.split("+")
    if modifiers and all(modifier in _MODIFIERS for modifier in modifiers):
        number = 1 + sum(_MODIFIERS[modifier] for modifier in modifiers)
        if final := _CURSOR.get(name) or _LETTERS.get(name):
            return f"\x1b[1;{number}{final}"
        if name in _TILDE:
            return f"\x1b[{_TILDE[name]};{number}~"
    if modifiers == ["ctrl"] and len(name) == 1 and name.isalpha():
        return chr(ord(name.lower()) & 0x1F)
    if modifiers == ["alt"]:
        inner = encode(name, character or (name if len(name) == 1 else None), app_cursor=app_cursor)
        return f"\x1b{inner}" if inner else ""
    return character if character and character.isprintable() else ""


def encode_paste(text: str, *, bracketed: bool) -> str:
    """Pasted text: line ends as Enter sends them; what would end the bracket early is taken out."""
    clean = text.replace("\r\n", "\r").replace("\n", "\r").replace("\x1b", "")
    return f"\x1b[200~{clean}\x1b[201~" if bracketed else clean
