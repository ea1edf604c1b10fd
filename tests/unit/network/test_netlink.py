"""Packing and reading netlink attributes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hyperd.network.netlink import attribute, attributes


@given(st.dictionaries(st.integers(1, 0x3FFF), st.binary(max_size=64), max_size=8), st.binary(max_size=16))
def test_what_is_packed_is_read_back(values: dict[int, bytes], header: bytes) -> None:
    packed = b"".join(attribute(kind, data) for kind, data in values.items())
    assert len(packed) % 4 == 0
    assert attributes(header + packed, len(header)) == values


@given(st.binary(max_size=256), st.integers(0, 64))
def test_any_bytes_are_read_without_an_error(payload: bytes, offset: int) -> None:
    attributes(payload, offset)
