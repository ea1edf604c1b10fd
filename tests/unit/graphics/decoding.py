"""What a terminal makes of pictures that are sent to it: kitty's images and sixels, back to pixels."""

from __future__ import annotations

import base64
import re
import zlib
from dataclasses import dataclass

from PIL import Image

_KITTY = re.compile(r"\x1b_G([^;\x1b]*);?([^\x1b]*)\x1b\\")
_SIXEL = re.compile(r"\x1bP0;1;0q([^\x1b]*)\x1b\\")
_TOKENS = re.compile(r'"(\d+);(\d+);(\d+);(\d+)|#(\d+);2;(\d+);(\d+);(\d+)|#(\d+)|!(\d+)([?-~])|([$-])|([?-~])')
PLACE = re.compile(r"\x1b\[(\d+);(\d+)H")


@dataclass(frozen=True)
class Shown:
    """A picture, and the cells that it was given."""

    image: Image.Image
    columns: int
    rows: int


def kitty(text: str) -> list[Shown]:
    """The images that are shown, in order; every other sequence of the protocol must be complete as well."""
    found, head, data = [], dict[str, str](), ""
    for keys, payload in _KITTY.findall(text):
        said = dict(key.split("=") for key in keys.split(","))
        if said.get("a") in ("d", "q"):
            continue
        head = head or said
        data += payload
        if said["m"] == "0":
            size = (int(head["s"]), int(head["v"]))
            pixels = zlib.decompress(base64.b64decode(data))
            found.append(Shown(Image.frombytes("RGB", size, pixels), int(head["c"]), int(head["r"])))
            head, data = {}, ""
    assert not data
    return found


def sixel(text: str) -> Image.Image:
    """The last picture."""
    palette: dict[int, tuple[int, int, int]] = {}
    x = y = colour = 0
    image = Image.new("RGB", (1, 1))
    for token in _TOKENS.finditer(_SIXEL.findall(text)[-1]):
        _, _, width, height, number, red, green, blue, chosen, count, repeated, control, one = token.groups()
        if width:
            image = Image.new("RGB", (int(width), int(height)))
        elif number:
            palette[int(number)] = tuple(int(part) * 255 // 100 for part in (red, green, blue))  # type: ignore[assignment]
        elif chosen:
            colour = int(chosen)
        elif control:
            x, y = 0, y + 6 * (control == "-")
        else:
            run = int(count or 1)
            for bit in range(6):
                if (ord(repeated or one) - 63) >> bit & 1:
                    image.paste(palette[colour], (x, y + bit, x + run, y + bit + 1))
            x += run
    return image
