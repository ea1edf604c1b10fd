"""``hv get vm`` against ``virsh list``: what an administrator waits for at every look.

Both speak to a daemon over a unix socket and print as many machines: the API over its store, and a libvirtd with
the test driver. Goal: at most three times virsh, and under 150 ms. Beside it the same command on a cluster.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.kubernetes import kubernetes
from benchmarks.report import beside, report
from hyperd.resources.all import VIRTUAL_MACHINE
from hyperd.store.interface import Store
from tests.tui.world import machine, serving, short_folder

MACHINES = 20
RUNS = 30


def hyperfine(folder: Path, commands: list[list[str]], env: dict[str, str]) -> list[float]:
    """Mean wall milliseconds of each command."""
    out = folder / "hyperfine.json"
    lines = [" ".join(command) for command in commands]
    subprocess.run(
        ["hyperfine", "--shell=none", "--warmup=5", f"--runs={RUNS}", f"--export-json={out}", *lines],
        check=True, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return [result["mean"] * 1000 for result in json.loads(out.read_text())["results"]]


def domains(folder: Path) -> Path:
    """A node for libvirt's test driver with as many domains."""
    path = folder / "node.xml"
    one = "<domain type='test'><name>vm-{:03}</name><memory>262144</memory><os><type>hvm</type></os></domain>"
    path.write_text("<node>" + "".join(one.format(number) for number in range(MACHINES)) + "</node>")
    return path


async def fill(store: Store) -> None:
    for number in range(MACHINES):
        name = f"vm-{number:03}"
        vm = (await store.create(VIRTUAL_MACHINE, "default", machine(name, namespace="default"))).object()
        status = {"phase": "Running", "nodeName": "n1", "ipAddress": f"10.66.10.{number + 1}"}
        await store.update(VIRTUAL_MACHINE, "default", name, {**vm, "status": status}, subresource="status")


async def on_kubernetes(folder: Path, hv: list[str]) -> float:
    """Milliseconds of the same command with the same machines in an API server."""
    async with kubernetes() as (plane, store):
        await fill(store)
        command = [*hv, "--kubeconfig", str(plane.kubeconfig)]
        return (await asyncio.to_thread(hyperfine, folder, [command], dict(os.environ)))[0]


async def main() -> int:
    """Print the figures; 1 when a goal is missed, 2 when the tools are not there."""
    if shutil.which("hyperfine") is None or shutil.which("virsh") is None:
        print("benchmarks/cli.py needs hyperfine and virsh (libvirt-clients)", file=sys.stderr)
        return 2
    with short_folder() as folder:
        async with serving(folder) as world:
            await fill(world.store)
            env = {**os.environ, "HYPERD_SOCKET": str(world.settings.socket_path)}
            hv = [str(Path(sys.executable).parent / "hv"), "get", "vm"]
            with libvirtd(folder) as uri:
                commands = [hv, ["virsh", "-c", uri, "list"], [sys.executable, "-c", "pass"]]
                ours, theirs, python = await asyncio.to_thread(hyperfine, folder, commands, env)
        cluster = await on_kubernetes(folder, hv)
    fast = ours <= 3 * theirs
    report("hv get vm", ours, "ms", "virsh list", theirs, "at most 3 times virsh list", fast)
    report("hv get vm, absolute", ours, "ms", "python3 -c pass", python, "under 150 ms", ours < 150)
    beside("hv get vm", cluster, "ms", ours)
    return 0 if fast and ours < 150 else 1


@contextmanager
def libvirtd(folder: Path) -> Iterator[str]:
    """A libvirtd of our own with the test driver; gives the URI of its node."""
    conf = folder / "libvirtd.conf"
    conf.write_text(
        f'unix_sock_dir = "{folder}"\nauth_unix_rw = "none"\nauth_unix_ro = "none"\nlisten_tls = 0\n'
        'log_outputs = "4:stderr"\n'
    )
    # Namespaces of its own keep it from the files and bridges of the machine's libvirtd.
    apart = ["unshare", "--mount", "--net", "sh", "-c", 'mount -t tmpfs none /run && exec "$0" "$@"']
    daemon = subprocess.Popen(
        [*apart, _libvirtd(), "--config", str(conf), "--pid-file", str(folder / "libvirtd.pid")],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    socket = folder / "libvirt-sock"
    try:
        deadline = time.monotonic() + 30
        while not socket.exists() and daemon.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        yield f"test+unix://{domains(folder)}?socket={socket}"
    finally:
        daemon.terminate()
        daemon.wait()


def _libvirtd() -> str:
    return shutil.which("libvirtd") or "/usr/sbin/libvirtd"


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
