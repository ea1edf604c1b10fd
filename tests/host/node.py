"""A private libvirt host for tests: its own network, mounts, processes and names, beside the real ones.

Nothing a test does here touches the machine's libvirt, bridges or routes, and one kill ends all of it: the
namespaces' first process takes libvirtd, virtlogd and every QEMU with it. Files are shared with the machine,
so a daemon runs inside by ``node.popen([python, "-m", "hyperd.daemon", …])`` and is reached from outside through
its unix socket below ``node.run_dir`` (``/run`` inside) or any folder of ``node.make_dir()``.

There are no cgroups inside: libvirt's would stay behind on the machine.

QEMU runs as ``libvirt-qemu``, as Debian has it: keep its files in ``node.make_dir()``, whose parents it can
pass, and not in pytest's ``tmp_path``, whose parents it cannot.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

CAPABILITY_CACHE = Path("/var/cache/hyperd-tests/capabilities")
"""QEMU's capabilities, probed once per machine; libvirt itself checks that they are current."""

BOUND = {
    "run": "/run",
    "etc": "/etc/libvirt",
    "lib": "/var/lib/libvirt",
    "log": "/var/log/libvirt",
    "cache": "/var/cache/libvirt",
}
"""Folder below the node's → what it covers inside."""

INIT = r"""
set -e
dir=$1 name=$2 keep_kvm=$3
hostname "$name"
mkdir -p "$dir/dev"
umount -R -l /sys
mount -t sysfs sysfs /sys
mount -t proc proc /proc
mount -t tmpfs -o mode=755 tmpfs "$dir/dev"
for node in null zero full random urandom tty vhost-net fuse $keep_kvm; do
    [ ! -e "/dev/$node" ] || cp -a "/dev/$node" "$dir/dev/$node"
done
for folder in pts shm mqueue net hugepages; do
    [ ! -d "/dev/$folder" ] || { mkdir "$dir/dev/$folder"; mount --rbind "/dev/$folder" "$dir/dev/$folder"; }
done
ln -s pts/ptmx "$dir/dev/ptmx"
ln -s /proc/self/fd "$dir/dev/fd"
mount --move "$dir/dev" /dev
for pair in $4; do
    mkdir -p "${pair#*:}"
    mount --bind "$dir/${pair%%:*}" "${pair#*:}"
done
mount --bind "$dir/machine-id" /etc/machine-id
mkdir -p /run/netns /run/lock
ip link set lo up
: > "$dir/ready"
while :; do sleep 3600 & wait $! || true; done
"""
"""First process of the node. bash reaps the orphans it adopts while it waits."""


def wait_until(condition: Callable[[], object], *, timeout: float = 20.0, what: str = "condition") -> None:
    """Poll what has no event to wait on. Raises TimeoutError."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come true in {timeout:g} s")
        time.sleep(0.005)


class NodeProcess(subprocess.Popen[str]):
    """A process inside the node. Signals go to the process itself, not to the ``nsenter`` that waits for it."""

    @property
    def real_pid(self) -> int:
        """Its pid as the machine sees it."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        wait_until(lambda: self.poll() is not None or children.read_text().split(), what="nsenter's fork")
        return int(children.read_text().split()[0])

    def send_signal(self, sig: int) -> None:
        with contextlib.suppress(FileNotFoundError, IndexError, ProcessLookupError):
            os.kill(self.real_pid, sig)

    def reap(self, *, timeout: float = 40.0) -> int:
        """Wait for its end, even where it was stopped: then ``nsenter`` stops itself too, and reaps nothing."""

        def ended() -> bool:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGCONT)
            return self.poll() is not None

        wait_until(ended, timeout=timeout, what="the process's end")
        return self.wait()

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Node:
    """One libvirt host in namespaces of its own; see the module's head."""

    def __init__(self, name: str = "node") -> None:
        self.name = name
        self.dir = Path(tempfile.mkdtemp(prefix="hvn-", dir="/tmp"))
        self.dir.chmod(0o711)
        self.run_dir = self.dir / "run"
        self.uri = f"qemu+unix:///system?socket={self.run_dir}/libvirt/libvirt-sock"
        self._keeper: subprocess.Popen[bytes] | None = None
        self._first = 0
        self._daemons: dict[str, NodeProcess] = {}
        self._processes: list[NodeProcess] = []

    def __enter__(self) -> Node:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Bring the node up, libvirtd answering."""
        self._lay_out()
        argv = ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--mount", "--uts", "--ipc", "--pid"]
        argv += ["--fork", "--kill-child=KILL", "--propagation", "private", "--", "bash", "-c", INIT, "init"]
        argv += [str(self.dir), self.name, "kvm" if kvm_works() else ""]
        argv += [" ".join(f"{ours}:{theirs}" for ours, theirs in BOUND.items())]
        log = (self.dir / "init.log").open("wb")
        self._keeper = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        log.close()
        keeper = self._keeper
        wait_until(
            lambda: (self.dir / "ready").exists() or keeper.poll() is not None, what="the node's namespaces"
        )
        if keeper.poll() is not None:
            raise RuntimeError(f"node failed: {(self.dir / 'init.log').read_text()}")
        self._first = int(Path(f"/proc/{keeper.pid}/task/{keeper.pid}/children").read_text().split()[0])
        self.start_daemon("virtlogd")
        self.start_libvirtd()

    def close(self) -> None:
        """End every process of the node and remove its files."""
        if self._keeper is not None:
            self._keeper.kill()
            self._keeper.wait()
            for process in self._processes:
                process.reap()
            first = Path(f"/proc/{self._first}/stat")
            wait_until(lambda: not self._first or not _alive(first), what="the node's end")
        self._save_capabilities()
        shutil.rmtree(self.dir)

    def exec(
        self,
        argv: Sequence[str | Path],
        *,
        check: bool = True,
        timeout: float = 60.0,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside to its end; its output is captured."""
        command = self._enter(argv, cwd=None)
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, env=_env(env), input=stdin, check=False
        )
        if check and done.returncode:
            raise RuntimeError(f"{argv!r} ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done

    def popen(
        self,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        stdout: IO[Any] | int | None = None,
        stderr: IO[Any] | int | None = None,
        cwd: Path | None = None,
    ) -> NodeProcess:
        """Start a process inside; ``env`` adds to this process's environment."""
        process = NodeProcess(
            self._enter(argv, cwd=cwd),
            env=_env(env),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            text=True,
        )
        self._processes.append(process)
        return process

    def virsh(self, *args: str, check: bool = True) -> str:
        """Output of one virsh command."""
        return self.exec(["virsh", "-q", "-c", "qemu:///system", *args], check=check).stdout

    def make_dir(self, name: str = "") -> Path:
        """A new folder that QEMU's user can pass; removed with the node."""
        path = self.dir / "t" / (name or uuid.uuid4().hex[:8])
        path.parent.mkdir(mode=0o711, exist_ok=True)
        path.mkdir(mode=0o711)
        return path

    @property
    def libvirtd_pid(self) -> int:
        """As the machine sees it."""
        return self._daemons["libvirtd"].real_pid

    def start_libvirtd(self) -> None:
        """Start it, and return when it answers."""
        self.start_daemon("libvirtd")
        wait_until(
            lambda: (
                (self.run_dir / "libvirt" / "libvirt-sock").exists()
                and self.exec(["virsh", "-c", "qemu:///system", "list"], check=False).returncode == 0
            ),
            timeout=90,
            what="libvirtd's first answer",
        )

    def kill_libvirtd(self, sig: signal.Signals = signal.SIGKILL) -> None:
        """End it, and return when it is gone; guests go on."""
        self._daemons["libvirtd"].send_signal(sig)
        self._daemons.pop("libvirtd").reap()

    def restart_libvirtd(self, sig: signal.Signals = signal.SIGKILL) -> None:
        """End it and start it anew."""
        self.kill_libvirtd(sig)
        self.start_libvirtd()

    def freeze_libvirtd(self) -> None:
        """SIGSTOP: it holds its connections and answers nothing."""
        os.kill(self.libvirtd_pid, signal.SIGSTOP)

    def thaw_libvirtd(self) -> None:
        os.kill(self.libvirtd_pid, signal.SIGCONT)

    def ensure_libvirtd(self) -> None:
        """Heal what the test before left: frozen or dead."""
        daemon = self._daemons.get("libvirtd")
        if daemon is None or daemon.poll() is not None:
            self.start_libvirtd()
        else:
            self.thaw_libvirtd()

    def remove_domains(self) -> None:
        """Destroy and undefine every domain."""
        for name in self.virsh("list", "--all", "--name").split():
            self.virsh("destroy", name, check=False)
            flags = ["--managed-save", "--nvram", "--snapshots-metadata", "--checkpoints-metadata"]
            self.virsh("undefine", name, *flags, check=False)

    def start_daemon(self, program: str) -> None:
        """Start libvirtd or virtlogd inside, in the foreground, logging below the node's folder."""
        with (self.dir / f"{program}.log").open("ab") as log:
            self._daemons[program] = self.popen([program], stdout=log, stderr=log)

    def _lay_out(self) -> None:
        for folder in BOUND:
            (self.dir / folder).mkdir(mode=0o755)
        (self.dir / "machine-id").write_text(uuid.uuid4().hex + "\n")
        etc = self.dir / "etc"
        (etc / "libvirtd.conf").write_text(
            f'host_uuid = "{uuid.uuid4()}"\nauth_unix_rw = "none"\nauth_unix_ro = "none"\n'
            'log_outputs = "2:stderr"\n'
        )
        (etc / "qemu.conf").write_text('security_driver = "none"\n')
        (etc / "virtlogd.conf").write_text("")
        if CAPABILITY_CACHE.is_dir():
            shutil.copytree(CAPABILITY_CACHE, self.dir / "cache" / "qemu" / "capabilities")

    def _save_capabilities(self) -> None:
        probed = self.dir / "cache" / "qemu" / "capabilities"
        if not probed.is_dir() or not any(probed.iterdir()):
            return
        CAPABILITY_CACHE.mkdir(parents=True, exist_ok=True)
        for source in probed.iterdir():
            target = CAPABILITY_CACHE / source.name
            fresh = target.with_suffix(f".{os.getpid()}")
            shutil.copy2(source, fresh)
            fresh.rename(target)

    def _enter(self, argv: Sequence[str | Path], *, cwd: Path | None) -> list[str]:
        namespaces = ["--mount", "--net", "--uts", "--ipc", "--pid"]
        enter = ["nsenter", "--target", str(self._first), *namespaces, f"--wdns={cwd or Path.cwd()}"]
        return [*enter, "--", *(str(arg) for arg in argv)]


def _env(extra: Mapping[str, str] | None) -> dict[str, str]:
    return {**os.environ, **(extra or {})}


def _alive(stat: Path) -> bool:
    """Whether the process lives; a zombie does not."""
    try:
        return stat.read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def kvm_works() -> bool:
    """Whether QEMU's user can use KVM; a device that it cannot makes libvirt's probing hang for a minute."""
    flags = Path("/proc/cpuinfo").read_text().split()
    device = Path("/dev/kvm")
    return device.exists() and bool(device.stat().st_mode & 0o066) and ("vmx" in flags or "svm" in flags)
