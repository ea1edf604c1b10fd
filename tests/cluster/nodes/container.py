"""hyperd's container image, built from the checkout's ``Containerfile`` by buildah, once per content.

Base, system and dependencies are kept as images (``$XDG_CACHE_HOME/hyperd/image``), each for as long as what it is
made of is the same; then only the wheel is made anew. What cannot be built raises ``BuildError`` with the reason.

    python -m tests.cluster.nodes.container        # prints the archive's path
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.cluster.controlplane.build import BuildError, cache_dir, locked

IMAGE = "localhost/hyperd:1"
_ROOT = Path(__file__).parents[3]
_DEBIAN = "bookworm"
_CONTEXT = ("LICENSE", "README.md", "hyperd", "pyproject.toml", "registry", "tui")
"""What ``.containerignore`` lets in."""
_KEPT = 2
"""So many archives, the newest: others are of content that has changed since."""
_TRUST = "/etc/ssl"
"""Whom this machine trusts, while the image is built too: a registry may be behind a proxy of its own."""


def archive() -> Path:
    """The image as a docker archive, called IMAGE; minutes for the first one, then one for each change."""
    folder = cache_dir().parents[1] / "image"
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / ".lock"):
        target = folder / f"hyperd-{_digest(_files(('Containerfile', '.containerignore', *_CONTEXT)))}.tar"
        if not target.exists():
            _build(folder, target)
        os.utime(target)
        archives = sorted(folder.glob("hyperd-*.tar"), key=lambda path: path.stat().st_mtime)
        for old in archives[:-_KEPT]:
            old.unlink()
    return target


def _build(folder: Path, target: Path) -> None:
    begin = time.monotonic()
    print(f"Building hyperd's image into {target}.", file=sys.stderr, flush=True)
    base = _base(folder)
    stages: dict[str, str] = {}
    for stage, digest in _stages():
        name = f"localhost/hyperd-{stage}:{digest}"
        if not _there(folder, name):
            _bud(folder, base, stages, "--target", stage, "--tag", name)
        stages[stage] = name
    _bud(folder, base, stages, "--tag", IMAGE)
    partial = target.with_suffix(".part")
    partial.unlink(missing_ok=True)
    _buildah(folder, "push", "--quiet", IMAGE, f"docker-archive:{partial}:{IMAGE}")
    partial.replace(target)
    _forget(folder, {base, *stages.values()})
    print(f"It is built ({time.monotonic() - begin:.0f} s).", file=sys.stderr, flush=True)


def _base(folder: Path) -> str:
    """A Debian as small as it gets, which stands for the one that the Containerfile names."""
    name = f"localhost/hyperd-base:{_DEBIAN}"
    if not _there(folder, name):
        rootfs = folder / "base"
        rootfs.mkdir(exist_ok=True)
        tar = rootfs / "base.tar"
        _run(["mmdebstrap", "--variant=minbase", "--include=ca-certificates", _DEBIAN, str(tar)])
        (rootfs / "Containerfile").write_text("FROM scratch\nADD base.tar /\n")
        _buildah(folder, "bud", "--isolation", "chroot", "--layers=false", "--tag", name, str(rootfs))
        tar.unlink()
    return name


def _stages() -> list[tuple[str, str]]:
    """The Containerfile's stages that last, and a digest of what each is made of."""
    file = (_ROOT / "Containerfile").read_text()
    needed = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    told = {"system": file, "dependencies": "\n".join([file, *needed])}
    return [(stage, hashlib.sha256(text.encode()).hexdigest()[:16]) for stage, text in told.items()]


def _bud(folder: Path, base: str, stages: dict[str, str], *arguments: str) -> None:
    argv = ["bud", "--isolation", "chroot", "--layers=false", "--build-arg", f"BASE={base}"]
    for stage, name in stages.items():
        argv += ["--build-context", f"{stage}=container-image://{name}"]
    if Path(_TRUST, "certs/ca-certificates.crt").exists():
        argv += ["--volume", f"{_TRUST}:/host-ssl:ro", "--env", "PIP_CERT=/host-ssl/certs/ca-certificates.crt"]
    _buildah(folder, *argv, *arguments, str(_ROOT))


def _there(folder: Path, name: str) -> bool:
    return bool(_buildah(folder, "images", "--quiet", "--filter", f"reference={name}").strip())


def _forget(folder: Path, kept: set[str]) -> None:
    listed = _buildah(folder, "images", "--format", "{{.ID}} {{.Name}}:{{.Tag}}").splitlines()
    for number, name in (line.split() for line in listed):
        if name not in kept:
            _buildah(folder, "rmi", "--force", number if name.startswith("<none>") else name)


def _buildah(folder: Path, command: str, *arguments: str) -> str:
    where = ["--root", str(folder / "storage"), "--runroot", str(folder / "run"), "--storage-driver", "vfs"]
    return _run(["buildah", *where, command, *arguments])


def _run(argv: Sequence[str]) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    except FileNotFoundError as err:
        raise BuildError(f"{argv[0]} is not installed; run: apt-get install {argv[0]}") from err
    if done.returncode != 0:
        reason = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise BuildError(f"hyperd's image cannot be built ({' '.join(argv)}):\n{reason}")
    return done.stdout


def _files(names: Iterable[str]) -> list[Path]:
    found: list[Path] = []
    for name in names:
        path = _ROOT / name
        found += [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
    return sorted(one for one in found if "__pycache__" not in one.parts)


def _digest(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.relative_to(_ROOT)} {path.stat().st_size}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def main() -> int:
    try:
        print(archive())
    except BuildError as err:
        print(err, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
