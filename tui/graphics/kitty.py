"""Pictures by kitty's graphics protocol: the terminal gets the pixels and scales them to the cells."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterator

from hyperd.client.rfb.framebuffer import Framebuffer
from tui.graphics.fit import Fit
from tui.graphics.picture import scaled

QUERY = b"\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\"
"""Whoever knows the protocol answers to this."""
_IMAGE = 7741
_PIECE = 4096
_MOST_WIDTH = 1280


def picture(screen: Framebuffer, fit: Fit, x: int, y: int) -> str:
    """What shows the screen in its cells, the first of which is at ``x`` and ``y``; the cursor stays."""
    width = min(screen.width, _MOST_WIDTH)
    height = max(1, screen.height * width // screen.width)
    data = base64.standard_b64encode(zlib.compress(scaled(screen, width, height).tobytes(), 1)).decode()
    head = f"a=T,q=2,i={_IMAGE},p=1,f=24,o=z,s={width},v={height},c={fit.columns},r={fit.rows},C=1,"
    return f"\x1b7\x1b[{y + 1};{x + 1}H" + "".join(_pieces(head, data)) + "\x1b8"


def nothing() -> str:
    """What takes the picture away."""
    return f"\x1b_Ga=d,d=I,i={_IMAGE},q=2\x1b\\"


def _pieces(head: str, data: str) -> Iterator[str]:
    for at in range(0, len(data), _PIECE):
        more = int(at + _PIECE < len(data))
        yield f"\x1b_G{head if not at else ''}m={more};{data[at : at + _PIECE]}\x1b\\"
