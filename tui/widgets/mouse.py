"""The mouse as a program in the guest hears of it, in the form that it asked for."""

from __future__ import annotations

from tui.widgets.emulator import Mouse

_HEARD = {
    "press": ("down",),
    "click": ("down", "up"),
    "drag": ("down", "up", "move"),
    "all": ("down", "up", "move"),
}
_WHEEL = {"scroll up": 64, "scroll down": 65}
_RELEASED, _MOVED, _META, _CTRL = 3, 32, 8, 16
_MOST = 223
"""The last column and row of the old form."""


def report(
    mouse: Mouse, what: str, button: int, x: int, y: int, *, meta: bool = False, ctrl: bool = False
) -> bytes:
    """What is sent for ``down``, ``up``, ``move`` or ``scroll up`` and ``down`` at a cell counted from 0.

    ``button`` is 1 to 3, 0 for none. Empty where the program does not want to hear of it.
    """
    if what not in _HEARD.get(mouse.wants, ()) and not (what in _WHEEL and mouse.wants not in ("", "press")):
        return b""
    if what == "move" and mouse.wants == "drag" and not button:
        return b""
    pressed = button - 1 if 1 <= button <= 3 else _RELEASED
    code = _WHEEL.get(what, pressed) + (_MOVED if what == "move" else 0)
    code += _META * meta + _CTRL * ctrl
    if mouse.sgr:
        return f"\x1b[<{code};{x + 1};{y + 1}{'m' if what == 'up' else 'M'}".encode()
    if x >= _MOST or y >= _MOST:
        return b""
    code = code - pressed + _RELEASED if what == "up" else code
    return b"\x1b[M" + bytes((32 + code, 33 + x, 33 + y))
