"""Text from a home cannot steer a terminal."""

from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hyperd.cli.printing import TablePrinter, json_text
from hyperd.client import sanitize
from hyperd.client.plain import PlainText
from hyperd.client.yamltext import dump

HOSTILE = [
    "\x1b]0;title\x07", "\x1b]52;c;cm0gLXJmIC8=\x07", "\x1b[2J\x1b[H", "\x1b[31mred", "\x9b31mred", "\x9d0;t\x9c",
    "\x1bP+q544e\x1b\\", "\x1bc", "\x07bell", "\x08\x08back", "\rover", "\x0b\x0c", "\x00", "\x7f", "\x85next",
    "\u202eevil.exe", "\u2066iso\u2069", "\u200bzero", "\ufeffbom", "\u2028line", "\u2029par", "\u00adsoft",
    "\ud800half", "\U000e0041tag", "\u061c", "\u180e", "\u115f", "a\u200db", "\x1b[6n", "\x1b[c", "\x1bZ",
    "\x1b[?1049h", "\x1b[?1000h", "\x1b]8;;http://evil\x07link\x1b]8;;\x07", "\x0e\x0f", "\x18\x1a", "\u2060",
]  # fmt: skip


def harmless(text: str) -> bool:
    return not any(sanitize.hostile(char) for char in text if char not in "\t\n")


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_every_way_of_printing_takes_the_power_out_of_it(text: str) -> None:
    table = {
        "columnDefinitions": [{"name": text}],
        "rows": [{"cells": [text], "object": {"metadata": {"namespace": text}}}],
    }
    printed = "\n".join(TablePrinter(wide=True, namespaces=True, colour=False).format(table))
    for shown in (sanitize.text(text), sanitize.line(text), printed, json_text({text: text}), dump({text: text})):
        assert harmless(shown)
        shown.encode("utf-8")
    assert "\n" not in sanitize.line(text + "\n")


@pytest.mark.parametrize("text", [text for text in HOSTILE if "\ud800" not in text], ids=ascii)
def test_json_and_yaml_lose_nothing(text: str) -> None:
    assert json.loads(json_text({"a": text})) == {"a": text}
    assert yaml.safe_load(dump({"a": text})) == {"a": text}


def test_plain_text_of_people_stays_as_it_is() -> None:
    for text in ("web-7", "Привет, мир", "日本語", "naïve café", "a\tb\nc", "→ ● ✖"):
        assert sanitize.text(text) == text


@given(st.text())
def test_nothing_hostile_survives_any_text(text: str) -> None:
    assert harmless(sanitize.text(text))
    assert harmless(sanitize.line(text))


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_a_console_log_in_any_pieces_is_plain(pieces: list[bytes]) -> None:
    plain = PlainText()
    assert all(harmless(plain.feed(piece)) for piece in pieces)


def test_sequences_cut_by_a_chunk_are_dropped_whole() -> None:
    plain = PlainText()
    shown = "".join(plain.feed(piece) for piece in (b"one \x1b", b"[3", b"1mred\x1b[0", b"m two\r", b"\nthree"))
    assert shown == "one red two\nthree"
