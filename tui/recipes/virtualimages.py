"""An image of the namespace: from the web, a registry, an upload, a disk or another image."""

from __future__ import annotations

from tui.draft import plain
from tui.recipe import Recipe, from_source

FROM = from_source(
    ("vi", "cvi", "vd", "vds"), "virtualimages clustervirtualimages virtualdisks virtualdisksnapshots",
    "https://…, docker://REGISTRY/REPOSITORY:TAG, upload, or vi/, cvi/, vd/, vds/NAME.",
    ("https://", "docker://", "upload"),
)  # fmt: skip

RECIPE = Recipe(
    (
        FROM,
        plain("storage", "spec.storage"),
        plain("storage class", "spec.persistentVolumeClaim.storageClassName", choices="storageclasses"),
    ),
    lambda: {"storage": "ContainerRegistry"},
)
