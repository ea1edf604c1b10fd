"""The embedded registry's folder, as its server lays it out: the part that its API cannot clean.

But for ``discard_upload``, the server must not run while something is removed here: it would write into folders
that are gone.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path


def repositories_root(root: Path) -> Path:
    """Where the server keeps one folder a repository."""
    return root / "docker" / "registry" / "v2" / "repositories"


def repositories(root: Path) -> Iterator[Path]:
    """The folders of all repositories, also of those that hold nothing."""
    top = repositories_root(root)
    marks = ("_uploads", "_layers", "_manifests")
    found = {path.parent for mark in marks for path in top.glob(f"**/{mark}")}
    yield from sorted(path for path in found if not _inside_mark(path.relative_to(top)))


def uploads(root: Path) -> list[Path]:
    """Uploads that nobody finished."""
    return [upload for folder in repositories(root) for upload in _children(folder / "_uploads")]


def remove_uploads(root: Path) -> int:
    """Remove what interrupted pushes left; returns how many there were."""
    found = uploads(root)
    for upload in found:
        shutil.rmtree(upload)
    return len(found)


def discard_upload(root: Path, repository: str, upload: str) -> None:
    """Remove one upload that the server has let go of: cancelling it there leaves a few hash states behind."""
    if not re.fullmatch(r"[0-9a-f-]{36}", upload):
        return
    folder = repositories_root(root) / repository / "_uploads" / upload
    if folder.is_dir():
        shutil.rmtree(folder)


def remove_untagged(root: Path) -> int:
    """Remove repositories without a tag, and parents that are empty then; returns how many there were."""
    top = repositories_root(root)
    empty = [folder for folder in repositories(root) if not _children(folder / "_manifests" / "tags")]
    for folder in empty:
        shutil.rmtree(folder)
        parent = folder.parent
        while parent != top and not any(parent.iterdir()):
            parent.rmdir()
            parent = parent.parent
    return len(empty)


def _children(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _inside_mark(relative: Path) -> bool:
    """Repository names never start a component with an underscore; the server's own folders do."""
    return any(part.startswith("_") for part in relative.parts)
