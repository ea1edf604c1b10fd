"""The pictures of the terminal UI that are kept are those that its page shows, and named tests exist."""

from __future__ import annotations

import re
from pathlib import Path

_PAGE = Path(__file__).parents[2] / "docs" / "TERMINAL.md"
_MOST = 26


def test_each_picture_is_shown_and_each_that_is_shown_is_there() -> None:
    shown = re.findall(r"\(screenshots/([\w-]+)\.svg\)", _PAGE.read_text())
    kept = {path.stem: path.read_text() for path in (_PAGE.parent / "screenshots").glob("*.svg")}
    assert sorted(shown) == sorted(kept)
    assert len(kept) <= _MOST
    assert sum(map(len, kept.values())) < 1 << 20
    for svg in kept.values():
        assert "@font-face" not in svg, "nothing is fetched from elsewhere"
        assert "/tmp" not in svg


def test_each_test_that_the_page_names_is_there() -> None:
    root = _PAGE.parents[1] / "tests"
    for name in re.findall(r"`((?:tests/)?[\w/]*test_\w+)(?:\.py)?`", _PAGE.read_text()):
        path = root / name.removeprefix("tests/") if "/" in name else root / "tui" / name
        assert path.with_suffix(".py").exists(), name
