"""A node: what stands for a machine in a rack, with containerd, kubelet, kube-proxy and libvirt.

Its programs see a network, a process table, cgroups, /run, /var and /etc/libvirt of their own, and the machine's
other files.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from tests.cluster.controlplane.certificates import Pair
from tests.cluster.controlplane.plane import PlaneError
from tests.cluster.nodes import addresses, cgroups, hypervisor, settings
from tests.cluster.nodes.namespaces import Room, only_child
from tests.cluster.nodes.plane import NodesPlane
from tests.host.node import kvm_works

CONTAINERD = "/run/containerd/containerd.sock"
LIBVIRTD = "/run/libvirt/libvirt-sock"
_SOCKETS = {"containerd": CONTAINERD, "libvirtd": LIBVIRTD}
_KUBELET_PORT = 10250
_LISTENS = "0A"
"""As Linux' /proc/net/tcp shows it."""
_INIT = Path(__file__).parent / "init.sh"
_SECONDS = 30.0
_CRASH_SECONDS = 120.0
_FOLDERS = (
    "run/netns", "run/lock", "sysctl", "etc-libvirt", "log", "var/cache", "var/log", "var/lib/containerd",
    "var/lib/cni/net.d", "var/lib/kubelet/pki", "var/lib/kube-proxy", "var/lib/libvirt", "var/tmp",
)  # fmt: skip


class Node:
    """One node of a cluster, ``number`` from 1 to ``of``; ``start`` and ``power_off`` may alternate."""

    def __init__(self, number: int, of: int, *, plane: NodesPlane, switch: Room, cgroup: str) -> None:
        """``switch`` holds the bridge that joins the nodes; ``plane.folder``'s parent is the cluster's folder."""
        self.number = number
        self.name = f"node-{number}"
        self.address = addresses.node(number)
        self.folder = plane.folder.parent / self.name
        self._of = of
        self._plane = plane
        self._switch = switch
        self._cgroup = f"{cgroup}/{self.name}"
        self._room: Room | None = None
        self._argv: dict[str, tuple[str, ...]] = {}
        self._programs: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, images: Sequence[Path]) -> None:
        """Power it on, with the images of these archives. Raises PlaneError."""
        first = not (self.folder / "var").exists()
        self._make_folders()
        cgroups.remove(self._cgroup)
        programs = self.folder.parent / "programs"
        self._room = Room(
            ["sh", str(_INIT), str(self.folder), self.name, str(programs), "kvm" if kvm_works() else ""],
            log=self.folder / "log" / "init.log",
            within=self._switch,
            cgroups=cgroups.make(self._cgroup),
        )
        self._room.open()
        self._await("its namespaces", (self.folder / "run" / "node").exists, "init")
        self._write_entrance()
        self._plug_in()
        self.begin("containerd", "containerd", "--config", "/var/lib/containerd/config.toml")
        self._await_service("containerd")
        if first:
            for image in images:
                self.import_image(image)
        self.begin("virtlogd", "virtlogd")
        self.begin("libvirtd", "libvirtd")
        self.begin("kube-proxy", "/run/programs/kube-proxy", "--config=/var/lib/kube-proxy/config.yaml")
        self.begin(
            "kubelet", "/run/programs/kubelet", "--config=/var/lib/kubelet/config.yaml",
            "--kubeconfig=/var/lib/kubelet/kubeconfig", f"--hostname-override={self.name}",
            f"--node-ip={self.address}",
        )  # fmt: skip
        self._await_service("libvirtd")

    def power_off(self) -> None:
        """Cut its power: nothing that runs on it has a chance to say goodbye. Safe to call at any time."""
        if self._room is not None:
            self._room.close()
        for program in self._programs.values():
            program.wait()
        self._programs.clear()

    def cut(self) -> None:
        """Pull its network cable."""
        self._switch.run("ip", "link", "set", self._cable, "down", kinds=["--net"])

    def mend(self) -> None:
        """Plug the cable in again."""
        self._switch.run("ip", "link", "set", self._cable, "up", kinds=["--net"])

    def run(self, *argv: str, stdin: str = "", rc: int | None = 0) -> str:
        """Both output streams of a command on the node. Raises PlaneError when it does not end with ``rc``."""
        return self._here.run(*argv, stdin=stdin, rc=rc)

    def begin(self, name: str, *argv: str) -> None:
        """Start a program that runs on until ``end_program``; its output is in ``log/NAME.log``."""
        self._argv[name] = argv
        with (self.folder / "log" / f"{name}.log").open("ab") as log:
            self._programs[name] = subprocess.Popen(
                [*self._here.entering(), *argv], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def end_program(self, name: str, number: signal.Signals = signal.SIGTERM) -> None:
        """Send the signal to a program and wait for its end."""
        program = self._programs.pop(name)
        if pid := only_child(program.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        program.wait(_SECONDS)

    @contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """Stop a program while the block runs, as it is."""
        pid = only_child(self._programs[name].pid)
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            # nsenter stops with what it runs.
            for each in (pid, self._programs[name].pid):
                os.kill(each, signal.SIGCONT)

    def kill_program(self, name: str) -> None:
        """End a program without a chance to say goodbye; ``begin_again`` starts it anew."""
        self.end_program(name, signal.SIGKILL)

    def begin_again(self, name: str) -> None:
        """Start a program that has ended as it was started before; returns when others can talk to it.

        A kubelet that finds no containerd ends, and here is no service manager to begin it again.
        """
        self.begin(name, *self._argv[name])
        self._await_service(name)

    def await_end(self, name: str) -> None:
        """Wait until a program has ended by itself."""
        self._programs.pop(name).wait(_CRASH_SECONDS)

    def import_image(self, archive: Path) -> None:
        """Let containerd have the images of a docker or OCI archive."""
        self._images("import", str(archive))

    def tag_image(self, name: str, other: str) -> None:
        """Let containerd have an image by another name too."""
        self._images("tag", name, other)

    def _images(self, *command: str) -> None:
        argv = ["ctr", "--address", str(self.path(CONTAINERD)), "--namespace", "k8s.io", "images", *command]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=600, check=False)
        if done.returncode != 0:
            raise PlaneError(f"{self.name}: {' '.join(argv)}: {done.stdout}{done.stderr}")

    def path(self, path: str) -> Path:
        """What the node has at ``path``, as it is reached from outside; short enough for any socket."""
        return Path(f"/proc/{self._here.pid}/root{path}")

    @property
    def entering(self) -> list[str]:
        """The start of a command line that runs the rest on the node."""
        return self._here.entering()

    @property
    def is_on(self) -> bool:
        return self._room is not None and self._room.is_open

    @property
    def first(self) -> int:
        """Its first process, as it is seen from outside."""
        return self._here.pid

    @property
    def _here(self) -> Room:
        if self._room is None:
            raise PlaneError(f"{self.name} was never started.")
        return self._room

    @property
    def _cable(self) -> str:
        """The switch's end of the node's cable."""
        return f"port{self.number}"

    def _make_folders(self) -> None:
        # Memory, on a machine.
        for memory in ("run", "dev"):
            shutil.rmtree(self.folder / memory, ignore_errors=True)
        for folder in _FOLDERS:
            (self.folder / folder).mkdir(parents=True, exist_ok=True)
        (self.folder / "run" / "programs").mkdir()
        (self.folder / "var" / "tmp").chmod(0o1777)
        for link, target in (("run", "/run"), ("lock", "/run/lock")):
            if not (self.folder / "var" / link).is_symlink():
                (self.folder / "var" / link).symlink_to(target)
        machine = uuid.uuid5(uuid.NAMESPACE_URL, f"{self._plane.folder}/{self.name}")
        (self.folder / "machine-id").write_text(f"{machine.hex}\n")
        (self.folder / "boot-id").touch()
        # libvirt asks for its own name at each start, and where nobody answers it waits for seconds.
        (self.folder / "hosts").write_text(f"127.0.0.1 localhost\n{self.address} {self.name}\n")
        hypervisor.write_settings(self.folder)
        self._write_settings()

    def _write_settings(self) -> None:
        lib = self.folder / "var" / "lib"
        authority, names = self._plane.authority, (self.name, self.address)
        account = authority.client(f"system:node:{self.name}", organization="system:nodes")
        pki = lib / "kubelet" / "pki"
        _copy(authority.server(f"kubelet-{self.name}", names=names), pki / "kubelet")
        _copy(account, pki / "account")
        _copy(self._plane.proxy, lib / "kube-proxy" / "account")
        shutil.copy(authority.certificate, pki / "ca.crt")
        url = self._plane.nodes_url
        here = "/var/lib/kubelet/pki"
        (lib / "containerd" / "config.toml").write_text(settings.CONTAINERD)
        (lib / "kubelet" / "config.yaml").write_text(settings.kubelet(self.address, reserved=_reserved(self._of)))
        (lib / "kubelet" / "kubeconfig").write_text(_kubeconfig(url, f"{here}/account"))
        (lib / "kube-proxy" / "config.yaml").write_text(settings.kube_proxy(self.name, addresses.PODS))
        (lib / "kube-proxy" / "kubeconfig").write_text(_kubeconfig(url, "/var/lib/kube-proxy/account"))
        (lib / "cni" / "net.d" / "10-pods.conflist").write_text(settings.cni(addresses.pods(self.number)))

    def _write_entrance(self) -> None:
        """A command for people: ``FOLDER/node-1/enter`` is a shell there, or runs what follows it."""
        script = self.folder / "enter"
        script.write_text(f'#!/bin/sh\n[ $# -gt 0 ] || set -- sh\nexec {shlex.join(self.entering)} "$@"\n')
        script.chmod(0o755)

    def _plug_in(self) -> None:
        """A cable to the switch, and routes to the Pods of the other nodes."""
        at_switch = [
            f"link add {self._cable} type veth peer name eth0 netns {self._here.pid}",
            f"link set {self._cable} master nodes up",
        ]
        inside = [
            f"addr add {self.address}/{addresses.PREFIX} dev eth0",
            "link set eth0 up",
            # kube-proxy can translate only what has some route.
            f"route add default via {addresses.GATEWAY}",
        ]
        inside += [
            f"route add {addresses.pods(other)} via {addresses.node(other)}"
            for other in range(1, self._of + 1)
            if other != self.number
        ]
        self._switch.run("ip", "-batch", "-", kinds=["--net"], stdin="\n".join(at_switch))
        self._here.run("ip", "-batch", "-", kinds=["--net"], stdin="\n".join(inside))
        self._here.run("sysctl", "-qw", "net.ipv4.ip_forward=1", kinds=["--net"])

    def _await_service(self, name: str) -> None:
        if name in _SOCKETS:
            self._await(name, partial(self._answers, _SOCKETS[name]), name)
        elif name == "kubelet":
            self._await(name, self._kubelet_listens, name)

    def _kubelet_listens(self) -> bool:
        rows = (line.split() for line in Path(f"/proc/{self._here.pid}/net/tcp").read_text().splitlines()[1:])
        return any(row[1].endswith(f":{_KUBELET_PORT:04X}") and row[3] == _LISTENS for row in rows)

    def _answers(self, path: str) -> bool:
        """Whether somebody listens on the node's socket."""
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(self.path(path)))
            except OSError:
                return False
        return True

    def _await(self, what: str, condition: Callable[[], bool], log: str) -> None:
        deadline = time.monotonic() + _SECONDS
        while not condition():
            if time.monotonic() > deadline or not self.is_on:
                tail = (self.folder / "log" / f"{log}.log").read_text(errors="replace")[-2000:]
                raise PlaneError(f"{self.name}: {what} does not become ready:\n{tail}")
            time.sleep(0.02)


def _reserved(nodes: int) -> dict[str, str]:
    """What a node leaves alone, so that all of them together do not promise more than the machine has."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    processors = os.cpu_count() or 1
    return {
        "cpu": f"{1000 * processors - max(1000, 1000 * processors // nodes)}m",
        "memory": str(memory - memory // (nodes + 1)),
    }


def _kubeconfig(url: str, account: str) -> str:
    return settings.kubeconfig(
        url, authority="/var/lib/kubelet/pki/ca.crt", certificate=f"{account}.crt", key=f"{account}.key"
    )


def _copy(pair: Pair, stem: Path) -> None:
    shutil.copy(pair.certificate, stem.with_suffix(".crt"))
    shutil.copy(pair.key, stem.with_suffix(".key"))
