"""Each walk of ``docs/CONTRIBUTING.md``, walked in a copy: it works, and touches the files that are listed."""

from __future__ import annotations

import re
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.walks.walk import ROOT, WALKS, Copy, Walk, load

GUIDE = ROOT / "docs" / "CONTRIBUTING.md"
DERIVED = ("hyperd/resources/index.py", "hyperd/resources/views/*", "hyperd/data/manifests/*", "docs/*")
"""Written by programs."""
BOUNDS = {"device": 2, "durable_operation": 2, "field": 4, "kind": 6, "network_kind": 2, "storage_backend": 2}
"""Walk → how many files or new folders of the product are touched by hand."""
ONE_LINE = ("device", "durable_operation", "network_kind", "storage_backend")
"""Walks that change one file of the product, by an import and one line."""


def listed(walk: Walk) -> set[str]:
    """What the guide says that the walk touches: the code words at the heads of its section's items."""
    section = GUIDE.read_text().partition(f"\n### {walk.name.replace('_', ' ').capitalize()}\n")[2]
    items = re.findall(r"^- `([^`]+)`", section.partition("\n### ")[0].partition("\n## ")[0], re.MULTILINE)
    assert items, f"{GUIDE.name} has no list of what a {walk.name} touches"
    for placeholder, name in walk.placeholders.items():
        items = [item.replace(f"<{placeholder}>", name) for item in items]
    return set(items)


def by_item(files: set[str], items: set[str]) -> set[str]:
    """Files, and for those in a listed folder the folder."""
    folders = [item for item in items if item.endswith("/")]
    return {next((folder for folder in folders if file.startswith(folder)), file) for file in files}


def by_hand(files: set[str]) -> set[str]:
    return {file for file in files if not any(fnmatch(file, pattern) for pattern in DERIVED)}


def test_every_walk_has_its_bound() -> None:
    assert {path.parent.name for path in WALKS.glob("*/walk.toml")} == set(BOUNDS)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", sorted(BOUNDS))
def test_a_walk_works_and_touches_what_the_guide_lists(name: str, tmp_path: Path) -> None:
    walk, copy = load(name), Copy(tmp_path)
    copy.apply(walk)
    for module in walk.derive:
        copy.python(module)
    copy.env = {"UPDATE_GOLDEN": "yes"}
    for tests in walk.golden:
        copy.python("pytest", "-q", "-p", "no:cacheprovider", tests)
    copy.env = {}
    product = {file: lines for file, lines in copy.changed().items() if not file.startswith("tests/")}
    items = listed(walk)
    touched = by_item(by_hand(set(product)), items)
    assert touched == {item for item in items if not item.startswith("tests/")}
    assert len(touched) <= BOUNDS[name]
    if name in ONE_LINE:
        lines = [
            line
            for file, added in product.items()
            if file not in walk.new_files()
            for line in added
            if not line.startswith(("from ", "import "))
        ]
        assert len(lines) == 1, lines
    code = [file for file in product if file.endswith(".py")]
    copy.python("mypy", "--follow-imports=silent", *code)
    copy.python("ruff", "check", *code)
    if any(file.endswith(".py") for file in walk.new_files()):
        copy.run(str(Path(sys.executable).parent / "lint-imports"))
    copy.python("pytest", "-q", "-x", "-p", "no:cacheprovider", *walk.tests)
