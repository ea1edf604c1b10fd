"""Uploads into a whole daemon, by curl's way and by the WebSocket, and what its object shows meanwhile."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest

from hyperd import clock
from hyperd.api.access.tokens import Grant, Tokens
from hyperd.resources.all import CLUSTER_VIRTUAL_IMAGE, VIRTUAL_DISK, VIRTUAL_IMAGE
from hyperd.resources.schema.kind import Kind
from hyperd.roles import Role
from hyperd.store.interface import BY_SYSTEM, PatchType
from tests.unit.controllers.uploading import (
    FAILED,
    OBJECTS,
    PROVISIONING,
    READY,
    SUBRESOURCES,
    WAITS,
    Uploading,
    path_of,
    uploading,
    why,
)
from tests.unit.registry.world import qcow2_bytes


@pytest.fixture
async def up() -> AsyncIterator[Uploading]:
    async with uploading() as found:
        yield found


KINDS = pytest.mark.parametrize(
    "kind", [VIRTUAL_IMAGE, CLUSTER_VIRTUAL_IMAGE, VIRTUAL_DISK], ids=lambda k: k.plural
)


@KINDS
@pytest.mark.parametrize("method", ["PUT", "POST"])
async def test_one_request_makes_it_ready(up: Uploading, tmp_path: Path, kind: Kind, method: str) -> None:
    image = await qcow2_bytes(tmp_path)
    made = await up.make(kind, sha256=hashlib.sha256(image).hexdigest())
    reason, message = why(made)
    assert reason == WAITS
    assert f"hv upload FILE {kind.short_names[0]}/up" in message
    assert made["status"]["progress"] == "0%"
    secret = path_of(made).rpartition("/")[2]
    assert (len(secret), secret.isalnum()) == (32, True)
    assert secret not in message
    status, text = await up.put(made, image, method)
    assert status == 200, text
    assert "Uploaded qcow2" in text
    assert f"{kind.kind} " in text
    done = await up.phase(READY, kind)
    assert "imageUploadURLs" not in done["status"]
    assert done["status"]["progress"] == "100%"
    if kind is not VIRTUAL_DISK:
        assert done["status"]["size"]["storedBytes"] == str(len(image))
    assert (await up.put(made, image))[0] == 404


@KINDS
async def test_a_websocket_makes_it_ready(up: Uploading, tmp_path: Path, kind: Kind) -> None:
    image = await qcow2_bytes(tmp_path)
    await up.make(kind)
    async with await up.socket(kind, size=len(image)) as socket:
        for at in range(0, len(image), 100_000):
            await socket.send_bytes(image[at : at + 100_000])
        await socket.send_bytes(b"")
        answer = await socket.receive_json()
        assert (answer["status"], "Uploaded qcow2" in answer["message"]) == ("Success", True)
        assert (await socket.receive()).data == 1000
    await up.phase(READY, kind)
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await up.socket(kind)
    assert refused.value.status == 409


async def test_one_that_breaks_off_can_be_sent_again_to_the_same_address(up: Uploading, tmp_path: Path) -> None:
    image = await qcow2_bytes(tmp_path)
    made = await up.make()

    async def half() -> AsyncIterator[bytes]:
        yield image[: len(image) // 2]
        await up.phase(PROVISIONING)
        raise ConnectionResetError

    with pytest.raises(aiohttp.ClientError):
        await up.put(made, half(), headers={"Content-Length": str(len(image))})
    again = await up.world.until(lambda obj: "broke off" in why(obj)[1], VIRTUAL_IMAGE, "up")
    assert (again["status"]["phase"], why(again)[0]) == (WAITS, WAITS)
    assert path_of(again) == path_of(made)
    assert await up.leftovers() == []
    async with await up.socket(size=len(image)) as socket:
        await socket.send_bytes(image[:1000])
    await up.world.until(lambda obj: obj["status"]["phase"] == WAITS, VIRTUAL_IMAGE, "up")
    while True:
        status, text = await up.put(made, image)
        if status != 503:
            break
    assert status == 200, text
    await up.phase(READY)


async def test_only_one_at_a_time(up: Uploading, tmp_path: Path) -> None:
    image, go_on = await qcow2_bytes(tmp_path), asyncio.Event()
    made = await up.make()

    async def slowly() -> AsyncIterator[bytes]:
        yield image[:200_000]
        await go_on.wait()
        yield image[200_000:]

    first = asyncio.create_task(up.put(made, slowly()))
    await up.phase(PROVISIONING)
    status, text = await up.put(made, image)
    assert (status, "one is taken at a time" in text) == (503, True)
    async with await up.socket() as socket:
        assert (await socket.receive_json())["code"] == 503
    go_on.set()
    assert (await first)[0] == 200


@pytest.mark.parametrize(
    ("data", "sentence"),
    [(b"not an image\n" * 9999, "text file"), (b"<html><body>" + bytes(70_000), "web page")],
    ids=["text", "page"],
)
@KINDS
async def test_what_is_no_image_is_told_to_both(up: Uploading, kind: Kind, data: bytes, sentence: str) -> None:
    made = await up.make(kind)
    status, text = await up.put(made, data)
    assert (status, sentence in text) == (422, True)
    failed = await up.phase(FAILED, kind)
    reason, message = why(failed)
    assert (reason, sentence in message) == ("ProvisioningFailedTerminally", True)
    assert "imageUploadURLs" not in failed["status"]
    assert (await up.put(made, data))[0] == 404
    assert await up.leftovers() == []


async def test_a_wrong_checksum_is_told_to_both(up: Uploading, tmp_path: Path) -> None:
    made = await up.make(sha256="0" * 64)
    status, text = await up.put(made, await qcow2_bytes(tmp_path))
    assert (status, "sha256" in text) == (422, True)
    assert why(await up.phase(FAILED))[0] == "ProvisioningFailedTerminally"


async def test_nobody_sends_anything() -> None:
    async with uploading(imports={"upload_timeout_seconds": 1.0}) as up:
        made = await up.make()
        failed = await up.phase(FAILED)
        assert why(failed)[0] == "WaitForUserUploadTimeout"
        assert "imageUploadURLs" not in failed["status"]
        assert (await up.put(made, b"x"))[0] == 404


async def test_a_restart_waits_again_at_the_same_address(up: Uploading, tmp_path: Path) -> None:
    made = await up.make()
    sending = asyncio.create_task(up.put(made, iter_slowly(await qcow2_bytes(tmp_path))))
    await up.phase(PROVISIONING)
    await up.world.restart()
    with suppress(aiohttp.ClientError):
        assert (await sending)[0] == 503
    again = await up.phase(WAITS)
    assert path_of(again) == path_of(made)
    assert (await up.put(made, await qcow2_bytes(tmp_path)))[0] == 200


async def iter_slowly(image: bytes) -> AsyncIterator[bytes]:
    yield image[:200_000]
    await asyncio.sleep(30)


async def test_a_change_of_the_spec_makes_another_address(up: Uploading, tmp_path: Path) -> None:
    made, image = await up.make(), await qcow2_bytes(tmp_path)
    checksum = {"sha256": hashlib.sha256(image).hexdigest()}
    patch = {"spec": {"dataSource": {"upload": {"checksum": checksum}}}}
    await up.world.store.patch(VIRTUAL_IMAGE, "default", "up", PatchType.MERGE, patch)
    again = await up.world.until(
        lambda obj: obj["status"].get("observedGeneration") == 2 and obj["status"]["phase"] == WAITS,
        VIRTUAL_IMAGE,
        "up",
    )
    assert path_of(again) != path_of(made)
    assert (await up.put(made, image))[0] == 404
    assert (await up.put(again, image))[0] == 200


@KINDS
async def test_a_deleted_object_takes_nothing(up: Uploading, tmp_path: Path, kind: Kind) -> None:
    made = await up.make(kind)
    sending = asyncio.create_task(up.put(made, iter_slowly(await qcow2_bytes(tmp_path))))
    await up.phase(PROVISIONING, kind)
    await up.world.store.delete(kind, "default" if kind.namespaced else "", "up")
    status, text = await sending
    assert (status, "no longer taken" in text) == (503, True)
    assert (await up.put(made, b"x"))[0] == 404
    assert await up.leftovers() == []


async def test_a_request_that_cannot_be_right_changes_nothing() -> None:
    async with uploading(imports={"max_download_bytes": 1_000_000}) as up:
        made = await up.make()
        form = aiohttp.FormData()
        form.add_field("file", b"x" * 1000, filename="a.img")
        for code, data, headers in (
            (415, form, {}),
            (400, b"", {}),
            (400, b"x", {"Content-Range": "bytes 0-0/10"}),
            (413, bytes(1_000_001), {}),
        ):
            assert (await up.put(made, data, headers=headers))[0] == code
        for method, code in (("GET", 200), ("DELETE", 404), ("PATCH", 404), ("HEAD", 404)):
            assert (await up.put(made, None, method))[0] == code
        async with up.client.put("http://h/upload/" + "0" * 32, data=b"x") as answer:
            assert answer.status == 503, "a moment after the start"
        found = (await up.world.store.get(VIRTUAL_IMAGE, "default", "up")).object()
        assert (found["status"]["phase"], path_of(found)) == (WAITS, path_of(made))


async def test_who_may_only_look_can_not_upload(up: Uploading, tmp_path: Path) -> None:
    made, image = await up.make(), await qcow2_bytes(tmp_path)
    for role, allowed in ((Role.VIEWER, False), (Role.OPERATOR, False), (Role.EDITOR, True)):
        grant = Grant(role, (), clock.wall() + 3600)
        token, _ = await Tokens(up.world.store).create(f"my-{role}", grant, write=BY_SYSTEM)
        headers = {"Authorization": f"Bearer {token}"}
        async with up.client.get(f"{OBJECTS}/namespaces/default/virtualimages/up", headers=headers) as answer:
            seen = await answer.json()
        assert (path_of(made) in str(seen)) is allowed
        url = f"{SUBRESOURCES}/namespaces/default/virtualimages/up/upload?size={len(image)}"
        if allowed:
            async with up.client.ws_connect(url, headers=headers) as socket:
                await socket.send_bytes(image)
                await socket.send_bytes(b"")
                assert (await socket.receive_json())["status"] == "Success"
        else:
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await up.client.ws_connect(url, headers=headers)
            assert refused.value.status == 403


async def test_over_tls_the_address_is_all_that_is_asked(up: Uploading, tmp_path: Path) -> None:
    made, image = await up.make(), await qcow2_bytes(tmp_path)
    context = ssl.create_default_context(cafile=str(up.world._settings.pki_dir / "ca.crt"))
    async with (
        aiohttp.ClientSession() as stranger,
        stranger.put(made["status"]["imageUploadURLs"]["external"], data=image, ssl=context) as answer,
    ):
        assert answer.status == 200
    await up.world.stop()
    log = (up.world._settings.log_dir / "audit.log").read_text()
    assert path_of(made).rpartition("/")[2] not in log
    assert '"upload"' in log
