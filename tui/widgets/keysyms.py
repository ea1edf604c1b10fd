"""Textual's keys as X keysyms, which a guest's screen is sent.

A guest sees keys, not characters: what is typed with Shift on the keyboard that QEMU takes ours for (US) is
pressed with Shift.
"""

from __future__ import annotations

SHIFT, CONTROL, ALT = 0xFFE1, 0xFFE3, 0xFFE9
_DELETE = 0xFFFF
CTRL_ALT_DEL = (CONTROL, ALT, _DELETE)
_NAMED = {
    "backspace": 0xFF08, "tab": 0xFF09, "enter": 0xFF0D, "escape": 0xFF1B, "home": 0xFF50, "left": 0xFF51,
    "up": 0xFF52, "right": 0xFF53, "down": 0xFF54, "pageup": 0xFF55, "pagedown": 0xFF56, "end": 0xFF57,
    "insert": 0xFF63, "delete": _DELETE, "space": 0x20, "at": 0x40, "backslash": 0x5C, "underscore": 0x5F,
    "left_square_bracket": 0x5B, "right_square_bracket": 0x5D, "circumflex_accent": 0x5E, "slash": 0x2F,
    "minus": 0x2D, "full_stop": 0x2E, "comma": 0x2C, "semicolon": 0x3B, "apostrophe": 0x27, "grave_accent": 0x60,
    "equals_sign": 0x3D, "@": 0x40, **{f"f{number}": 0xFFBD + number for number in range(1, 13)},
}  # fmt: skip
_MODIFIERS = {"shift": SHIFT, "ctrl": CONTROL, "alt": ALT}
_SHIFTED = '~!@#$%^&*()_+{}|:"<>?'


def keysyms(key: str, character: str | None) -> tuple[int, ...]:
    """What is pressed for one key, modifiers first; nothing for what no keyboard has."""
    *modifiers, name = key.split("+") if key != "+" else ["+"]
    pressed = [_MODIFIERS[modifier] for modifier in modifiers if modifier in _MODIFIERS]
    if name in _NAMED and (modifiers or len(name) > 1):
        own = character if character and character.isprintable() and not modifiers else ""
        return (*pressed, *(typed(own) if own and name != "space" else (_NAMED[name],)))
    if modifiers and len(name) == 1:
        return (*pressed, *typed(name))
    return typed(character) if character and character.isprintable() else ()


def typed(character: str) -> tuple[int, ...]:
    """What is pressed for a character."""
    if character in "\r\n":
        return (_NAMED["enter"],)
    if character == "\t":
        return (_NAMED["tab"],)
    code = ord(character)
    own = code if code < 0x100 else 0x01000000 | code
    return (SHIFT, own) if character in _SHIFTED or (character.isascii() and character.isupper()) else (own,)
