"""Container images of a few files, as archives that a container runtime imports."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.cluster.controlplane import build

HERE = Path(__file__).parent
PAUSE = "localhost/pause:1"
BOX = "localhost/box:1"
"""busybox with a web server on port 8080, whose answer is the Pod's name."""
_SERVE = (
    'mkdir -p /www && hostname >/www/index.html && echo "serving as $(hostname)" && exec httpd -f -p 8080 -h /www'
)
_APPLETS = ("sh", "cat", "date", "echo", "grep", "hostname", "httpd", "ip", "kill", "ls", "mkdir", "mount", "nc",
    "ping", "ps", "sleep", "true", "udhcpc", "wget")  # fmt: skip


def pause() -> Path:
    """The program that holds namespaces, compiled when its source is new."""
    source = HERE / "pause.c"
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:16]
    target = build.cache_dir(build.NODES).parent / f"pause-{digest}"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with build.locked(target.parent / ".pause.lock"):
            partial = target.with_suffix(".part")
            argv = ["gcc", "-O2", "-static", "-s", "-o", str(partial), str(source)]
            done = subprocess.run(argv, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise build.BuildError(f"{source} cannot be compiled:\n{done.stderr}")
            partial.replace(target)
    return target


def write_pause(target: Path) -> None:
    """The archive of the image that a Pod's namespaces are held by."""
    write(target, PAUSE, ("/pause",), {"pause": pause()})


def write_box(target: Path) -> None:
    """The archive of the image that tests run in Pods."""
    busybox = shutil.which("busybox")
    if busybox is None:
        raise build.BuildError("busybox is not installed; run: apt-get install busybox-static")
    links = {f"bin/{name}": "busybox" for name in _APPLETS}
    write(target, BOX, ("/bin/sh", "-c", _SERVE), {"bin/busybox": Path(busybox)}, links)


def write(
    target: Path,
    name: str,
    command: Sequence[str],
    files: Mapping[str, Path],
    links: Mapping[str, str] | None = None,
) -> None:
    """The archive ``target`` of an image with these files; what it runs is ``command``."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for folder in ("bin", "tmp", "etc", "proc", "sys", "dev", "run"):
            _add(tar, folder, tarfile.DIRTYPE)
        for path, source in files.items():
            _add(tar, path, tarfile.REGTYPE, source.read_bytes())
        for path, link in (links or {}).items():
            _add(tar, path, tarfile.SYMTYPE, link=link)
    content = layer.getvalue()
    config = {
        "architecture": "amd64", "os": "linux", "created": "1970-01-01T00:00:00Z",
        "config": {"Entrypoint": list(command), "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(content).hexdigest()}"]},
        "history": [{"created": "1970-01-01T00:00:00Z"}],
    }  # fmt: skip
    described = json.dumps(config).encode()
    config_name = f"{hashlib.sha256(described).hexdigest()}.json"
    manifest = json.dumps([{"Config": config_name, "RepoTags": [name], "Layers": ["layer.tar"]}]).encode()
    with tarfile.open(target, "w") as tar:
        for path, data in ((config_name, described), ("layer.tar", content), ("manifest.json", manifest)):
            _add(tar, path, tarfile.REGTYPE, data)


def _add(tar: tarfile.TarFile, path: str, kind: bytes, data: bytes = b"", *, link: str = "") -> None:
    entry = tarfile.TarInfo(path)
    entry.type, entry.mode, entry.size, entry.linkname = kind, 0o755, len(data), link
    tar.addfile(entry, io.BytesIO(data))
