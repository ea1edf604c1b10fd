"""Where a Pod's volume is on the node: found by what a process in other namespaces has mounted."""

from __future__ import annotations

import os
import stat
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


def test_a_link_in_the_pod_leads_to_no_volume(folders: tuple[Path, Path], tmp_path: Path) -> None:
    """The image of what runs there may have any."""
    there, mounted = folders
    link = tmp_path / "link"
    link.symlink_to(mounted)
    with container(f"mount --bind '{there}' '{mounted}'") as pid:
        for path in (link, link / "inner"):
            with pytest.raises(TemporaryError, match="A volume of the Pod is not there: Too many levels"):
                mounts.open_volume(pid, PurePosixPath(path))
        with pytest.raises(TemporaryError, match="is no block device of this node: Too many levels"):
            mounts.find_device(pid, PurePosixPath(link), link)


def test_a_device_is_the_one_that_kubelet_has_given_to_the_pod(tmp_path: Path) -> None:
    """Who can make a device node has all of the node's disks else."""
    device, other = sorted(path for path in Path("/dev").iterdir() if path.is_block_device())[:2]
    kubelet, inside = tmp_path / "kubelet", PurePosixPath(tmp_path / "inside")
    given = kubelet / "pods" / "p-1" / "volumeDevices" / "kubernetes.io~local-volume"
    given.mkdir(parents=True)
    os.mknod(inside, stat.S_IFBLK | 0o600, device.stat().st_rdev)
    with container() as pid:
        with pytest.raises(TemporaryError, match="kubelet has given the volume pv-1 to no Pod p-1"):
            mounts.device_record(kubelet, "p-1", "pv-1")
        (given / "pv-1").symlink_to(other)
        recorded = mounts.device_record(kubelet, "p-1", "pv-1")
        with pytest.raises(TemporaryError, match="not the one that kubelet has given to the Pod"):
            mounts.find_device(pid, inside, recorded)
        (given / "pv-1").unlink()
        (given / "pv-1").symlink_to(device)
        assert mounts.find_device(pid, inside, recorded).stat().st_rdev == device.stat().st_rdev
        for wrong in ("/dev/null", str(tmp_path)):
            with pytest.raises(TemporaryError, match="is no block device of this node"):
                mounts.find_device(pid, PurePosixPath(wrong), Path(wrong))
