"""Images and backups between hyperd and registries, 1 GiB each, against ``skopeo copy`` of the same image.

A push is ``hv image push`` of a disk into an empty registry: skopeo remembers where a blob was. A pull is twice:
an image that is imported out of a registry with TLS and tokens, until it is Ready, and what others read out of
hyperd's own registry by its API. A backup of a disk 1 % of which was changed is compared with its first one.
Rounds alternate; medians are compared.
"""

from __future__ import annotations

import base64
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from benchmarks.imports import SIZE, source, write_image
from benchmarks.report import report
from tests.host.node import Node, wait_until
from tests.host.registry.locked import PASSWORD
from tests.host.running import Hyperd, Object, disk, image

ROUNDS = 3
PORT = 5001
_PATIENCE = 300.0
_CONFIG = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {folder}/{port}}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""
_CHUNK = 1 << 20


@contextmanager
def plain(node: Node, folder: Path, port: int = PORT) -> Iterator[str]:
    """``HOST:PORT`` of an empty registry without TLS and logins."""
    config = folder / f"{port}.yml"
    config.write_text(_CONFIG.format(folder=folder, port=port))
    silent = subprocess.DEVNULL
    process = node.popen(["docker-registry", "serve", config], stdout=silent, stderr=silent)
    try:
        host = f"127.0.0.1:{port}"
        curl = ["curl", "-s", "--fail", f"http://{host}/v2/"]
        wait_until(lambda: node.exec(curl, check=False).returncode == 0, what="the registry")
        yield host
    finally:
        process.kill()
        process.reap()
        if port != PORT:
            shutil.rmtree(folder / str(port), ignore_errors=True)


@contextmanager
def locked(node: Node, folder: Path) -> Iterator[tuple[str, Path]]:
    """``HOST:PORT`` and the authority's certificate of a registry with TLS behind a token server."""
    argv: list[str | Path] = [sys.executable, "-m", "tests.host.registry.locked", folder]
    process = node.popen(argv, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        yield f"127.0.0.1:{said['port']}", Path(said["ca"])
    finally:
        process.kill()
        process.reap()


class Bench:
    """One daemon and what works on it."""

    def __init__(self, node: Node, daemon: Hyperd, folder: Path) -> None:
        self.node, self.daemon, self.folder = node, daemon, folder

    def hv(self, *words: str) -> float:
        """Seconds of one command."""
        return timed(lambda: self.said(*words))

    def said(self, *words: str) -> str:
        """What a command prints."""
        argv: list[str | Path] = [sys.executable, "-m", "hyperd.cli.main", *words, "--socket", self.daemon.socket]
        return self.node.exec(argv, timeout=_PATIENCE).stdout

    def skopeo(self, *words: str | Path) -> float:
        """Seconds of one copy."""
        argv: list[str | Path] = ["skopeo", "copy", "-q", "--insecure-policy", *words]
        return timed(lambda: self.node.exec(argv, timeout=_PATIENCE))

    def pulled(self, *words: str | Path) -> float:
        """Of one that ends in a folder, which goes again."""
        target = self.folder / "pulled"
        took = self.skopeo(*words, f"dir:{target}")
        shutil.rmtree(target)
        return took


def timed(what: Callable[[], object]) -> float:
    """Seconds."""
    started = time.perf_counter()
    what()
    return time.perf_counter() - started


def compare(name: str, what: str, ours: Callable[[int], float], theirs: Callable[[int], float]) -> None:
    """In turns."""
    took = [(theirs(number), ours(number)) for number in range(ROUNDS)]
    baseline, value = (statistics.median(each) for each in zip(*took, strict=True))
    report(name, value, "s", what, baseline)


def pushes(bench: Bench, host: str) -> None:
    """Leaves the image at ``disks/vm:0``."""
    bench.hv("image", "push", "vd/vm", f"{host}/disks/vm:first", "--plain-http", "--format", "raw")
    held = bench.folder / "held"
    bench.skopeo("--src-tls-verify=false", f"docker://{host}/disks/vm:first", f"dir:{held}")

    def theirs(number: int) -> float:
        with plain(bench.node, bench.folder, PORT + 1 + 2 * number) as empty:
            return bench.skopeo("--dest-tls-verify=false", f"dir:{held}", f"docker://{empty}/disks/vm:1")

    def ours(number: int) -> float:
        with plain(bench.node, bench.folder, PORT + 2 + 2 * number) as empty:
            return bench.hv("image", "push", "vd/vm", f"{empty}/disks/vm:1", "--plain-http", "--format", "raw")

    compare("push.1GiB", "skopeo copy", ours, theirs)


def imports(bench: Bench) -> None:
    """Out of a registry with TLS."""
    folder = bench.folder / "locked"
    folder.mkdir()
    with locked(bench.node, folder) as (host, authority):
        login, trusted = f"user:{PASSWORD}", folder / "trusted"
        trusted.mkdir()
        shutil.copy(authority, trusted / "ca.crt")
        reference = f"{host}/team/vm:1"
        known = [f"--dest-creds={login}", f"--dest-cert-dir={trusted}"]
        bench.skopeo(*known, f"dir:{bench.folder}/held", f"docker://{reference}")
        pull = base64.b64encode(login.encode()).decode()
        config = json.dumps({"auths": {host: {"auth": pull}}})
        secret: Object = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "login", "namespace": "default"},
            "type": "kubernetes.io/dockerconfigjson",
            "stringData": {".dockerconfigjson": config},
        }
        bench.daemon.create(secret)

        def ours(number: int) -> float:
            made = image(f"c{number}", "")
            made["spec"]["dataSource"] = {
                "type": "ContainerImage",
                "containerImage": {
                    "image": reference,
                    "imagePullSecret": {"name": "login"},
                    "caBundle": base64.b64encode(authority.read_bytes()).decode(),
                },
            }
            wait = bench.daemon.wait_phase
            return timed(lambda: (bench.daemon.create(made), wait("vi", f"c{number}", "Ready", timeout=_PATIENCE)))

        def theirs(_: int) -> float:
            return bench.pulled(f"--src-creds={login}", f"--src-cert-dir={trusted}", f"docker://{reference}")

        compare("pull.import.1GiB", "skopeo copy", ours, theirs)


def reads(bench: Bench, host: str) -> None:
    """Out of hyperd's own registry, against the other one."""
    made = json.loads(bench.said("token", "create", "b", "--role", "editor", "-o", "json"))
    shown = bench.daemon.get("vi", "vm")["status"]["target"]["registryURL"].partition("/")[2]
    config = (bench.daemon.state_dir / "kubeconfig").read_text()
    server = next(line.partition("https://")[2].strip('"') for line in config.splitlines() if "server:" in line)
    trusted = bench.folder / "trusted"
    trusted.mkdir()
    shutil.copy(bench.daemon.state_dir / "pki" / "ca.crt", trusted / "ca.crt")

    def ours(_: int) -> float:
        login = f"--src-creds=me:{made['status']['token']}"
        return bench.pulled(login, f"--src-cert-dir={trusted}", f"docker://{server}/{shown}")

    def theirs(_: int) -> float:
        return bench.pulled("--src-tls-verify=false", f"docker://{host}/disks/vm:first")

    compare("pull.from-hyperd.1GiB", "skopeo copy from a registry without TLS", ours, theirs)


def backups(bench: Bench, host: str) -> None:
    """The first one, then one of a disk 1 % of which is others."""
    target = f"{host}/backups/vm"
    full = bench.hv("disk", "backup", "vd/vm", target, "--plain-http")
    uid = bench.daemon.get("vd", "vm")["metadata"]["uid"]
    volume = bench.daemon.state_dir / "volumes" / f"{uid}.qcow2"
    took, sizes = [], [stored(bench.folder)]
    for number in range(ROUNDS):
        places = random.Random(number).sample(range(SIZE // _CHUNK), SIZE // _CHUNK // 100)
        words = [word for place in places for word in ("-c", f"write -q -P {number + 1} {place}M 1M")]
        subprocess.run(["qemu-io", "-f", "qcow2", *words, volume], check=True)
        took.append(bench.hv("disk", "backup", "vd/vm", target, "--plain-http"))
        sizes.append(stored(bench.folder))
    report("backup.incremental", statistics.median(took), "s", "the first backup", full)
    more = statistics.median(after - before for before, after in pairwise(sizes))
    report("backup.incremental.bytes", more / (1 << 20), "MiB", "the disk", SIZE / (1 << 20))


def stored(folder: Path) -> int:
    """Bytes of the plain registry."""
    return sum(path.stat().st_size for path in (folder / str(PORT)).rglob("data"))


def main() -> int:
    """Print a line for each figure."""
    if os.geteuid() != 0:
        print("benchmarks.registries needs root, for the daemon's namespaces.", file=sys.stderr)
        return 1
    with Node("bench") as node:
        folder = node.make_dir("www")
        sha256 = write_image(folder / "image")
        with source(node, folder) as served, plain(node, folder) as host, Hyperd(node) as daemon:
            bench = Bench(node, daemon, folder)
            daemon.create(image("vm", f"{served}/image", checksum={"sha256": sha256}))
            daemon.wait_phase("vi", "vm", "Ready", timeout=_PATIENCE)
            daemon.create(disk("vm", image="vm"))
            daemon.wait_phase("vd", "vm", "Ready", timeout=_PATIENCE)
            pushes(bench, host)
            imports(bench)
            reads(bench, host)
            backups(bench, host)
    return 0


if __name__ == "__main__":
    sys.exit(main())
