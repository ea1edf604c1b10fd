"""A Kubernetes cluster of several nodes on this machine: real programs, in namespaces of their own.

Everything runs below one first process of a pid namespace, which ends with the process that started the cluster,
however that ends. What then may be left are a folder and cgroups; the next start removes those whose lock
nobody holds.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tests.cluster.controlplane.build import binary
from tests.cluster.controlplane.plane import PlaneError
from tests.cluster.nodes import addresses, cgroups, images
from tests.cluster.nodes.namespaces import Room
from tests.cluster.nodes.node import Node
from tests.cluster.nodes.plane import NodesPlane

_PREFIX = "hv-nodes-"
_PROGRAMS = ("kubelet", "kube-proxy")
_CONTROL_PLANE = ("kube-apiserver", "kubectl", "kube-scheduler", "kube-controller-manager")
_SWITCH = """
link set lo up
link add nodes type bridge
addr add {gateway}/{prefix} dev nodes
link set nodes up
"""


class Bed:
    """A control plane and its nodes, in a folder that goes with them unless it is given."""

    MOST = 200
    """Nodes that there are addresses for."""

    def __init__(self, count: int = 3, *, folder: Path | None = None, port: int = 0) -> None:
        """``port`` of loopback leads to the API server; 0 takes any. What a given folder had is lost."""
        self.count = count
        self._keeps = folder is not None
        self._port = port
        self.folder = folder or Path(tempfile.mkdtemp(prefix=_PREFIX))
        self._lock: IO[str] | None = None
        self._switch: Room | None = None
        self._plane: NodesPlane | None = None
        self.nodes: tuple[Node, ...] = ()

    @property
    def plane(self) -> NodesPlane:
        """The control plane; it runs kubectl, too."""
        if self._plane is None:
            raise PlaneError("The cluster was never started.")
        return self._plane

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.plane.kubeconfig

    def start(self) -> None:
        """Start it all; returns when every node is Ready. Raises PlaneError or BuildError."""
        programs = [binary(name) for name in (*_CONTROL_PLANE, *_PROGRAMS)][-len(_PROGRAMS) :]
        sweep()
        self._claim()
        self._lay_out(programs)
        self._open_switch()
        assert self._switch is not None
        self._plane = NodesPlane(self.folder / "plane", self._switch, port=self._port)
        self.nodes = tuple(
            Node(number, self.count, plane=self._plane, switch=self._switch, cgroup=self._cgroup)
            for number in range(1, self.count + 1)
        )
        archives = [self.folder / "images" / name for name in ("pause.tar", "box.tar")]
        images.write_pause(archives[0])
        images.write_box(archives[1])
        with ThreadPoolExecutor(len(self.nodes)) as pool:
            starting = [pool.submit(node.start, archives) for node in self.nodes]
            self._plane.start()
            self._plane.apply(*(_object(node) for node in self.nodes))
            for each in starting:
                each.result()
        self._plane.kubectl("wait", "--for=condition=Ready", "--timeout=120s", "node", "--all")

    def stop(self) -> None:
        """End all of it and leave nothing. Safe to call at any time."""
        if self._switch is not None:
            self._switch.close()
        for node in self.nodes:
            node.power_off()
        if self._plane is not None:
            self._plane.stop()
        if self._lock is not None:
            _remove(self.folder, self._cgroup, keep=self._keeps)
            self._lock.close()
            self._lock = None

    @property
    def _cgroup(self) -> str:
        return _cgroup_of(self.folder)

    def _claim(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (self.folder / "lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise PlaneError(f"Another cluster runs in {self.folder}.") from None
        self._lock = lock
        _remove(self.folder, self._cgroup, keep=True)

    def _lay_out(self, programs: list[Path]) -> None:
        for name in ("plane", "images", "programs"):
            (self.folder / name).mkdir()
        for program in programs:
            _link(program, self.folder / "programs" / program.name)
        _link(images.pause(), self.folder / "programs" / "pause")

    def _open_switch(self) -> None:
        self._switch = Room([str(self.folder / "programs" / "pause")], log=self.folder / "switch.log")
        self._switch.open()
        commands = _SWITCH.format(gateway=addresses.GATEWAY, prefix=addresses.PREFIX)
        for number in range(1, self.count + 1):
            commands += f"route add {addresses.pods(number)} via {addresses.node(number)}\n"
        self._switch.run("ip", "-batch", "-", kinds=["--net"], stdin=commands)
        self._switch.run("sysctl", "-qw", "net.ipv4.ip_forward=1", kinds=["--net"])


def sweep(temporary: Path | None = None) -> None:
    """Remove what clusters left, in this or the usual temporary folder, whose processes were killed."""
    for folder in (temporary or Path(tempfile.gettempdir())).glob(f"{_PREFIX}*"):
        with _abandoned(folder) as abandoned:
            if abandoned:
                _remove(folder, _cgroup_of(folder), keep=False)


@contextmanager
def _abandoned(folder: Path) -> Iterator[bool]:
    """Whether nobody runs a cluster in the folder, and nobody begins to meanwhile."""
    try:
        lock = (folder / "lock").open("r+")
    except FileNotFoundError:
        yield False
        return
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _remove(folder: Path, cgroup: str, *, keep: bool) -> None:
    cgroups.remove(cgroup)
    for path in folder.iterdir():
        if path.name == "lock":
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    if not keep:
        shutil.rmtree(folder)


def _cgroup_of(folder: Path) -> str:
    return f"{_PREFIX}{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:12]}"


def _object(node: Node) -> dict[str, object]:
    """Made before its kubelet registers, as the range of its Pods must be the one that routes lead to."""
    spec = {"podCIDR": addresses.pods(node.number), "podCIDRs": [addresses.pods(node.number)]}
    labels = {"kubernetes.io/hostname": node.name}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node.name, "labels": labels}, "spec": spec}


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
