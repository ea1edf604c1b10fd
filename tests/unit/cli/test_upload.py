"""``hv upload`` against a whole daemon: what it makes, what it says, and what it refuses."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hyperd.resources.all import CLUSTER_VIRTUAL_IMAGE, VIRTUAL_DISK, VIRTUAL_IMAGE
from tests.unit.cli.conftest import ROOT, Result
from tests.unit.controllers.uploading import READY, Uploading, uploading, why
from tests.unit.registry.world import qcow2_bytes, web_server


class Hv:
    """Runs ``hv`` against one daemon."""

    def __init__(self, up: Uploading, folder: Path) -> None:
        self.up = up
        self.folder = folder
        self._socket = ["--socket", str(up.world._settings.socket_path)]

    async def __call__(
        self, *arguments: str, stdin: bytes = b"", code: int = 0, where: list[str] | None = None
    ) -> Result:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "hyperd.cli.main", *arguments, *(where or self._socket),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder)}, cwd=ROOT,
        )  # fmt: skip
        out, err = await asyncio.wait_for(process.communicate(stdin), 60)
        result = Result(process.returncode or 0, out.decode(), err.decode())
        assert "Traceback" not in result.err, result.err
        assert result.code == code, result
        return result


@pytest.fixture
async def hv(tmp_path: Path) -> AsyncIterator[Hv]:
    async with uploading() as up:
        (tmp_path / "a.qcow2").write_bytes(await qcow2_bytes(tmp_path))
        yield Hv(up, tmp_path)


async def test_one_line_makes_an_image_of_a_file(hv: Hv) -> None:
    said = await hv("upload", str(hv.folder / "a.qcow2"), "vi/up")
    assert said.out.splitlines()[0] == "virtualimage/up created"
    assert said.out.splitlines()[-1] == "virtualimage/up is Ready"
    assert "Uploaded qcow2" in said.out
    made = await hv.up.phase(READY)
    assert made["status"]["size"]["storedBytes"] == str((hv.folder / "a.qcow2").stat().st_size)


async def test_a_disk_and_an_image_for_all_come_over_tls_too(hv: Hv) -> None:
    where = ["--kubeconfig", str(hv.up.world._settings.kubeconfig_path)]
    await hv("upload", str(hv.folder / "a.qcow2"), "vd/up", "--size", "8Mi", where=where)
    assert (await hv.up.phase(READY, VIRTUAL_DISK))["status"]["capacity"] == "8Mi"
    await hv("upload", str(hv.folder / "a.qcow2"), "cvi/up", where=where)
    await hv.up.phase(READY, CLUSTER_VIRTUAL_IMAGE)


async def test_standard_input_has_no_length(hv: Hv) -> None:
    said = await hv("upload", "-", "vi/up", stdin=(hv.folder / "a.qcow2").read_bytes())
    assert "Ready" in said.out
    assert "sent" in said.err


async def test_an_object_that_waits_takes_it(hv: Hv) -> None:
    await hv.up.make()
    image = str(hv.folder / "a.qcow2")
    refused = await hv("upload", image, "vi/up", "--checksum", "sha256=" + "0" * 64, code=1)
    assert "its spec says otherwise" in refused.err
    said = await hv("upload", image, "virtualimage/up")
    assert "created" not in said.out
    again = await hv("upload", str(hv.folder / "a.qcow2"), "vi/up", code=1)
    assert "is Ready already" in again.err


@pytest.mark.parametrize("checksum", ["sha256=" + "0" * 64])
async def test_a_refusal_is_told_in_a_sentence(hv: Hv, checksum: str) -> None:
    said = await hv("upload", str(hv.folder / "a.qcow2"), "vi/up", "--checksum", checksum, code=1)
    assert "sha256" in said.err
    assert why(await hv.up.phase("Failed"))[0] == "ProvisioningFailedTerminally"
    again = await hv("upload", str(hv.folder / "a.qcow2"), "vi/up", code=1)
    assert "takes no upload, it is Failed" in again.err


async def test_what_cannot_be_sent_makes_no_object(hv: Hv) -> None:
    for arguments, sentence in (
        (("absent", "vi/up"), "No such file"),
        ((str(hv.folder), "vi/up"), "Is a directory"),
        ((str(hv.folder / "a.qcow2"), "vm/up"), "write vi/NAME"),
        ((str(hv.folder / "a.qcow2"), "vi"), "write vi/NAME"),
        ((str(hv.folder / "a.qcow2"), "vi/up", "--size", "1Gi"), "are of disks"),
    ):
        assert sentence in (await hv("upload", *arguments, code=1)).err
    listed = await hv.up.world.store.list(VIRTUAL_IMAGE, "default")
    assert not listed.items


async def test_an_image_of_a_url_or_a_file_takes_one_line(hv: Hv) -> None:
    async with web_server() as source:
        source.routes["/a"] = (hv.folder / "a.qcow2").read_bytes()
        refused = await hv("image", "import", source.url("/a"), "vi/up", code=1)
        assert "is Failed" in refused.err, "loopback is not allowed here"
        again = await hv("image", "import", source.url("/a"), "vi/up", code=1)
        assert "is there already" in again.err
    said = await hv("image", "import", str(hv.folder / "a.qcow2"), "vd/up", "--size", "8Mi")
    assert said.out.splitlines()[-1] == "virtualdisk/up is Ready"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("ftp://h/a", "vi/up"), "write https://"),
        (("docker://a/b", "vi/up", "--checksum", "sha256=0"), "@sha256:"),
        (("https://a/b", "vi/up", "--pull-secret", "s"), "is of a registry"),
        (("a.img", "vi/up", "--pull-secret", "s"), "a file is sent"),
    ],
)
async def test_what_cannot_be_imported_is_told(hv: Hv, arguments: tuple[str, ...], sentence: str) -> None:
    assert sentence in (await hv("image", "import", *arguments, code=1)).err


async def test_a_container_image_is_asked_for_as_it_is_named(hv: Hv) -> None:
    reference = "docker://127.0.0.1:9/images/debian:12"
    await hv("image", "import", reference, "cvi/up", "--pull-secret", "s", "--timeout", "1s", code=1)
    found = (await hv.up.world.store.get(CLUSTER_VIRTUAL_IMAGE, "", "up")).object()
    assert found["spec"]["dataSource"] == {
        "type": "ContainerImage",
        "containerImage": {
            "image": "127.0.0.1:9/images/debian:12",
            "imagePullSecret": {"name": "s", "namespace": "default"},
        },
    }
