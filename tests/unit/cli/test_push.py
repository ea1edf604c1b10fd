"""``hv image push`` into a registry that is not hyperd's, from which other tools pull."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import oras.client
import pytest

from tests.unit.cli.registry import Guarded, guarded, registry
from tests.unit.cli.test_disk import exporting
from tests.unit.controllers.exporting import DISK, EXPECTED, SUBRESOURCES

pytestmark = [
    pytest.mark.loop_seconds(10, "bcrypt, in the test"),
    pytest.mark.skipif(
        shutil.which("docker-registry") is None or shutil.which("skopeo") is None,
        reason="needs a registry and skopeo",
    ),
]
PLAIN = "--plain-http"


async def run(*words: str | Path) -> None:
    await asyncio.to_thread(lambda: subprocess.run([*map(str, words)], check=True, capture_output=True))


async def pulled(reference: str, folder: Path) -> Path:
    """The disk in an image, as skopeo gets it."""
    image = folder / "image"
    await run("skopeo", "copy", "--src-tls-verify=false", f"docker://{reference}", f"dir:{image}")
    manifest = json.loads((image / "manifest.json").read_text())
    assert [layer["mediaType"] for layer in manifest["layers"]] == ["application/vnd.oci.image.layer.v1.tar"]
    with tarfile.open(image / manifest["layers"][0]["digest"].removeprefix("sha256:")) as tar:
        (disk,) = (entry for entry in tar.getmembers() if entry.isfile())
        assert disk.name.startswith("disk/disk.")
        tar.extract(disk, folder, filter="data")
    return folder / disk.name


async def test_skopeo_pulls_what_was_pushed(tmp_path: Path) -> None:
    async with exporting(tmp_path) as (lab, hv), registry(tmp_path) as host:
        await lab.disk()
        said = await hv("image", "push", "vd/vm", f"{host}/disks/vm:1", PLAIN)
        assert said.out.startswith(f"Pushed {host}/disks/vm:1, sha256:")
        disk = await pulled(f"{host}/disks/vm:1", tmp_path)
        await run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", disk, tmp_path / "raw")
        assert (tmp_path / "raw").read_bytes() == EXPECTED
        await hv("image", "push", "vd/vm", f"docker://{host}/disks/vm:raw", PLAIN, "--format", "raw")
        assert (await pulled(f"{host}/disks/vm:raw", tmp_path)).read_bytes() == EXPECTED


async def test_a_push_that_breaks_off_tags_nothing(tmp_path: Path) -> None:
    async with (
        exporting(tmp_path) as (lab, hv),
        registry(tmp_path) as behind,
        guarded(Guarded(behind)) as front,
    ):
        await lab.disk()
        front.full = True
        words = ("image", "push", "vd/vm", f"{front.host}/a:1", PLAIN, "--auth-file", login(tmp_path, front.host))
        said = await hv(*words, "--format", "raw", code=1)
        assert said.err.endswith(f"hv: {front.host} answers 507: no space left on device.\n")
        await lab.free()
        async with lab.client.get(f"{SUBRESOURCES}/{DISK}/export") as answer:
            assert answer.status == 200, "the disk is free again"
        front.full = False
        assert (await hv(*words)).out.startswith("Pushed")


async def test_oras_pulls_what_was_pushed(tmp_path: Path) -> None:
    async with exporting(tmp_path) as (lab, hv), registry(tmp_path) as host:
        await lab.disk()
        await hv("image", "push", "vd/vm", f"{host}/disks/vm:1", PLAIN, "--format", "raw")
        client = oras.client.OrasClient(insecure=True)
        found = await asyncio.to_thread(client.pull, target=f"{host}/disks/vm:1", outdir=str(tmp_path / "oras"))
        assert found == [str(tmp_path / "oras" / "disk.tar")]
        with tarfile.open(found[0]) as tar:
            disk = tar.extractfile("disk/disk.img")
            assert disk is not None
            assert disk.read() == EXPECTED


def login(folder: Path, host: str) -> str:
    """A file with credentials for ``host``."""
    path = folder / "auth.json"
    kept = base64.b64encode(Guarded.USER.encode()).decode()
    path.write_text(json.dumps({"auths": {host: {"auth": kept}}}))
    return str(path)


@pytest.mark.parametrize("basic", [False, True], ids=["token", "password"])
async def test_credentials_are_those_that_other_tools_keep_and_tokens_are_renewed(
    tmp_path: Path, basic: bool
) -> None:
    async with (
        exporting(tmp_path) as (lab, hv),
        registry(tmp_path) as behind,
        guarded(Guarded(behind, basic=basic)) as front,
    ):
        await lab.disk()
        refused = await hv("image", "push", "vd/vm", f"{front.host}/disks/vm:1", PLAIN, code=1)
        assert canary_is_not_in(refused.err)
        auth = login(tmp_path, front.host)
        await hv(
            "image", "push", "vd/vm", f"{front.host}/disks/vm:1", PLAIN, "--auth-file", auth, "--format", "raw"
        )
        assert (await pulled(f"{behind}/disks/vm:1", tmp_path)).read_bytes() == EXPECTED
        assert basic or front.tokens > 1


def canary_is_not_in(said: str) -> bool:
    return "canary" not in said and ("asks for credentials" in said or "refuses these credentials" in said)


async def test_the_password_goes_to_no_other_host(tmp_path: Path) -> None:
    async with (
        exporting(tmp_path) as (lab, hv),
        registry(tmp_path) as behind,
        guarded(Guarded(behind)) as other,
        guarded(Guarded(behind, realm=f"http://localhost:{other.host.partition(':')[2]}/token")) as front,
    ):
        await lab.disk()
        auth = login(tmp_path, front.host)
        said = await hv("image", "push", "vd/vm", f"{front.host}/a:1", PLAIN, "--auth-file", auth, code=1)
        assert "wants its credentials to be shown to localhost, another host" in said.err
        assert other.tokens == 0
        (tmp_path / "auth.json").write_text("no json")
        said = await hv("image", "push", "vd/vm", f"{front.host}/a:1", PLAIN, "--auth-file", auth, code=1)
        assert "is no file that podman, skopeo or docker login have made" in said.err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("vd/vm", "debian:12"), "write REGISTRY/REPOSITORY:TAG"),
        (("vd/vm", "127.0.0.1:9/A:1"), "write REGISTRY/REPOSITORY:TAG"),
        (("vm/vm", "127.0.0.1:9/a:1"), "write vd/NAME, vds/NAME"),
        (("vd/vm", "127.0.0.1:9/a:1"), "The registry 127.0.0.1:9 cannot be reached: Connection refused."),
    ],
)
async def test_what_cannot_be_pushed_is_told(tmp_path: Path, arguments: tuple[str, ...], sentence: str) -> None:
    async with exporting(tmp_path) as (lab, hv):
        await lab.disk()
        assert sentence in (await hv("image", "push", *arguments, PLAIN, code=1)).err
