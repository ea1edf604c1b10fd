"""What escapes mypy does not grow."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
LINES_WITH_ANY = 250
"""Lines of the product that name ``Any``; ``Json``, ``object`` or a kind's view takes its place where it can."""


def test_any_stays_rare() -> None:
    named = [
        f"{path.relative_to(ROOT)}:{number}"
        for room in ("hyperd", "tui", "registry")
        for path in sorted((ROOT / room).rglob("*.py"))
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(r"\bAny\b", line)
    ]
    assert len(named) < LINES_WITH_ANY, "\n".join(named)
