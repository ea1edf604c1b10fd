"""The embedded registry's folder, as its server lays it out: the part that its API cannot clean.

But for ``discard_upload``, the server must not run while something is removed here: it would write into folders
that are gone.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from hyperd.errors import TemporaryError

_UPLOAD = re.compile(r"[0-9a-f-]{36}")


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
    """Remove one upload whose request has ended.

    Cancelled through the API, the server leaves hash states behind, and after a write error it keeps the deleted
    file open: emptied first, it takes no space meanwhile.
    """
    data = upload_data(root, repository, upload)
    if data.exists():
        os.truncate(data, 0)
    if data.parent.is_dir():
        shutil.rmtree(data.parent)


def upload_data(root: Path, repository: str, upload: str) -> Path:
    """Where the server collects the bytes of an upload until it is committed."""
    if not _UPLOAD.fullmatch(upload):
        raise TemporaryError(f"The registry named an upload {upload[:80]!r}, which is no id of one.")
    return repositories_root(root) / repository / "_uploads" / upload / "data"


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
