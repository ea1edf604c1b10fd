"""Ranges of addresses, against sets of numbers."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from hyperd.network import spans

_SOME = st.lists(
    st.tuples(st.integers(0, 40), st.integers(0, 8)).map(lambda two: (two[0], two[0] + two[1])), max_size=6
)


def numbers(some: object) -> set[int]:
    assert isinstance(some, list | tuple)
    return {number for first, last in some for number in range(first, last + 1)}


@given(_SOME, _SOME)
def test_they_are_sets(some: list[tuple[int, int]], others: list[tuple[int, int]]) -> None:
    one, other = spans.united(some), spans.united(others)
    assert numbers(one) == numbers(some)
    assert all(last + 1 < first for (_, last), (first, _) in pairwise(one))
    assert numbers(spans.without(one, other)) == numbers(some) - numbers(others)
    assert {number for number in range(60) if spans.holds(one, number)} == numbers(some)


def test_nft_reads_them() -> None:
    assert spans.text((10 << 24, 10 << 24)) == "10.0.0.0"
    assert spans.text(spans.EVERY[0]) == "0.0.0.0-255.255.255.255"
