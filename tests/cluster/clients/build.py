"""Build other people's clients from their published Go modules, once per pinned set of versions.

Binaries are kept beside the control plane's, outside the checkout. A kubectl takes two CPU minutes or so;
the program with the informers takes seconds over what the control plane's build left in Go's cache.

    python -m tests.cluster.clients.build
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

from tests.cluster.controlplane import build
from tests.cluster.controlplane.build import BuildError

HERE = Path(__file__).parent
OWN_KUBECTLS = ("1.30", "1.37")
"""Beside the control plane's: the oldest that must work, and the newest that builds."""
KUBECTLS = ("kubectl-1.30", "kubectl", "kubectl-1.37")
"""All of them; the one in the middle is the control plane's."""
_PROGRAMS = {"informer": ("informer", "go")} | {
    f"kubectl-{minor}": ("kubectl", f"kubectl-{minor}") for minor in OWN_KUBECTLS
}
"""Program → its folder and its module file."""


def program(name: str) -> Path:
    """The built program, ``informer`` or one of ``KUBECTLS``. Raises BuildError with the reason."""
    if name not in _PROGRAMS:
        return build.binary(name)
    folder, module = _PROGRAMS[name]
    root = build.cache_dir().parent.parent / "clients"
    target = root / _digest(folder, module) / name
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with build.locked(target.parent / ".lock"):
        if not target.exists():
            print(f"Building {name} into {target.parent}; this takes minutes, once.", file=sys.stderr, flush=True)
            _build(folder, module, target)
    return target


def _digest(folder: str, module: str) -> str:
    digest = hashlib.sha256(build.FLAGS_VERSION.encode())
    for file in (HERE / f"{module}.mod", HERE / f"{module}.sum", HERE / folder / "main.go"):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _build(folder: str, module: str, target: Path) -> None:
    found = re.search(r"^go (\d+)\.(\d+)", (HERE / f"{module}.mod").read_text(), re.MULTILINE)
    if found is None:
        raise BuildError(f"{HERE / module}.mod says nothing of Go's version.")
    go = build.find_go(build.cache_dir().parent, (int(found[1]), int(found[2])))
    argv = [str(go), "build", "-p", "2", f"-modfile={module}.mod", "-mod=readonly", "-trimpath", "-ldflags"]
    argv += [_flags(module), "-o", str(target.with_suffix(".part")), f"./{folder}"]
    environment = os.environ | {"CGO_ENABLED": "0", "GOWORK": "off"}
    done = subprocess.run(argv, cwd=HERE, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = "\n".join(done.stderr.strip().splitlines()[-15:])
        raise BuildError(f"{target.name} cannot be built ({go}, exit {done.returncode}):\n{reason}")
    target.with_suffix(".part").replace(target)


def _flags(module: str) -> str:
    """Without these kubectl calls itself v0.0.0."""
    found = re.search(
        r"^\s*k8s\.io/component-base v0\.(\d+)\.(\d+)$", (HERE / f"{module}.mod").read_text(), re.MULTILINE
    )
    if found is None:
        raise BuildError(f"{HERE / module}.mod pins no k8s.io/component-base.")
    minor, patch = found.groups()
    stamp = {"gitVersion": f"v1.{minor}.{patch}", "gitMajor": "1", "gitMinor": minor}
    return " ".join(
        ["-s", "-w", *(f"-X k8s.io/component-base/version.{key}={value}" for key, value in stamp.items())]
    )


def main() -> int:
    try:
        for name in _PROGRAMS:
            print(program(name))
    except BuildError as err:
        print(err, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
