"""The client against a real registry, and against one that lies, stalls or is full."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp import web

from hyperd.errors import HyperdError, NotFound, PermanentError, ServiceUnavailable, TemporaryError
from registry import tree
from registry.client import RegistryClient, digest_of
from registry.models import RegistryEndpoint
from tests.unit.registry.world import WebServer, World, settings_in, web_server

NO_SPACE = (
    b'{"errors":[{"code":"UNKNOWN","detail":{"DriverName":"filesystem","Enclosed":{"Op":"write","Err":28}}}]}'
)


@pytest.fixture
async def evil() -> AsyncIterator[WebServer]:
    async with web_server() as server:
        yield server


@pytest.fixture
async def client(evil: WebServer, tmp_path: Path) -> AsyncIterator[RegistryClient]:
    endpoint = RegistryEndpoint(evil.url(""), "user", "hunter2")
    made = RegistryClient(endpoint, settings_in(tmp_path, read_timeout_seconds=0.3))
    yield made
    await made.close()


def answering(status: int, body: bytes = b"", **headers: str) -> Callable[[web.Request], object]:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, body=body, headers={k.replace("_", "-"): v for k, v in headers.items()})

    return answer


async def test_a_blob_reads_back_and_an_unknown_one_is_not_found(world: World) -> None:
    digest = await world.client.put_blob("vi/ns/a", b"hello")
    assert digest == digest_of(b"hello")
    assert await world.client.get_blob("vi/ns/a", digest) == b"hello"
    with pytest.raises(NotFound):
        await world.client.get_blob("vi/ns/a", digest_of(b"other"))


async def test_tags_and_repositories_come_page_by_page(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.client._PAGE", 2)
    world.source.routes["/a"] = b"\x01" * 5000
    for number in range(5):
        await world.load("/a", uid=f"u{number}", name=f"i{number}")
    assert await world.client.catalog() == [f"vi/ns/i{number}" for number in range(5)]
    assert await world.client.tags("vi/ns/i0") == ["u0"]
    assert await world.client.tags("vi/ns/none") == []


async def test_a_reference_exists_only_in_its_own_registry(world: World) -> None:
    world.source.routes["/a"] = b"\x01" * 5000
    got = await world.load("/a")
    assert await world.client.exists(got.reference)
    assert not await world.client.exists(got.reference + "x")
    assert not await world.client.exists("elsewhere.example/vi/ns/image:u1")
    assert not await world.client.exists("nonsense")


async def test_a_prefix_of_the_endpoint_is_put_before_every_repository(world: World) -> None:
    endpoint = RegistryEndpoint(
        f"{world.server.endpoint.url}/team",
        socket=world.server.endpoint.socket,
        tokens=world.server.endpoint.tokens,
    )
    client = RegistryClient(endpoint, world.settings)
    try:
        digest = await client.put_blob("vi/a", b"x")
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": 1},
            "layers": [],
        }
        await client.put_manifest("vi/a", "u1", json.dumps(manifest).encode())
        assert await client.catalog() == ["vi/a"]
        assert await world.client.catalog() == ["team/vi/a"]
        assert await client.exists(endpoint.reference("vi/a", "u1"))
    finally:
        await client.close()


async def test_what_fails_in_the_hands_of_who_reads_a_blob_is_not_the_registrys_fault(world: World) -> None:
    digest = await world.client.put_blob("vi/ns/a", b"hello")

    async def read_and_fail() -> None:
        async with world.client.open_blob("vi/ns/a", digest) as blocks:
            async for _ in blocks:
                raise OSError("our disk")

    with pytest.raises(OSError, match="disk"):
        await read_and_fail()


async def test_an_upload_that_ends_without_a_commit_leaves_no_trace(world: World) -> None:
    with pytest.raises(ValueError, match="mine"):
        await fail_while_sending(world.client)
    assert await asyncio.to_thread(tree.uploads, world.settings.registry_dir) == []


async def fail_while_sending(client: RegistryClient) -> None:
    async with client.upload("vi/ns/a") as upload:
        for _ in range(20):
            await upload.send(bytes(1 << 20))
        raise ValueError("mine")


async def test_a_wrong_digest_is_refused_and_leaves_no_trace(world: World) -> None:
    with pytest.raises(HyperdError, match="400"):
        await commit_wrongly(world.client)
    assert await asyncio.to_thread(tree.uploads, world.settings.registry_dir) == []


async def commit_wrongly(client: RegistryClient) -> None:
    async with client.upload("vi/ns/a") as upload:
        await upload.send(b"x")
        await upload.commit(digest_of(b"y"))


async def test_a_registry_that_dies_under_an_upload_is_unavailable(world: World) -> None:
    with pytest.raises(ServiceUnavailable):
        await send_until_it_fails(world)
    async with world.server.stopped():
        pass
    assert await asyncio.to_thread(tree.uploads, world.settings.registry_dir) == []


async def send_until_it_fails(world: World) -> None:
    async with world.client.upload("vi/ns/a") as upload:
        await upload.send(bytes(1 << 20))
        assert world.server._process is not None
        world.server._process._signal(9)
        for _ in range(1000):
            await upload.send(bytes(1 << 20))


@pytest.mark.parametrize(
    ("answer", "error", "sentence"),
    [
        (answering(500), ServiceUnavailable, "answers 500"),
        (answering(429, Retry_After="5"), ServiceUnavailable, "answers 429"),
        (answering(500, NO_SPACE), TemporaryError, "no space left"),
        (answering(401, WWW_Authenticate='Bearer realm="http://169.254.169.254/"'), TemporaryError, "credentials"),
        (answering(403), TemporaryError, "credentials"),
        (answering(200, b"not json"), PermanentError, "not JSON"),
        (answering(200, b"[]"), PermanentError, "not an object"),
        (answering(200, b" " * (5 << 20)), PermanentError, "more than"),
        (answering(404), NotFound, "has no"),
    ],
    ids=["500", "429", "full", "hostile realm", "403", "garbage", "list", "endless", "404"],
)
async def test_every_bad_answer_has_its_error(
    evil: WebServer, client: RegistryClient, answer: object, error: type[HyperdError], sentence: str
) -> None:
    evil.routes["*"] = answer  # type: ignore[assignment]
    with pytest.raises(error, match=sentence):
        await client.manifest("vi/a", "u1")


@pytest.mark.parametrize(
    ("body", "names"),
    [(b"{}", []), (b'{"tags": null}', []), (b'{"tags": {"a": 1}}', []), (b'{"tags": ["a", 1, null]}', ["a"])],
)
async def test_what_is_no_name_in_a_list_is_none(
    evil: WebServer, client: RegistryClient, body: bytes, names: list[str]
) -> None:
    evil.routes["*"] = answering(200, body)  # type: ignore[assignment]
    assert await client.tags("vi/a") == names


async def test_a_list_that_is_none_or_never_ends_is_refused(
    evil: WebServer, client: RegistryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    evil.routes["*"] = answering(200, b"[")  # type: ignore[assignment]
    with pytest.raises(PermanentError, match="is not JSON"):
        await client.catalog()
    monkeypatch.setattr("registry.client._MAX_PAGES", 3)
    more = answering(200, b'{"tags": ["a"]}', Link='</v2/vi/a/tags/list?last=a>; rel="next"')
    evil.routes["*"] = more  # type: ignore[assignment]
    with pytest.raises(PermanentError, match="more than 3 pages"):
        await client.tags("vi/a")


async def test_a_hanging_registry_is_given_up(evil: WebServer, client: RegistryClient) -> None:
    async def hang(_: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    evil.routes["*"] = hang
    with pytest.raises(ServiceUnavailable, match="does not answer"):
        await client.ping()


async def test_a_flipped_byte_is_noticed(evil: WebServer, client: RegistryClient) -> None:
    evil.routes["*"] = b"hellp"
    with pytest.raises(TemporaryError, match="damaged"):
        await client.get_blob("vi/a", digest_of(b"hello"))


async def test_credentials_do_not_follow_a_redirect(evil: WebServer, client: RegistryClient) -> None:
    seen: list[str | None] = []

    async def store(request: web.Request) -> web.StreamResponse:
        seen.append(request.headers.get("Authorization"))
        return web.Response(body=b"hello")

    async def registry(request: web.Request) -> web.StreamResponse:
        seen.append(request.headers.get("Authorization"))
        return web.Response(status=307, headers={"Location": f"http://localhost:{evil.port}/store"})

    evil.routes |= {"*": registry, "/store": store}
    assert await client.get_blob("vi/a", digest_of(b"hello")) == b"hello"
    assert seen[0] is not None
    assert seen[1] is None


async def test_an_upload_stays_on_the_registry_whatever_its_answer_says(
    evil: WebServer, client: RegistryClient
) -> None:
    evil.routes["*"] = answering(202, Location="http://169.254.169.254/v2/vi/a/blobs/uploads/1?_state=x")  # type: ignore[assignment]
    async with client.upload("vi/a") as upload:
        assert upload._location.host == "127.0.0.1"
    evil.routes["*"] = answering(202, Location="http://169.254.169.254/latest")  # type: ignore[assignment]
    with pytest.raises(PermanentError, match="no usable upload address"):
        async with client.upload("vi/a"):
            pass


@pytest.mark.parametrize("digest", ["", "sha256:../../etc", "sha256:" + "A" * 64, "md5:" + "0" * 32])
async def test_nothing_but_a_digest_goes_into_a_path(client: RegistryClient, digest: str) -> None:
    with pytest.raises(PermanentError, match="digest"):
        await client.get_blob("vi/a", digest)


@pytest.mark.parametrize("repository", ["", "../x", "a//b/", "A", "a?b", "a b"])
async def test_nothing_but_a_repository_goes_into_a_path(client: RegistryClient, repository: str) -> None:
    with pytest.raises(PermanentError, match="not the name of a repository"):
        await client.tags(repository)


async def test_a_full_disk_under_an_upload_is_named(evil: WebServer, client: RegistryClient) -> None:
    async def registry(request: web.Request) -> web.StreamResponse:
        if request.method == "POST":
            return web.Response(status=202, headers={"Location": "/v2/vi/a/blobs/uploads/1"})
        return web.Response(status=500, body=NO_SPACE)

    evil.routes["*"] = registry
    with pytest.raises(TemporaryError, match="no space left"):
        await client.put_blob("vi/a", b"x")
