"""A screen's pixels for those who scale them. The one place that imports Pillow, when a screen is looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hyperd.client.rfb.framebuffer import Framebuffer

if TYPE_CHECKING:
    from PIL.Image import Image


def image(screen: Framebuffer) -> Image:
    """The screen as an image of four bytes a pixel, which it shares."""
    from PIL import Image as pillow

    size = (screen.width, screen.height)
    return pillow.frombuffer("RGBX", size, screen.pixels, "raw", "RGBX", 0, 1)


def scaled(screen: Framebuffer, width: int, height: int) -> Image:
    """The screen in so many pixels of red, green and blue, each the mean of what it stands for."""
    from PIL.Image import Resampling

    whole = image(screen)
    if whole.size != (width, height):
        whole = whole.resize((width, height), Resampling.BOX)
    return whole.convert("RGB")
