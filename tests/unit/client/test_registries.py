"""Registries that do not do what they say, as ``hv image push`` and ``hv disk backup`` meet them."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from hyperd.client import ociwire
from hyperd.client.home import Home
from hyperd.client.http1 import Connection, ConnectionLost
from hyperd.client.oci import BlobUpload, Repository, digest_of
from hyperd.errors import BadRequest, HyperdError, PermanentError
from tests.unit.cli.registry import served

CONTENT = b"disk" * 1000


class Registry:
    """Keeps what it gets, but for what a test has it do instead."""

    def __init__(self) -> None:
        self.host = ""
        self.kept: dict[str, bytes] = {}
        self.coming = b""
        self.instead: dict[str, Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]] = {}
        """By method and the kind of what is asked for, as ``PUT manifests``."""

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.content.read()
        name = request.path.rpartition("/")[2]
        kind = next(
            (kind for kind in ("uploads", "blobs", "manifests") if f"/{kind}/" in request.path), "elsewhere"
        )
        if (special := self.instead.get(f"{request.method} {kind}") or self.instead.get("")) is not None:
            return await special(request)
        if request.method == "POST":
            self.coming = b""
            return web.Response(status=202, headers={"Location": "/v2/a/blobs/uploads/session"})
        if request.method == "PATCH":
            self.coming += body
            return web.Response(status=202, headers={"Location": "/v2/a/blobs/uploads/session"})
        if request.method == "PUT":
            content, self.coming = body or self.coming, b""
            self.kept[digest_of(content)] = self.kept[name] = content
            return web.Response(status=201)
        if name not in self.kept:
            return web.Response(status=404)
        return web.Response(body=self.kept[name])


@asynccontextmanager
async def registry() -> AsyncIterator[Registry]:
    made = Registry()
    async with served(made) as made.host:
        yield made


def pushed(host: str) -> str:
    to = Repository(f"{host}/a:1", plain=True)
    try:
        upload = BlobUpload(to)
        upload.write(CONTENT)
        blob = upload.commit()
        return to.put_manifest({"layers": [blob.described("text/plain")]})
    finally:
        to.close()


def says(status: int, **headers: str) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(
            status=status, headers={key.replace("_", "-"): value for key, value in headers.items()}
        )

    return answer


@pytest.fixture(autouse=True)
def no_logins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("REGISTRY_AUTH_FILE", raising=False)


async def refusal(host: str) -> str:
    with pytest.raises(HyperdError) as caught:
        await asyncio.to_thread(pushed, host)
    return caught.value.message


async def test_what_is_kept_is_pushed() -> None:
    async with registry() as there:
        assert await asyncio.to_thread(pushed, there.host) == digest_of(there.kept["1"])
        assert CONTENT in there.kept.values()


@pytest.mark.parametrize(
    ("what", "status", "sentence"),
    [
        ("", 307, "answers 307 and sends hv elsewhere, which is not gone after: name the registry that keeps it."),
        ("POST uploads", 301, "answers 301 and sends hv elsewhere"),
        ("PATCH uploads", 308, "answers 308 and sends hv elsewhere"),
        ("PUT uploads", 303, "answers 303 and sends hv elsewhere"),
        ("PUT manifests", 302, "answers 302 and sends hv elsewhere"),
        ("POST uploads", 200, "answers 200 to a POST, as no registry does."),
        ("PATCH uploads", 304, "answers 304 to a PATCH, as no registry does."),
        ("PUT manifests", 204, "answers 204 to a PUT, as no registry does."),
    ],
)
async def test_only_the_answer_that_says_so_is_success(what: str, status: int, sentence: str) -> None:
    async with registry() as there:
        there.instead[what] = says(status, Location="/v2/a/blobs/uploads/session")
        assert sentence in await refusal(there.host)


async def test_what_a_registry_only_says_it_keeps_is_told() -> None:
    async with registry() as there:
        there.instead["PUT uploads"] = says(201)
        assert await refusal(there.host) == (
            f"{there.host} said that it keeps {digest_of(CONTENT)}, and does not have all of it."
        )
        there.instead = {"PUT uploads": says(201, Docker_Content_Digest=digest_of(b"other"))}
        assert await refusal(there.host) == f"{there.host} has taken {digest_of(CONTENT)} for something else."
        there.instead = {"PUT manifests": says(201)}
        assert await refusal(there.host) == f"{there.host} said that it keeps a:1, and has something else."


async def test_blobs_may_be_kept_with_somebody_else() -> None:
    async with registry() as storage, registry() as there:
        storage.kept[digest_of(CONTENT)] = CONTENT
        url = f"http://{storage.host}/{digest_of(CONTENT)}"
        there.instead = {"HEAD blobs": says(307, Location=url), "GET blobs": says(307, Location=url)}

        async def part(_: web.BaseRequest) -> web.StreamResponse:
            return web.Response(status=206, body=CONTENT[:1])

        # Signed for GET: a HEAD is refused.
        storage.instead = {"HEAD elsewhere": says(403), "GET elsewhere": part}
        await asyncio.to_thread(pushed, there.host)
        storage.instead["GET elsewhere"] = says(404)
        with pytest.raises(PermanentError, match="does not have all of it"):
            await asyncio.to_thread(pushed, there.host)


async def test_an_answer_that_trickles_in_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ociwire, "_SECONDS", 0.3)
    kept = asyncio.Event()

    async def trickle(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(status=202, headers={"Location": "/v2/x"})
        await response.prepare(request)
        while not kept.is_set():
            await response.write(b"x")
            await asyncio.sleep(0.02)
        return response

    async with registry() as there:
        for what in ("POST uploads", "GET manifests"):
            there.instead = {what: trickle}
            assert await refusal(there.host) == (
                f"The registry {there.host} cannot be reached: its answer trickles in."
            )
        kept.set()


METADATA = "http://169.254.169.254/latest/meta-data?x=1"


def wants(realm: str) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
    return says(401, WWW_Authenticate=f'Bearer realm="{realm}",service="x"')


@pytest.mark.parametrize(
    ("realm", "sentence"),
    [
        (METADATA, "sends hv to 169.254.169.254, which is inside of this host, and not asked for it."),
        ("http://[::ffff:169.254.169.254]/", "sends hv to [::ffff:169.254.169.254], which is inside of this host"),
        ("http://\xe9\x9b.example:1/token", "names as its token server is no address."),
        ("http://[::1/token", "names as its token server is no address."),
        ("http://a b.example/token", "names as its token server is no address."),
        ("http://user@127.0.0.1/token", "names as its token server is no address."),
        ("http://127.0.0.1:99999/token", "names as its token server is no address."),
        ("http://a..example/token", "The token server a..example cannot be reached: a..example is no address."),
        ("ftp://127.0.0.1/token", "names no token server that is reached over https."),
    ],
)
async def test_a_token_server_is_asked_where_it_may_be(realm: str, sentence: str) -> None:
    async with registry() as there:
        there.instead[""] = wants(realm)
        assert sentence in await refusal(there.host)


@pytest.mark.parametrize(
    "inside", ["127.0.0.1", "::1", "0.0.0.0", "::ffff:127.0.0.1", "169.254.1.1", "fe80::1%lo", "fd00:ec2::254"]
)
def test_a_name_that_leads_inside_is_not_asked(inside: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry is outside; of a name's addresses any may be taken."""
    known = {"registry.example": ["203.0.113.5"], "token.example": ["203.0.113.6", inside]}

    def resolved(name: str, port: int, **_: object) -> object:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (where, port)) for where in known[name]]

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    with pytest.raises(PermanentError, match=r"^registry\.example:5000 sends hv to token\.example:443, which is"):
        ociwire.connect("token.example:443", plain=False, named_by="registry.example:5000")


async def test_blobs_are_fetched_from_nowhere_inside() -> None:
    async with registry() as there:
        there.instead = {"HEAD blobs": says(307), "GET blobs": says(307, Location=METADATA)}
        assert "sends hv to 169.254.169.254, which is inside of this host" in await refusal(there.host)
        there.instead = {"HEAD blobs": says(307), "GET blobs": says(307, Location="http://[x/")}
        assert await refusal(there.host) == f"Where {there.host} keeps its blobs is no address."
        there.instead = {"POST uploads": says(202, Location="/v2/a b")}
        assert await refusal(there.host) == f"Where {there.host} takes a blob is no address."


def test_a_registry_whose_name_is_none_is_told() -> None:
    with pytest.raises(ConnectionLost, match=r"^a\.\.example is no name of a host\.$"):
        Connection(Home(name="x", host="a..example", port=1))
    with pytest.raises(PermanentError, match=r"cannot be reached: a\.\.example is no name of a host\."):
        Repository("a..example:1/a:1", plain=True).manifest()


@pytest.mark.parametrize("kept", ["no base64!", "dXNl", "d\u00e9", "AP/+", 7])
def test_credentials_that_nobody_has_made_are_told(kept: object, tmp_path: Path) -> None:
    path = tmp_path / "auth.json"
    path.write_text(json.dumps({"auths": {"127.0.0.1:1": {"auth": kept}}}))
    with pytest.raises(BadRequest, match="is no file that podman, skopeo or docker login have made"):
        Repository("127.0.0.1:1/a:1", auth_file=str(path))
