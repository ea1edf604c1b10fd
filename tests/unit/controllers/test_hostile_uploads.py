"""Uploads of people who mean harm, or whose programs do: byte for byte over the socket of a whole daemon."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hyperd.api.limits import fairness
from hyperd.resources.all import VIRTUAL_IMAGE
from hyperd.store.interface import User
from tests.unit.controllers.uploading import FAILED, WAITS, Uploading, path_of, uploading, why
from tests.unit.registry.world import qcow2_bytes

LIMITS = {"read_timeout_seconds": 1.0, "max_download_bytes": 4 << 20}


@pytest.fixture
async def up() -> AsyncIterator[Uploading]:
    async with uploading(imports=LIMITS) as found:
        yield found


async def said(up: Uploading, *pieces: bytes, close: bool = False) -> str:
    """What is answered to ``pieces``; empty where there is no answer."""
    reader, writer = await asyncio.open_unix_connection(str(up.world._settings.socket_path))
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        if close:
            return ""
        async with asyncio.timeout(20):
            return (await reader.read(65536)).decode(errors="replace")
    except ConnectionError:
        return ""
    finally:
        writer.close()


def put(path: str, *headers: str) -> bytes:
    return "\r\n".join([f"PUT {path} HTTP/1.1", "Host: h", *headers, "", ""]).encode()


async def waits_again(up: Uploading, path: str, *, words: str) -> None:
    """The object waits at the same address, says why, and nothing is left."""
    found = await up.world.until(
        lambda obj: obj["status"]["phase"] == WAITS and words in why(obj)[1], VIRTUAL_IMAGE, "up"
    )
    assert path_of(found) == path
    assert await up.leftovers() == []


async def test_a_length_that_is_a_lie(up: Uploading, tmp_path: Path) -> None:
    path, image = path_of(await up.make()), await qcow2_bytes(tmp_path)
    await said(up, put(path, f"Content-Length: {len(image) + 9}"), image, close=True)
    await waits_again(up, path, words="broke off")
    # Fewer bytes than come: the rest is another request, and no good one.
    short = len(image) - 70_000
    answer = await said(up, put(path, f"Content-Length: {short}"), image)
    assert answer.startswith("HTTP/1.1 422"), answer
    assert "cut short" in answer
    assert why(await up.phase(FAILED))[0] == "ProvisioningFailedTerminally"
    assert await up.leftovers() == []


async def test_a_sender_that_stalls_gives_its_place_back(up: Uploading, tmp_path: Path) -> None:
    made, image = await up.make(), await qcow2_bytes(tmp_path)
    path = path_of(made)
    answer = await said(up, put(path, f"Content-Length: {len(image)}"), image[:3000])
    assert answer.startswith("HTTP/1.1 503"), answer
    assert "sends too slowly" in answer
    await waits_again(up, path, words="too slowly")
    assert (await up.put(made, image))[0] == 200


async def test_chunks_of_nothing_much(up: Uploading) -> None:
    path = path_of(await up.make())
    answer = await said(up, put(path, "Transfer-Encoding: chunked"), b"1\r\nx\r\n" * 9000)
    assert answer.startswith("HTTP/1.1 503"), answer
    assert "send larger ones" in answer
    await waits_again(up, path, words="larger ones")


async def test_messages_of_nothing_much(up: Uploading) -> None:
    path = path_of(await up.make())
    async with await up.socket() as socket:
        for _ in range(2000):
            await socket.send_bytes(b"xy")
        status = await socket.receive_json(timeout=20)
    assert (status["code"], status["message"].partition(" in ")[2]) == (
        503,
        "messages of a few bytes; send larger ones.",
    )
    await waits_again(up, path, words="larger ones")


@pytest.mark.parametrize(
    "rest", [b"zz\r\nnot a chunk\r\n", b"5\r\nhello", b"ffffffffffffffff\r\n"], ids=["no-size", "cut", "huge"]
)
async def test_chunks_that_are_broken(up: Uploading, rest: bytes) -> None:
    path = path_of(await up.make())
    await said(up, put(path, "Transfer-Encoding: chunked"), b"3\r\nQFI\r\n" + rest, close=True)
    async with asyncio.timeout(20):
        while (await up.put({"status": {"imageUploadURLs": {"external": path, "inCluster": path}}}, b""))[
            0
        ] == 503:
            await asyncio.sleep(0.05)
    found = (await up.world.store.get(VIRTUAL_IMAGE, "default", "up")).object()
    assert path_of(found) == path
    assert await up.leftovers() == []


async def test_more_than_is_taken(up: Uploading) -> None:
    made = await up.make()
    path = path_of(made)
    answer = await said(up, put(path, f"Content-Length: {5 << 20}", "Expect: 100-continue"))
    assert answer.startswith("HTTP/1.1 413"), answer
    assert (await up.phase(WAITS))["status"]["imageUploadURLs"] == made["status"]["imageUploadURLs"]
    chunk = b"%x\r\n" % (1 << 20) + b"\xeb\x63\x90" + bytes((1 << 20) - 3) + b"\r\n"
    answer = await said(up, put(path, "Transfer-Encoding: chunked"), *[chunk] * 6)
    assert "max_download_bytes" in answer
    assert why(await up.phase(FAILED))[0] == "ProvisioningFailedTerminally"
    assert await up.leftovers() == []


async def test_an_encoding_that_is_not_undone(up: Uploading) -> None:
    made = await up.make()
    status, text = await up.put(made, b"\x0b" + bytes(range(256)) * 300, headers={"Content-Encoding": "br"})
    assert status == 422, text
    assert await up.leftovers() == []


async def test_guessing(up: Uploading) -> None:
    made = await up.make()
    path = path_of(made)
    for wrong in (path[:-1], f"{path}0", f"{path}/", "/upload/", f"{path}%00", path.upper(), f"/upload/../{path}"):
        answer = await said(up, put(wrong, "Content-Length: 1"), b"x")
        assert answer[:12] in ("HTTP/1.1 404", "HTTP/1.1 503"), (wrong, answer)
        assert "Status" not in answer or wrong.startswith("/upload/..") or wrong == path.upper()
    assert (await up.phase(WAITS))["status"]["imageUploadURLs"] == made["status"]["imageUploadURLs"]


async def test_uploads_of_many_objects_count_for_their_namespace(up: Uploading) -> None:
    shares = up.world._daemon._api.fairness
    shares.sessions = fairness._held_long("sessions", 8)
    spec = {"storage": "ContainerRegistry", "dataSource": {"type": "Upload"}}
    senders, refused = [], 0
    try:
        for number in range(8):
            name = f"up{number}"
            await up.world.store.create(VIRTUAL_IMAGE, "default", {"metadata": {"name": name}, "spec": spec})
            path = path_of(await up.world.phase(WAITS, VIRTUAL_IMAGE, name))
            reader, writer = await asyncio.open_unix_connection(str(up.world._settings.socket_path))
            senders.append(writer)
            writer.write(put(path, "Content-Length: 100000", "Expect: 100-continue"))
            held = shares.sessions.lent
            async with asyncio.timeout(20):
                while shares.sessions.lent == held and not refused:
                    refused = shares.sessions.refused
                    await asyncio.sleep(0.01)
            if refused:
                assert (await reader.read(65536)).startswith(b"HTTP/1.1 429")
                break
        assert refused
        for _ in range(4):
            shares.session(User("somebody-else"), "console")
    finally:
        for writer in senders:
            writer.close()
