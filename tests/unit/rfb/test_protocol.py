"""What an honest screen draws, and what is sent to it."""

from __future__ import annotations

import struct
import zlib

from hyperd.client.rfb.framebuffer import Framebuffer, png
from hyperd.client.rfb.protocol import Rfb
from tests.unit.rfb.corpus import GREETING


def test_it_greets_asks_for_what_it_can_read_and_draws_it() -> None:
    rfb = Rfb()
    rfb.feed(GREETING)
    out = rfb.take_out()
    assert out.startswith(b"RFB 003.008\n\x01\x01")
    assert struct.pack(">i", 6) in out
    assert out.endswith(struct.pack(">BBHHHH", 3, 0, 0, 0, 640, 480))
    assert rfb.take_changes() == (True, [])
    packer = zlib.compressobj()
    blue = packer.compress(b"\0\0\xff\0" * 4) + packer.flush(zlib.Z_SYNC_FLUSH)
    green = packer.compress(b"\0\xff\0\0" * 4) + packer.flush(zlib.Z_SYNC_FLUSH)
    rfb.feed(struct.pack(">BxH", 0, 3))
    rfb.feed(struct.pack(">HHHHiI", 0, 0, 2, 2, 6, len(blue)) + blue)
    rfb.feed(struct.pack(">HHHHiI", 638, 478, 2, 2, 6, len(green)) + green)
    rfb.feed(struct.pack(">HHHHiHH", 1, 0, 2, 1, 1, 0, 0))
    assert rfb.take_changes() == (False, [(0, 0, 2, 2), (638, 478, 2, 2), (1, 0, 2, 1)])
    assert rfb.screen.cut((0, 0, 4, 1)) == b"\0\0\xff\0" * 3 + bytes(4)
    assert rfb.screen.cut((638, 479, 2, 1)) == b"\0\xff\0\0" * 2
    assert rfb.drawn == 1


def test_stripes_over_half_of_the_largest_screen_are_drawn() -> None:
    """As QEMU sends them: columns of sixteen pixels, each second one changed."""
    rfb = Rfb()
    rfb.feed(GREETING)
    rfb.feed(struct.pack(">BxHHHHHi", 0, 1, 0, 0, 3840, 2160, -223))
    rfb.ask(all_of_it=True)
    rfb.feed(struct.pack(">BxH", 0, 120))
    stripe = b"\x01\x02\x03\0" * 16 * 2160
    for left in range(0, 3840, 32):
        rfb.feed(struct.pack(">HHHHi", left, 0, 16, 2160, 0) + stripe)
    assert rfb.drawn == 2
    assert rfb.screen.cut((3808, 2159, 17, 1)) == b"\x01\x02\x03\0" * 16 + bytes(4)


def test_one_question_is_open_at_a_time() -> None:
    rfb = Rfb()
    rfb.ask()
    rfb.key(0xFF0D, down=True)
    assert rfb.take_out() == b""
    rfb.feed(GREETING)
    rfb.take_out()
    rfb.ask()
    assert rfb.take_out() == b""
    rfb.feed(struct.pack(">BxH", 0, 0))
    rfb.ask()
    assert rfb.take_out() == struct.pack(">BBHHHH", 3, 1, 0, 0, 640, 480)


def test_keys_are_pressed_in_order_and_released_the_other_way_round() -> None:
    rfb = Rfb()
    rfb.feed(GREETING)
    rfb.take_out()
    rfb.press((0xFFE3, 0xFFE9, 0xFFFF))
    out = rfb.take_out()
    keys = [struct.unpack(">BBxxI", out[at : at + 8]) for at in range(0, len(out), 8)]
    assert keys == [
        (4, 1, 0xFFE3), (4, 1, 0xFFE9), (4, 1, 0xFFFF), (4, 0, 0xFFFF), (4, 0, 0xFFE9), (4, 0, 0xFFE3),
    ]  # fmt: skip
    rfb.point(10_000, -3, 1)
    assert rfb.take_out() == struct.pack(">BBHH", 5, 1, 639, 0)


def test_a_png_has_the_screen_s_pixels() -> None:
    screen = Framebuffer(3, 2)
    screen.put((1, 0, 2, 2), b"\xff\0\0\x77\0\xff\0\x77" + b"\0\0\xff\x77\x01\x02\x03\x77")
    data = png(screen)
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", data[16:24]) == (3, 2)
    packed = data[data.index(b"IDAT") + 4 : data.index(b"IEND") - 8]
    rows = zlib.decompress(packed)
    assert rows == b"\0" + bytes(3) + b"\xff\0\0\0\xff\0" + b"\0" + bytes(3) + b"\0\0\xff\x01\x02\x03"
