"""The keys that leave a console."""

from __future__ import annotations

import pytest

from hyperd.client.escape import EscapeKey
from hyperd.errors import BadRequest


def test_one_press_leaves_after_a_moment() -> None:
    key = EscapeKey()
    assert key.feed(b"ls\x1d") == (b"ls", False)
    assert key.pending
    assert key.expire()


def test_a_second_press_sends_the_key_itself() -> None:
    key = EscapeKey()
    assert key.feed(b"\x1d\x1d") == (b"\x1d", False)
    assert not key.expire()


def test_any_other_key_after_it_leaves_at_once() -> None:
    assert EscapeKey().feed(b"a\x1db") == (b"a", True)


def test_another_control_key_can_be_chosen() -> None:
    key = EscapeKey("^t")
    assert key.feed(b"\x1d\x14.") == (b"\x1d", True)
    assert key.label == "Ctrl+T"


def test_tilde_counts_only_at_the_start_of_a_line() -> None:
    key = EscapeKey("~.")
    assert key.feed(b"a~.") == (b"a~.", False)
    assert key.feed(b"\r~~x\r~.") == (b"\r~x\r", True)
    assert not EscapeKey("~.").expire()


def test_none_passes_everything() -> None:
    assert EscapeKey("none").feed(b"\x1d~.\x03") == (b"\x1d~.\x03", False)


@pytest.mark.parametrize("spec", ["", "x", "^", "^1", "ctrl-x"])
def test_what_is_no_key_is_refused(spec: str) -> None:
    with pytest.raises(BadRequest, match="none of"):
        EscapeKey(spec)
