"""Quantities are read and written exactly."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperd.resources.values import quantity


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("10Gi", 10 << 30),
        ("1.5Gi", 3 << 29),
        ("0.1Ki", 103),
        (".5Mi", 1 << 19),
        ("1G", 10**9),
        ("500m", 1),
        ("1e3", 1000),
        ("1E", 10**18),
        ("1Ei", 1 << 60),
        ("9007199254740993", 9007199254740993),
        (1073741824, 1 << 30),
        ("+5", 5),
    ],
)
def test_sizes_are_whole_bytes_rounded_up(text: str | int, count: int) -> None:
    assert quantity.to_bytes(text) == count


@pytest.mark.parametrize(
    "text", ["", "Gi", "10gi", "10 Gi", "1,5Gi", "0x10", "10GiB", "1" * 65, "1e9999", "10Gi\n"]
)
def test_what_is_no_quantity_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="is not a quantity"):
        quantity.parse(text)


def test_a_boolean_is_no_quantity() -> None:
    with pytest.raises(ValueError, match="True"):
        quantity.parse(True)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0"), (1025, "1025"), (10 << 30, "10Gi"), (1500 << 20, "1500Mi"), (1 << 60, "1Ei")],
)
def test_exact_sizes_use_the_largest_unit_without_a_rest(count: int, text: str) -> None:
    assert quantity.format_bytes(count) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(512, "512"), (299_787_878, "285.9Mi"), (5 << 29, "2.5Gi"), (10 << 30, "10Gi")],
)
def test_sizes_for_people_have_one_decimal(count: int, text: str) -> None:
    assert quantity.format_human(count) == text


@given(st.integers(min_value=0, max_value=1 << 62))
def test_what_is_written_exactly_reads_back(count: int) -> None:
    text = quantity.format_bytes(count)
    assert quantity.to_bytes(text) == count
    assert re.search(quantity.PATTERN, text)


@given(st.integers(min_value=0, max_value=1 << 50), st.integers(min_value=1, max_value=1 << 30))
def test_rounding_up_adds_less_than_one_unit(count: int, unit: int) -> None:
    rounded = quantity.round_up(count, unit)
    assert rounded % unit == 0
    assert 0 <= rounded - count < unit


def test_milli_is_rounded_up() -> None:
    assert quantity.to_milli("1.2345") == 1235
    assert quantity.to_milli("250m") == 250
