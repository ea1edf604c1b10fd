"""Images of a namespace."""

from __future__ import annotations

from tui.kind import NAME, NAMESPACE, Kind, progress
from tui.source import IMAGE_FACTS, IMAGE_FIELDS

KIND = Kind(
    "virtualimages",
    "images",
    ("vi", "vis", "virtualimage", "virtualimages", "images"),
    (NAME, NAMESPACE, *IMAGE_FIELDS),
    digit="3",
    empty=("There is no image here yet.", "hv apply -f image.yaml --wait   imports one over HTTP"),
    facts=IMAGE_FACTS,
    counted="vi",
    running=progress,
)
