"""A disk: blank, or made of an image, a snapshot, or what is on the web."""

from __future__ import annotations

from tui.draft import plain
from tui.recipe import Recipe, from_source

RECIPE = Recipe(
    (
        from_source(
            ("vi", "cvi", "vds"), "virtualimages clustervirtualimages virtualdisksnapshots",
            "Empty for a blank disk; vi/NAME, cvi/NAME, vds/NAME, https://…, docker://… or upload.", ("upload",),
        ),
        plain("size", "spec.persistentVolumeClaim.size"),
        plain("storage class", "spec.persistentVolumeClaim.storageClassName", choices="storageclasses"),
    ),
    lambda: {"persistentVolumeClaim": {"size": "10Gi"}},
)  # fmt: skip
