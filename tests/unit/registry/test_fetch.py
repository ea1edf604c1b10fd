from __future__ import annotations

import asyncio
import base64
import subprocess
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from hyperd.errors import HyperdError, PermanentError, TemporaryError
from hyperd.settings import Settings
from registry.fetch import open_source
from tests.unit.registry.world import World, settings_in, web_server


async def fetched(world: World, url: str, ca_bundle: str = "") -> bytes:
    return await read(url, world.settings, ca_bundle)


async def read(url: str, settings: Settings, ca_bundle: str = "") -> bytes:
    async with open_source(url, ca_bundle=ca_bundle, settings=settings) as source:
        return b"".join([block async for block in source.blocks])


def redirect(target: str, status: int = 302) -> object:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers={"Location": target})

    return answer


def status(code: int, **headers: str) -> object:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=code, headers=headers, body=b"x")

    return answer


async def test_a_relative_redirect_is_followed(world: World) -> None:
    world.source.routes |= {"/a": redirect("b?x=1"), "/b": b"\x01body"}  # type: ignore[dict-item]
    assert await fetched(world, world.source.url("/a")) == b"\x01body"


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://[::ffff:a9fe:a9fe]/",
        "http://2852039166/",
        "http://[fe80::1]/",
        "http://127.0.0.1:1/",
        "http://localhost:22/",
        "http://10.66.10.7/",
    ],
)
async def test_a_redirect_to_a_forbidden_address_is_refused(world: World, target: str) -> None:
    world.source.routes["/a"] = redirect(target)  # type: ignore[assignment]
    with pytest.raises(PermanentError, match="Images are not fetched from"):
        await fetched(world, world.source.url("/a"))


@pytest.mark.parametrize("target", ["file:///etc/shadow", "ftp://192.0.2.1/x", "gopher://x", "http://", ""])
async def test_a_redirect_to_anything_but_http_is_refused(world: World, target: str) -> None:
    world.source.routes["/a"] = redirect(target)  # type: ignore[assignment]
    with pytest.raises(PermanentError):
        await fetched(world, world.source.url("/a"))


async def test_a_redirect_loop_ends(world: World) -> None:
    world.source.routes["/a"] = redirect("/a")  # type: ignore[assignment]
    with pytest.raises(PermanentError, match="more than 50 times"):
        await fetched(world, world.source.url("/a"))
    assert len(world.source.requests) == 51


@pytest.mark.parametrize(
    "url", ["", "image.qcow2", "file:///etc/shadow", "http://", "http://[::1", "http://h:99999/"]
)
async def test_what_is_no_http_url_is_refused(world: World, url: str) -> None:
    with pytest.raises(PermanentError):
        await fetched(world, url)


@pytest.mark.parametrize("code", [401, 403, 404, 410, 418, 204])
async def test_a_refusal_of_the_source_is_final(world: World, code: int) -> None:
    world.source.routes["/a"] = status(code)  # type: ignore[assignment]
    with pytest.raises(PermanentError, match=f"answers {code}"):
        await fetched(world, world.source.url("/a"))


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503])
async def test_a_busy_source_is_asked_again_when_it_says(world: World, code: int) -> None:
    world.source.routes["/a"] = status(code, **{"Retry-After": "7"})  # type: ignore[assignment]
    with pytest.raises(TemporaryError, match=f"answers {code}") as waits:
        await fetched(world, world.source.url("/a"))
    assert waits.value.delay == 7


async def test_a_silent_source_is_given_up(tmp_path: Path) -> None:
    async def silent(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "100"})
        await response.prepare(request)
        await asyncio.Event().wait()
        return response

    async with web_server() as server:
        server.routes["/a"] = silent
        settings = settings_in(tmp_path, port=server.port, read_timeout_seconds=0.2)
        with pytest.raises(TemporaryError, match="sends too slowly: 0 bytes"):
            await read(server.url("/a"), settings)


async def test_a_source_that_trickles_makes_room_for_others(tmp_path: Path) -> None:
    async def trickling(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "100000"})
        await response.prepare(request)
        while True:
            await response.write(b"x")
            await asyncio.sleep(0.02)

    async with web_server() as server:
        server.routes["/a"] = trickling
        settings = settings_in(tmp_path, port=server.port, read_timeout_seconds=0.2)
        with pytest.raises(TemporaryError, match="sends too slowly"):
            await read(server.url("/a"), settings)


async def test_what_is_not_http_is_not_quoted(tmp_path: Path) -> None:
    async def noise(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x1b]0;evil\x07" * 1000 + b"\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(noise, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(TemporaryError) as refused:
            await read(f"http://127.0.0.1:{port}/a", settings_in(tmp_path, port=port))
    assert str(refused.value) == "127.0.0.1 answers with what is not HTTP."


async def test_a_source_that_is_not_there_is_asked_again(tmp_path: Path) -> None:
    async with web_server() as server:
        url, port = server.url("/a"), server.port
    with pytest.raises(TemporaryError, match="does not answer"):
        async with open_source(url, ca_bundle="", settings=settings_in(tmp_path, port=port)):
            pass


async def test_a_body_is_never_decompressed_for_us(world: World) -> None:
    async def encoded(_: web.Request) -> web.StreamResponse:
        return web.Response(body=b"\x1f\x8bnot really", headers={"Content-Encoding": "gzip"})

    world.source.routes["/a"] = encoded
    assert await fetched(world, world.source.url("/a")) == b"\x1f\x8bnot really"


async def test_a_password_in_the_url_is_in_no_sentence(world: World) -> None:
    url = f"http://user:hunter2@127.0.0.1:{world.source.port}/missing?token=hunter2"
    with pytest.raises(HyperdError) as refused:
        await fetched(world, url)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "bundle", ["%%%", base64.b64encode(b"not pem").decode(), base64.b64encode(b"\xff").decode()]
)
async def test_a_ca_bundle_that_is_none_is_refused(world: World, bundle: str) -> None:
    with pytest.raises(PermanentError, match="caBundle"):
        await fetched(world, world.source.url("/a"), bundle)


@pytest.mark.parametrize(
    "comment",
    [b"", "# Prüfstelle, Москва\n".encode(), "# Prüfstelle\n".encode("latin-1"), b"\xef\xbb\xbf", b"\0\xff\n"],
)
@pytest.mark.parametrize("wrapped", [False, True])
async def test_a_ca_bundle_may_have_comments_in_any_encoding(
    world: World, certificate: bytes, comment: bytes, wrapped: bool
) -> None:
    world.source.routes["/a"] = b"\x01body"
    bundle = comment + certificate + comment + certificate
    encoded = base64.encodebytes(bundle) if wrapped else base64.b64encode(bundle)
    assert await fetched(world, world.source.url("/a"), encoded.decode()) == b"\x01body"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("ca")
    arguments = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=test"]
    files: list[str | Path] = ["-keyout", folder / "key", "-out", folder / "certificate"]
    subprocess.run(["openssl", "req", *arguments, *files], check=True, capture_output=True)
    return (folder / "certificate").read_bytes()


@pytest.mark.parametrize("error", [ConnectionResetError("ours"), aiohttp.ClientConnectionError("ours")])
async def test_what_fails_in_the_hands_of_who_reads_is_not_the_sources_fault(
    world: World, error: Exception
) -> None:
    world.source.routes["/a"] = b"\x01body"

    async def read_and_fail() -> None:
        async with open_source(world.source.url("/a"), ca_bundle="", settings=world.settings) as source:
            async for _ in source.blocks:
                raise error

    with pytest.raises(type(error), match="ours"):
        await read_and_fail()
