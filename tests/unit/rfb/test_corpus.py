"""Screens that mean harm, or are odd: bounded memory and time, a clean sentence, and honest ones go on."""

from __future__ import annotations

import struct
import time
import tracemalloc

import pytest

from hyperd.client.rfb.protocol import Rfb, RfbError
from tests.unit.rfb.corpus import Case, cases

CASES = cases()
_MOST_BYTES = 3 * 3840 * 2160 * 4  # two screens, as one takes the other's place, and what comes
_MOST_SECONDS = 3.0
PIXEL = struct.pack(">BxH", 0, 1) + struct.pack(">HHHHi", 7, 5, 1, 1, 0) + b"\x10\x20\x30\0"


def told(case: Case, piece: int) -> tuple[Rfb, str]:
    """Who was told all of it in such pieces, and how that ended."""
    rfb = Rfb()
    try:
        for at in range(0, len(case.data), piece):
            rfb.feed(case.data[at : at + piece])
    except RfbError as err:
        return rfb, err.message
    return rfb, ""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("piece", [1 << 16, 1], ids=["whole", "by bytes"])
def test_a_screen_is_not_believed(case: Case, piece: int) -> None:
    if piece == 1 and len(case.data) > 5_000:
        piece = 997
    begun = time.process_time()
    rfb, said = told(case, piece)
    spent = time.process_time() - begun
    assert case.says in said
    assert bool(case.says) == bool(said)
    assert said.isprintable()
    assert len(said) < 400
    assert spent < _MOST_SECONDS
    if not case.says:
        rfb.feed(PIXEL)
        at = (5 * rfb.screen.width + 7) * 4
        assert rfb.screen.pixels[at : at + 3] == b"\x10\x20\x30"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_screen_takes_little_memory(case: Case) -> None:
    tracemalloc.start()
    told(case, 1 << 16)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < _MOST_BYTES
