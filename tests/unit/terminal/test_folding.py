"""Which lines of YAML belong to which key."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hyperd.client.yamltext import dump, load
from tui import folding

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("ab\n- :#|", max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('ab: -"', max_size=4), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(("spec", "status", "metadata")), _VALUES, min_size=1))
def test_what_is_put_away_is_what_is_below_the_key(obj: dict[str, Any]) -> None:
    lines = dump(obj).splitlines()
    found = folding.blocks(lines)
    assert folding.shown(lines, found, lambda _: False) == list(range(len(lines)))
    top = [block for block in found.values() if len(block.path) == 1]
    assert {block.path[0] for block in top} <= set(obj)
    left = [lines[at] for at in folding.shown(lines, found, lambda block: len(block.path) == 1)]
    assert set(load("\n".join(left)) or {}) == set(obj), "the keys are there, and nothing else"
    for block in found.values():
        for at in range(block.start + 1, block.end):
            assert block in folding.around(at, found)


def test_lists_and_texts_are_told_by_their_size() -> None:
    obj = {
        "spec": {"few": [1, 2], "many": [{"a": number, "b": 1} for number in range(20)], "text": "- a: 1\n" * 40},
        "metadata": {"name": "x", "managedFields": [{"manager": "hv"}]},
        "status": {"phase": "Ready"},
    }
    found = {block.path: block for block in folding.blocks(dump(obj).splitlines()).values()}
    assert {path for path, block in found.items() if folding.away(block)} == {
        ("spec", "many"), ("spec", "text"), ("metadata", "managedFields"), ("status",),
    }  # fmt: skip
    assert (found["spec", "many"].size, found["spec", "text"].size) == ("20 entries", "40 lines")
    assert found["spec", "many", "3"].end - found["spec", "many", "3"].start == 2
    assert not [path for path in found if path[:2] == ("spec", "text") and len(path) > 2], "a text has no keys"
