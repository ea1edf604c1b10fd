"""What a filter keeps."""

from __future__ import annotations

import time
from collections.abc import Hashable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperd.client.amounts import quantity
from hyperd.client.health import Level
from tui.usage import Reading
from tui.widgets.rows import Column, Row
from tui.widgets.sieve import Sieve, asked

COLUMNS = (
    Column("NAME", 12),
    Column("STATE", 10, state=True),
    Column("NODE", 6),
    Column("MEMORY", 6, right=True, number=quantity),
    Column("AGE", 5, right=True, age=True),
)
NOW = time.time()
ROWS: dict[Hashable, Row] = {
    name: Row(name, name, (name, state, node, memory, NOW - age), Level.GOOD, note)
    for name, state, node, memory, age, note in (
        ("web-7", "Running", "n1", "4Gi", 600, ""),
        ("web-12", "Running", "n3", "512Mi", 90_000, ""),
        ("db-1", "Stopped", "n3", "16Gi", 4_000, ""),
        ("test", "Pending", "", None, 5, "waits for the disk root"),
    )
}
LABELS: dict[Hashable, Mapping[str, str]] = {"web-7": {"app": "web", "canary": ""}, "db-1": {"app": "db"}}


def kept(query: str) -> list[Hashable]:
    matches = Sieve(COLUMNS, ROWS.get, lambda key: LABELS.get(key, {})).matches(query)
    return [key for key in ROWS if matches(key)]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["web-7", "web-12", "db-1", "test"]),
        ("!", ["web-7", "web-12", "db-1", "test"]),
        ("WEB run", ["web-7", "web-12"]),
        ("disk", ["test"]),
        ("web !run", []),
        ("!web", ["db-1", "test"]),
        (r"~^web-[0-9]\b", ["web-7"]),
        ("!~^(web|db)", ["test"]),
        ("~[", []),
        ("node:n3", ["web-12", "db-1"]),
        ("!node:n3", ["web-7", "test"]),
        ("node!=n3", ["web-7", "test"]),
        ("state=running", ["web-7", "web-12"]),
        ("state=run", []),
        ("stat:run", ["web-7", "web-12"]),
        ("name~-[0-9]{2}$", ["web-12"]),
        ("memory>=4Gi", ["web-7", "db-1"]),
        ("mem<1Gi", ["web-12"]),
        ("memory=4096Mi", ["web-7"]),
        ("age<1h", ["web-7", "test"]),
        ("age>1d", ["web-12"]),
        ("age>1h30m", ["web-12"]),
        ("memory>", ["web-7", "web-12", "db-1", "test"]),
        ("memory>much", ["web-7", "web-12", "db-1", "test"]),
        ("nothing:n3", []),
        ("-l app=web", ["web-7"]),
        ("-l app!=web", ["web-12", "db-1", "test"]),
        ("-l app,!canary", ["db-1"]),
        ("-l", ["web-7", "web-12", "db-1", "test"]),
    ],
)
def test_it_keeps(query: str, names: list[str]) -> None:
    assert kept(query) == names


@given(st.text(alphabet="!~[](){}*+?|\\-lnode=<>: a1", max_size=12))
def test_whatever_is_typed_is_a_filter(query: str) -> None:
    kept(query)


def test_a_word_is_not_looked_for_in_what_is_measured_at_the_moment() -> None:
    row = Row("a", 1, ("web-7", "Running", Reading.of("▂ 12%", 12.0), None, None), Level.GOOD)
    sieve = Sieve(COLUMNS, lambda _: row, lambda _: {})
    assert [sieve.matches(query)("a") for query in ("12", "~1.%", "node:12", "web")] == [False, False, True, True]


def test_only_columns_that_are_compared_decide() -> None:
    assert asked("web !db ~n3 mem>=2 !node:n1 nosuch=x", COLUMNS) == {2, 3}
