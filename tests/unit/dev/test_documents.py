"""What the documents name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.unit.dev.test_dev import ROOT

DOCUMENTS = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted((ROOT / "docs").glob("*.md"))]
_FILE = re.compile(r"`((?:[\w.-]+/)*[\w-]+\.(?:py|yaml|md)|[\w-]+/(?:[\w-]+/)*[\w-]+)`")
_ROOMS = ("", "hyperd", "tests", "tests/unit")


def named(text: str) -> set[str]:
    """Files and folders of the project that a document names between backticks."""
    return {one for one in _FILE.findall(text) if not one.startswith(("/", "http"))}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_what_a_document_names_is_there(document: Path) -> None:
    text = document.read_text()
    missing = []
    for name in sorted(named(text)):
        if any((ROOT / room / name).exists() for room in _ROOMS):
            continue
        if "/" not in name and any(ROOT.glob(f"tests/**/{name}")):
            continue
        missing.append(name)
    assert not missing
