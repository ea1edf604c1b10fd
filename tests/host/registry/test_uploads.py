"""Uploads by curl into a whole daemon: every form, kill -9 on the way, and what a long one costs others."""

from __future__ import annotations

import gzip
import json
import lzma
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hyperd.crashpoints import CrashPoint
from tests.host.inventory import repositories
from tests.host.node import Node
from tests.host.running import Hyperd, Object, condition

MIB = 1 << 20
WAITS = "WaitForUserUpload"
AGAIN = (CrashPoint.IMPORT_STREAMING, CrashPoint.IMPORT_BEFORE_TAG)
"""Where nothing is tagged yet: the file has to be sent once more."""
ONCE = (CrashPoint.IMPORT_AFTER_TAG, CrashPoint.DURABLE_AFTER_STEP, CrashPoint.DURABLE_BEFORE_END)


@pytest.fixture
def daemon(node: Node) -> Iterator[Hyperd]:
    node.ensure_libvirtd()
    with Hyperd(node) as made:
        yield made


@pytest.fixture(scope="module")
def qcow2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """32 MiB of data that do not compress."""
    folder = tmp_path_factory.mktemp("images")
    raw, image = folder / "a.raw", folder / "a.qcow2"
    with raw.open("wb") as file, Path("/dev/urandom").open("rb") as random:
        file.write(b"\xeb\x63\x90" + random.read(32 * MIB - 3))
    convert(raw, "qcow2", image)
    return image


def convert(source: Path, form: str, target: Path) -> None:
    subprocess.run(["qemu-img", "convert", "-O", form, source, target], check=True, capture_output=True)


def waiting(kind: str, name: str) -> Object:
    spec: Object = {"dataSource": {"type": "Upload"}}
    metadata: Object = {"name": name}
    if kind != "ClusterVirtualImage":
        metadata["namespace"] = "default"
    if kind == "VirtualImage":
        spec["storage"] = "ContainerRegistry"
    return {
        "apiVersion": "virtualization.deckhouse.io/v1alpha2",
        "kind": kind,
        "metadata": metadata,
        "spec": spec,
    }


def address(obj: Object) -> str:
    url: str = obj["status"]["imageUploadURLs"]["external"]
    assert re.fullmatch(r"https://127\.0\.0\.1:\d+/upload/[0-9a-f]{32}", url)
    return f"http://hv/upload/{url.rpartition('/')[2]}"


def curl(daemon: Hyperd, url: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [
        "curl",
        "-sS",
        "-w",
        "\n%{http_code}",
        "--unix-socket",
        str(daemon.socket),
        *map(str, arguments),
        url,
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def plain(path: Path, target: Path) -> None:
    target.write_bytes(path.read_bytes())


def gz(path: Path, target: Path) -> None:
    target.write_bytes(gzip.compress(path.read_bytes(), 1))


def xz(path: Path, target: Path) -> None:
    target.write_bytes(lzma.compress(path.read_bytes(), preset=0))


def zst(path: Path, target: Path) -> None:
    subprocess.run(["zstd", "-q", path, "-o", target], check=True)


@pytest.mark.parametrize(
    ("form", "pack", "arguments"),
    [
        ("qcow2", plain, ["-T"]),
        ("raw", xz, ["-X", "POST", "-T"]),
        ("vmdk", gz, ["-H", "Transfer-Encoding: chunked", "-T"]),
        ("vdi", zst, ["-H", "Expect:", "-T"]),
    ],
)
def test_every_form_comes_by_curl(
    daemon: Hyperd, qcow2: Path, tmp_path: Path, form: str, pack: Any, arguments: list[str]
) -> None:
    made, packed = tmp_path / f"a.{form}", tmp_path / "packed"
    convert(qcow2, form, made)
    pack(made, packed)
    daemon.create(waiting("VirtualImage", "up"))
    url = address(daemon.wait_phase("vi", "up", WAITS))
    said = curl(daemon, url, *arguments, packed)
    assert said.stdout.endswith("\n200"), said
    ready = daemon.wait_phase("vi", "up", "Ready")
    assert ready["status"]["format"] == ("raw" if form == "raw" else "qcow2")
    assert ready["status"]["size"]["unpackedBytes"] == str(32 * MIB)
    assert ready["status"]["downloadSpeed"]["avgBytes"] != "0"
    assert "current" not in ready["status"]["downloadSpeed"]
    assert curl(daemon, url, "-T", packed).stdout.endswith("\n404")


@pytest.mark.parametrize("kind", ["VirtualImage", "VirtualDisk"])
@pytest.mark.parametrize("point", [*AGAIN, *ONCE])
def test_kill_9_in_the_middle(daemon: Hyperd, qcow2: Path, kind: str, point: CrashPoint) -> None:
    daemon.create(waiting(kind, "up"))
    word = "vi" if kind == "VirtualImage" else "vd"
    url = address(daemon.wait_phase(word, "up", WAITS))
    daemon.stop()
    daemon.start(env={"HYPERD_CRASH_AT": point})
    assert address(daemon.wait_phase(word, "up", WAITS)) == url
    said = curl(daemon, url, "--retry", 20, "-T", qcow2)
    assert said.returncode != 0 or point in ONCE
    daemon.wait_dead()
    daemon.start()
    if point in AGAIN:
        again = daemon.wait_phase(word, "up", WAITS)
        assert address(again) == url
        assert repositories(daemon) == {} or not any(repositories(daemon).values())
        assert curl(daemon, url, "--retry", 20, "-T", qcow2).stdout.endswith("\n200")
    ready = daemon.wait_phase(word, "up", "Ready")
    assert "imageUploadURLs" not in ready["status"]
    assert curl(daemon, url, "-T", qcow2).stdout[-3:] in ("404", "503")
    assert not list((daemon.state_dir / "registry").rglob("_uploads/*"))
    assert not list((daemon.state_dir / "images").glob("import-*"))


def test_a_long_one_costs_others_nothing(daemon: Hyperd, tmp_path: Path) -> None:
    """Its memory is bounded, and the limits of other requests are what they were."""
    large = tmp_path / "large"
    with large.open("wb") as file, Path("/dev/urandom").open("rb") as random:
        file.write(b"\xeb\x63\x90" + random.read(384 * MIB))
    daemon.create(waiting("VirtualImage", "up"))
    url = address(daemon.wait_phase("vi", "up", WAITS))
    before = peak(daemon)
    command = ["curl", "-sS", "--unix-socket", str(daemon.socket), "--limit-rate", "200M", "-T", str(large), url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sending:
        daemon.wait("vi", "up", lambda obj: obj["status"]["phase"] == "Provisioning")
        (tmp_path / "body").write_text(json.dumps({"data": {"a": "x" * (4 * MIB)}}))
        config_maps = "http://hv/api/v1/namespaces/default/configmaps"
        refused = curl(daemon, config_maps, "--data-binary", f"@{tmp_path / 'body'}")
        assert refused.stdout.endswith("\n413")
        assert curl(daemon, url, "-T", large).stdout.endswith("\n503")
        assert sending.poll() is None
        assert sending.stdout is not None
        assert "Uploaded raw" in sending.stdout.read()
    daemon.wait_phase("vi", "up", "Ready")
    assert peak(daemon) - before < 64 * MIB


def peak(daemon: Hyperd) -> int:
    """Bytes that the daemon has had in memory at most."""
    text = Path(f"/proc/{daemon.pid}/status").read_text()
    return int(text.partition("VmHWM:")[2].split()[0]) * 1024


def test_many_at_once_share_places(daemon: Hyperd, qcow2: Path) -> None:
    names = [f"up-{number}" for number in range(7)]
    for name in names:
        daemon.create(waiting("VirtualImage", name))
    urls = [address(daemon.wait_phase("vi", name, WAITS)) for name in names]
    command = ["curl", "-sS", "--unix-socket", str(daemon.socket), "-T", str(qcow2)]
    sending = [subprocess.Popen([*command, url], stdout=subprocess.PIPE, text=True) for url in urls]
    for process in sending:
        with process:
            assert "Uploaded qcow2" in process.communicate(timeout=120)[0]
    for name in names:
        assert condition(daemon.wait_phase("vi", name, "Ready"), "Ready")["status"] == "True"
