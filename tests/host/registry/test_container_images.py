"""Images and disks out of container images that other people's tools made, in a registry behind a token server."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hyperd.resources.all import CLUSTER_VIRTUAL_IMAGE
from tests.host.node import Node
from tests.host.registry.locked import PASSWORD
from tests.host.running import Hyperd, Object, condition, disk, image

RAW = b"\xeb\x63" + bytes(508) + b"\x55\xaa" + os.urandom(3 << 20)


class Locked:
    """The registry of ``locked``, and what pushes into it."""

    def __init__(self, node: Node, folder: Path) -> None:
        argv: list[str | Path] = [sys.executable, "-m", "tests.host.registry.locked", folder]
        self._node, self._folder = node, folder
        self._process = node.popen(argv, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        said = json.loads(self._process.stdout.readline())
        self.port, self.ca = said["port"], Path(said["ca"])
        trusted = folder / "trusted"
        trusted.mkdir()
        (trusted / "ca.crt").write_bytes(self.ca.read_bytes())

    def reference(self, name: str) -> str:
        return f"127.0.0.1:{self.port}/team/{name}"

    def copy(self, source: str, name: str, *options: str) -> None:
        """By skopeo."""
        self._node.exec([
            "skopeo", "copy", "-q", "--insecure-policy", *options, f"--dest-creds=user:{PASSWORD}",
            f"--dest-cert-dir={self._folder}/trusted", source, f"docker://{self.reference(name)}",
        ])  # fmt: skip

    def close(self) -> None:
        self._process.kill()
        self._process.reap()


def umoci(folder: Path, file: Path) -> str:
    """An OCI image with the file below ``/disk``; skopeo's name of it."""
    layout = folder / "umoci"
    run("umoci", "init", "--layout", layout)
    run("umoci", "new", "--image", f"{layout}:a")
    run("umoci", "insert", "--image", f"{layout}:a", file, f"/disk/{file.name}")
    return f"oci:{layout}:a"


def buildah(folder: Path, file: Path) -> str:
    """A docker image of two layers, the file in the lower one."""
    store: list[str | Path] = [
        "--root",
        folder / "store",
        "--runroot",
        folder / "running",
        "--storage-driver",
        "vfs",
    ]
    for base, content, target, tag in (
        ("scratch", file, f"/disk/{file.name}", "base"),
        ("base", __file__, "/etc/readme", "top"),
    ):
        found = run("buildah", *store, "from", "--pull-never", base).strip()
        run("buildah", *store, "copy", "-q", found, content, target)
        run("buildah", *store, "commit", "-q", "--format=docker", found, tag)
    run("buildah", *store, "push", "-q", "--format=v2s2", "top", f"dir:{folder}/pushed")
    return f"dir:{folder}/pushed"


def run(*argv: str | Path) -> str:
    return subprocess.run([str(each) for each in argv], check=True, stdout=subprocess.PIPE, text=True).stdout


@pytest.fixture(scope="module")
def daemon(node: Node) -> Iterator[Hyperd]:
    with Hyperd(node) as made:
        yield made


@pytest.fixture(scope="module")
def registry(node: Node) -> Iterator[Locked]:
    made = Locked(node, node.make_dir())
    file = made.ca.parent / "disk.img"
    file.write_bytes(RAW)
    try:
        first = umoci(made.ca.parent, file)
        made.copy(first, "umoci:1")
        made.copy(first, "zstd:1", "--dest-compress", "--dest-compress-format=zstd")
        made.copy(buildah(made.ca.parent, file), "buildah:1")
        yield made
    finally:
        made.close()


def source(registry: Locked, name: str, **fields: Any) -> Object:
    bundle = base64.b64encode(registry.ca.read_bytes()).decode()
    block = {"image": registry.reference(name), "caBundle": bundle, "imagePullSecret": {"name": "pull"}, **fields}
    return {"type": "ContainerImage", "containerImage": block}


def virtual_image(registry: Locked, name: str, of: str, **fields: Any) -> Object:
    made = image(name, "")
    made["spec"]["dataSource"] = source(registry, of, **fields)
    return made


def secret(registry: Locked, password: str) -> Object:
    config = {"auths": {f"127.0.0.1:{registry.port}": {"username": "user", "password": password}}}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "pull", "namespace": "default"},
        "type": "kubernetes.io/dockerconfigjson",
        "data": {".dockerconfigjson": base64.b64encode(json.dumps(config).encode()).decode()},
    }


def cached(daemon: Hyperd) -> list[bytes]:
    return [path.read_bytes() for path in (daemon.state_dir / "images").glob("*.img")]


def test_images_of_every_tool_and_a_disk_with_a_secret_that_comes_late(daemon: Hyperd, registry: Locked) -> None:
    for name in ("umoci", "zstd", "buildah"):
        daemon.create(virtual_image(registry, name, f"{name}:1"))
    waits = daemon.wait("vi", "umoci", lambda found: bool(condition(found, "DatasourceReady")))
    assert condition(waits, "DatasourceReady")["reason"] == "ContainerRegistrySecretNotFound"
    assert condition(waits, "Ready")["reason"] == "DatasourceNotReady"
    assert waits["status"]["phase"] == "Pending"
    daemon.create(secret(registry, PASSWORD))
    for name in ("umoci", "zstd", "buildah"):
        found = daemon.wait_phase("vi", name, "Ready")
        assert found["status"]["format"] == "raw"
        assert found["status"]["size"]["storedBytes"] == found["status"]["size"]["unpackedBytes"] == str(len(RAW))
    daemon.create({**disk("d"), "spec": {"dataSource": source(registry, "buildah:1")}})
    daemon.wait_phase("vd", "d", "Ready")
    assert cached(daemon) == [RAW]
    everywhere = virtual_image(registry, "e", "umoci:1", imagePullSecret={"name": "pull", "namespace": "default"})
    everywhere["kind"] = CLUSTER_VIRTUAL_IMAGE.kind
    del everywhere["metadata"]["namespace"], everywhere["spec"]["storage"]
    daemon.create(everywhere)
    daemon.wait_phase("cvi", "e", "Ready", namespace="")


def test_a_wrong_password_is_a_pull_that_failed_and_is_nowhere_told(daemon: Hyperd, registry: Locked) -> None:
    wrong = secret(registry, "wrong-canary")
    wrong["metadata"]["name"] = "wrong"
    daemon.create(wrong)
    daemon.create(virtual_image(registry, "wrong", "umoci:1", imagePullSecret={"name": "wrong"}))
    daemon.create({
        **disk("wrong"),
        "spec": {"dataSource": source(registry, "umoci:1", imagePullSecret={"name": "wrong"})},
    })  # fmt: skip
    daemon.create(virtual_image(registry, "absent", "absent:1"))
    for kind, name, sentence in (
        ("vi", "wrong", "refuses the credentials of the Secret in imagePullSecret"),
        ("vd", "wrong", "refuses the credentials of the Secret in imagePullSecret"),
        ("vi", "absent", "is not in its registry"),
    ):
        found = daemon.wait(kind, name, lambda each: condition(each, "Ready").get("reason") == "ImagePullFailed")
        assert sentence in condition(found, "Ready")["message"]
        assert found["status"]["retry"]["failures"] >= 1
        assert "canary" not in json.dumps(found)
    assert "canary" not in daemon.log()
    assert "Traceback" not in daemon.log()
