"""Parts of files, as requests ask for them."""

from __future__ import annotations

import pytest

from hyperd.api.wire import ranges
from hyperd.errors import RangeNotSatisfiable

ETAG = '"one"'


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("bytes=0-", range(100)),
        ("bytes=0-0", range(1)),
        ("bytes=10-19", range(10, 20)),
        ("bytes=10-1000", range(10, 100)),
        ("bytes=-5", range(95, 100)),
        ("bytes=-500", range(100)),
        ("Bytes= 99-", range(99, 100)),
        ("bytes=5-4", None),
        ("bytes=-", None),
        ("bytes=0-1,5-6", None),
        ("bytes=a-b", None),
        ("bytes=+1-2", None),
        ("bytes=1_0-20", None),
        ("bytes=٣-", None),
        ("lines=0-5", None),
        ("", None),
    ],
)
def test_one_range_is_understood_and_all_else_is_a_whole_answer(value: str, expected: range | None) -> None:
    assert ranges.asked({"Range": value}, size=100, etag=ETAG) == expected


@pytest.mark.parametrize("value", ["bytes=100-", "bytes=100-200", "bytes=-0", f"bytes={'9' * 18}-"])
def test_what_begins_behind_the_end_is_told(value: str) -> None:
    with pytest.raises(RangeNotSatisfiable, match="has 100 bytes"):
        ranges.asked({"Range": value}, size=100, etag=ETAG)


def test_who_has_begun_with_another_version_gets_the_whole() -> None:
    assert ranges.asked({"Range": "bytes=9-", "If-Range": ETAG}, size=100, etag=ETAG) == range(9, 100)
    for other in ('"two"', 'W/"one"', "Sun, 29 Nov 2026 19:00:00 GMT"):
        assert ranges.asked({"Range": "bytes=9-", "If-Range": other}, size=100, etag=ETAG) is None
