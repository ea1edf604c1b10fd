"""What is sent to a terminal, decoded back to pixels."""

from __future__ import annotations

import pytest
from PIL import Image, ImageChops, ImageDraw

from hyperd.client.rfb.framebuffer import Framebuffer
from tests.unit.graphics import decoding
from tui.graphics import blocks, kitty, sixel
from tui.graphics.fit import Fit


def framed(image: Image.Image) -> Framebuffer:
    screen = Framebuffer(*image.size)
    screen.pixels[:] = image.convert("RGBX").tobytes()
    return screen


@pytest.fixture
def image() -> Image.Image:
    """Four fields of a colour each, with a frame around them."""
    image = Image.new("RGB", (320, 240), (255, 0, 0))
    draw = ImageDraw.Draw(image)
    draw.rectangle((160, 0, 319, 119), fill=(0, 255, 0))
    draw.rectangle((0, 120, 159, 239), fill=(0, 0, 255))
    draw.rectangle((160, 120, 319, 239), fill=(255, 255, 255))
    draw.rectangle((0, 0, 319, 239), outline=(0, 0, 0))
    return image


def test_a_picture_is_as_large_as_it_can_be_and_in_the_middle() -> None:
    assert Fit.of(720, 400, 120, 40, (8, 16)) == Fit(0, 3, 120, 33, 720, 400)
    assert Fit.of(400, 800, 100, 20, (8, 16)) == Fit(40, 0, 20, 20, 400, 800)
    fit = Fit.of(640, 480, 80, 24, (1, 2))
    assert fit.pixel(0, 0) is None
    assert fit.pixel(fit.left, fit.top) == (5, 10)
    assert fit.pixel(79 - fit.left, 23) == (635, 470)


def test_kitty_gets_every_pixel(image: Image.Image) -> None:
    text = kitty.picture(framed(image), Fit.of(320, 240, 80, 24, (8, 16)), 3, 2)
    (shown,) = decoding.kitty(text)
    assert shown.image.tobytes() == image.tobytes()
    assert (shown.columns, shown.rows) == (64, 24)
    assert decoding.PLACE.findall(text) == [("3", "4")]
    assert all(len(payload) <= 4096 for _, payload in decoding._KITTY.findall(text))


def test_sixels_look_like_the_screen(image: Image.Image) -> None:
    fit = Fit.of(320, 240, 40, 24, (8, 16))
    shown = decoding.sixel(sixel.picture(framed(image), fit, 0, 0))
    assert shown.size == (320, 240)
    difference = ImageChops.difference(shown, image)
    assert max(difference.tobytes()) <= 8


def test_half_blocks_have_two_pixels_each(image: Image.Image) -> None:
    rows = blocks.rows(framed(image), Fit.of(320, 240, 80, 30, (1, 2)))
    assert len(rows) == 30
    assert all(len(row) == 80 * 6 for row in rows)
    assert rows[5][10 * 6 : 11 * 6] == bytes((255, 0, 0)) * 2
    assert rows[20][70 * 6 : 71 * 6] == bytes((255, 255, 255)) * 2
    (mixed,) = {row[10 * 6 : 11 * 6] for row in rows[14:16]} - {
        bytes((255, 0, 0)) * 2,
        bytes((0, 0, 255)) * 2,
    } or {b""}
    assert mixed in (b"", bytes((255, 0, 0, 0, 0, 255)))
    texts = "".join(segment.text for segment in blocks.segments(rows[20]))
    assert len(texts) == 80
    assert set(texts) <= {"▀", " "}
