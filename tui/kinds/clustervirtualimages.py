"""Images for everybody."""

from __future__ import annotations

from tui.kind import NAME, Kind, progress
from tui.source import IMAGE_FACTS, IMAGE_FIELDS

KIND = Kind(
    "clustervirtualimages",
    "cluster images",
    ("cvi", "cvis", "clustervirtualimage", "clustervirtualimages"),
    (NAME, *IMAGE_FIELDS),
    digit="4",
    empty=("There is no cluster-wide image here yet.",),
    facts=IMAGE_FACTS,
    running=progress,
)
