"""The fragments of CHANGES: their names and their form."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "CHANGES"
FRAGMENTS = sorted(path for path in FOLDER.iterdir() if path.name != "README.md")
NAME = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*\.(?:breaking|security|feature|fix)\.md")


@pytest.mark.parametrize("path", FRAGMENTS, ids=lambda path: path.name)
def test_a_fragment_is_a_few_sentences_under_a_name_that_says_its_kind(path: Path) -> None:
    text = path.read_text()
    assert NAME.fullmatch(path.name), "see CHANGES/README.md"
    assert text.endswith(".\n")
    assert len(text) < 400
    assert "\n\n" not in text
    assert text[0].isupper() or text[0] == "`"
