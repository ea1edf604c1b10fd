"""A Pod's cgroups, by what the kernel says of a process in it."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from hyperd.launcher import sandbox
from hyperd.launcher.sandbox import Sandbox

_UID = "0b1c2d3e-0000-4000-8000-000000000003"
_MOUNTS = {
    "": (PurePosixPath("/"), Path("/sys/fs/cgroup")),
    "memory": (PurePosixPath("/"), Path("/sys/fs/cgroup/memory")),
    "cpu,cpuacct": (PurePosixPath("/node"), Path("/sys/fs/cgroup/cpu")),
}


def found(*lines: str) -> list[str]:
    return [str(path) for path in sandbox._of_pod(_UID, list(lines), _MOUNTS)]


def test_kubelets_two_ways_of_naming() -> None:
    pod = f"/kubepods/burstable/pod{_UID}"
    assert found(f"4:memory:{pod}/1234", "1:name=systemd:/x") == [f"/sys/fs/cgroup/memory{pod}"]
    slices = "/kubepods.slice/kubepods-burstable.slice"
    own = f"{slices}/kubepods-burstable-pod{_UID.replace('-', '_')}.slice"
    assert found(f"0::{own}/cri-containerd-1234.scope") == [f"/sys/fs/cgroup{own}"]
    assert found(f"2:cpu,cpuacct:/node/kubepods/pod{_UID}/1") == [f"/sys/fs/cgroup/cpu/kubepods/pod{_UID}"]


def test_another_pods_process_is_none_of_it() -> None:
    assert found("4:memory:/kubepods/burstable/pod0b1c2d3e-0000-4000-8000-00000000000f/1") == []
    assert found(f"4:memory:/user/{_UID}/1") == []


def test_a_cgroup_that_is_not_to_be_seen_is_an_error() -> None:
    with pytest.raises(OSError, match="outside"):
        found(f"2:cpu,cpuacct:/elsewhere/pod{_UID}/1")


def test_the_guest_has_a_cgroup_of_its_own_beneath_the_pods(tmp_path: Path) -> None:
    memory, cpuset = tmp_path / "memory", tmp_path / "cpuset"
    guest = cpuset / sandbox.GUEST_CGROUP
    memory.mkdir()
    guest.mkdir(parents=True)
    for name, value in (("cpuset.cpus", "0-1\n"), ("cpuset.mems", "0\n")):
        (cpuset / name).write_text(value)
        (guest / name).write_text("\n")
    pod = Sandbox(_UID, 1, Path("/proc/1/ns/net"), (memory, cpuset))
    assert sandbox.members(pod) == frozenset()
    sandbox.admit(pod, 4711)
    assert sandbox.members(pod) == {4711}
    assert (guest / "cpuset.cpus").read_text() == "0-1\n"
