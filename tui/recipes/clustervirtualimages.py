"""An image for all namespaces."""

from __future__ import annotations

from tui.recipe import Recipe, from_source

RECIPE = Recipe(
    (
        from_source(
            ("cvi",), "clustervirtualimages",
            "https://…, docker://REGISTRY/REPOSITORY:TAG, upload, or cvi/NAME.",
            ("https://", "docker://", "upload"),
        ),
    ),
    dict,
)  # fmt: skip
