"""Cgroups of a cluster's nodes, in every hierarchy of version 1 and in that of version 2."""

from __future__ import annotations

import threading
import time
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_SECONDS = 10.0
_MAKING = threading.Lock()


def make(name: str) -> tuple[Path, ...]:
    """A cgroup of this name, which may hold slashes, wherever there is a hierarchy."""
    folders = tuple(root / name for root in _hierarchies())
    # Nodes start side by side: one must not copy from a parent that another has made and not yet filled.
    with _MAKING:
        _make(folders)
    return folders


def _make(folders: tuple[Path, ...]) -> None:
    for folder in folders:
        for parent in (*reversed(folder.relative_to(_ROOT).parents), folder.relative_to(_ROOT)):
            made = _ROOT / parent
            if made.exists():
                continue
            made.mkdir()
            # Nothing can run in a set of no processors.
            for setting in ("cpuset.cpus", "cpuset.mems"):
                if (made / setting).exists() and not (made / "cgroup.controllers").exists():
                    (made / setting).write_text((made.parent / setting).read_text())


def remove(name: str) -> None:
    """Remove the cgroup with all below it, whose processes are gone or are on their way. Raises OSError."""
    deadline = time.monotonic() + _SECONDS
    for root in _hierarchies():
        while True:
            try:
                _remove_tree(root / name)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)


def named(prefix: str) -> set[str]:
    """Names at the top of any hierarchy that begin so."""
    return {found.name for root in _hierarchies() for found in root.glob(f"{prefix}*") if found.is_dir()}


def _hierarchies() -> list[Path]:
    if (_ROOT / "cgroup.procs").exists():
        return [_ROOT]
    return sorted({folder.resolve() for folder in _ROOT.iterdir() if (folder / "cgroup.procs").exists()})


def _remove_tree(folder: Path) -> None:
    if not folder.exists():
        return
    for child in folder.iterdir():
        if child.is_dir():
            _remove_tree(child)
    folder.rmdir()
