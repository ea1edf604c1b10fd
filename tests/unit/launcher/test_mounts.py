"""Where a Pod's volume is on the node: found by what a process in other namespaces has mounted."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import pytest

from hyperd.errors import TemporaryError
from hyperd.launcher import mounts


@contextmanager
def container(*commands: str) -> Iterator[int]:
    """A process with mounts of its own, once it has run ``commands``."""
    script = " && ".join([*commands, "echo up", "exec sleep 60"])
    argv = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "up\n"
            yield process.pid
        finally:
            process.kill()


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """One with something in it, and where it is mounted; the names have what mountinfo escapes."""
    there, mounted = tmp_path / "the volume", tmp_path / "in the Pod"
    (there / "inner").mkdir(parents=True)
    mounted.mkdir()
    return there, mounted


def test_the_folder_is_found_as_this_process_sees_it(folders: tuple[Path, Path]) -> None:
    there, mounted = folders
    with container(f"mount --bind '{there}' '{mounted}'") as pid:
        found = mounts.open_volume(pid, PurePosixPath(mounted))
        try:
            assert Path(f"/proc/self/fd/{found}").readlink() == there
        finally:
            os.close(found)


def test_what_is_mounted_last_counts(folders: tuple[Path, Path]) -> None:
    there, mounted = folders
    commands = (f"mount --bind '{there}' '{mounted}'", f"mount --bind '{there}/inner' '{mounted}'")
    with container(*commands) as pid:
        found = mounts.open_volume(pid, PurePosixPath(mounted))
        try:
            assert Path(f"/proc/self/fd/{found}").readlink() == there / "inner"
        finally:
            os.close(found)


def test_what_this_process_does_not_see_is_told(folders: tuple[Path, Path]) -> None:
    _, mounted = folders
    with (
        container(f"mount -t tmpfs none '{mounted}'") as pid,
        pytest.raises(TemporaryError, match="in a folder of this node that hyperd does not see"),
    ):
        mounts.open_volume(pid, PurePosixPath(mounted))


def test_nothing_is_taken_for_a_volume_that_is_not_mounted(folders: tuple[Path, Path]) -> None:
    _, mounted = folders
    with container() as pid, pytest.raises(TemporaryError, match="nothing is mounted there"):
        mounts.open_volume(pid, PurePosixPath(mounted))
    with pytest.raises(TemporaryError, match="A volume of the Pod is not there: No such process"):
        mounts.open_volume(pid, PurePosixPath(mounted))
