"""Tokens and passwords: who gets them, and who does not though it asks."""

from __future__ import annotations

import base64
import logging
import time
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from hyperd.errors import HyperdError, PermanentError, TemporaryError
from hyperd.registryauth import challenges, may_see_credentials
from registry.remote.reference import ImageReference
from registry.remote.secret import PULL_FAILED, PullSecret
from tests.unit.registry.remote.shelf import Shelf, archive, digest, docker_config, member, taken
from tests.unit.registry.remote.shelf import shelf as a_shelf
from tests.unit.registry.world import Handler

CANARY = "hunter2-canary"
DISK = b"\xeb\x63\x90" + b"d" * 9000
AUTH = {"username": "user", "password": CANARY}


@pytest.fixture
def locked(shelf: Shelf) -> Shelf:
    """Asks for a token, which its token server gives for the canary."""
    shelf.push(shelf.blob(archive(member("disk/a.img", DISK))))
    shelf.password = CANARY
    return shelf


def of(shelf: Shelf, **entry: Any) -> bytes:
    return docker_config(**{f"127.0.0.1:{shelf.port}": entry or AUTH})


def answering(status: int, headers: dict[str, str], body: bytes = b"") -> Handler:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers=headers, body=body)

    return answer


def sent_to(shelf: Shelf) -> list[str]:
    """Authorization headers that a shelf has seen."""
    return [header for _, header in shelf.seen if header]


async def refused(shelf: Shelf, folder: Path, secret: bytes) -> HyperdError:
    with pytest.raises(HyperdError) as err:
        await taken(shelf, folder, secret=secret)
    assert CANARY not in err.value.message
    return err.value


def test_what_a_registry_asks_for_is_read_at_once_however_it_is_written() -> None:
    blanks = " " * 4000
    asked = [f'Bearer{blanks}realm{blanks}="https://x"{blanks},{blanks}!'[:8000], f"a{blanks}!", "a" * 8000 + "!"]
    began = time.thread_time()
    found = challenges(asked * 1000)
    assert time.thread_time() - began < 0.1
    assert found[0].parameters == {}
    assert challenges([f'Bearer{blanks}realm ="https://x" , a={blanks}"b"'])[0].parameters == {
        "realm": "https://x",
        "a": "b",
    }


def test_a_secret_of_very_many_registries_is_refused_before_it_is_looked_through() -> None:
    with pytest.raises(TemporaryError, match="credentials for 50000 registries; 1000 are the most"):
        PullSecret(docker_config(**{f"a{number}.b": {} for number in range(50_000)}))
    long = docker_config(**{"*a" * 100_000: AUTH, "x.y": AUTH})
    began = time.thread_time()
    assert PullSecret(long).of("x.y") is not None
    assert time.thread_time() - began < 0.1


async def test_a_token_is_fetched_with_the_secrets_password(locked: Shelf, tmp_path: Path) -> None:
    packed = base64.b64encode(f"user:{CANARY}".encode()).decode()
    for entry in (AUTH, {"auth": packed}):
        assert await taken(locked, tmp_path, secret=of(locked, **entry)) == DISK


async def test_a_token_is_fetched_with_an_identity_token_in_a_form(locked: Shelf, tmp_path: Path) -> None:
    identity, nobody = f"identity-{CANARY}", base64.b64encode(b"<token>:").decode()
    for entry in ({"identitytoken": identity}, {"auth": nobody, "identitytoken": identity}):
        assert await taken(locked, tmp_path, secret=of(locked, **entry)) == DISK
    err = await refused(locked, tmp_path, of(locked, identitytoken="of somebody else"))
    assert "refuses the credentials of the Secret" in err.message
    locked.seen.clear()
    locked.routes["/token"] = answering(307, {"Location": locked.url("/elsewhere")})
    err = await refused(locked, tmp_path, of(locked, identitytoken=identity))
    assert "answers 307" in err.message
    assert "/elsewhere" not in [path for path, _ in locked.seen]


async def test_a_wrong_password_or_none_is_a_pull_that_failed(locked: Shelf, tmp_path: Path) -> None:
    for secret, sentence in (
        (of(locked, username="user", password="wrong"), "refuses the credentials of the Secret"),
        (docker_config(**{"other.example": AUTH}), "and the Secret has none for it"),
        (b"", "name a Secret with them as imagePullSecret"),
    ):
        err = await refused(locked, tmp_path, secret)
        assert isinstance(err, TemporaryError)
        assert err.key == PULL_FAILED
        assert sentence in err.message


@pytest.mark.parametrize(
    "secret",
    [b"{", b"[]", b'{"auths": []}', b"[" * 100_000, docker_config(**{"127.0.0.1": {"auth": CANARY}})],
    ids=["no JSON", "a list", "no object", "deep", "no base64"],
)
async def test_a_secret_that_is_none_says_so_and_not_what_is_in_it(
    locked: Shelf, tmp_path: Path, secret: bytes
) -> None:
    secret = secret.replace(b"127.0.0.1", f"127.0.0.1:{locked.port}".encode())
    err = await refused(locked, tmp_path, secret)
    assert isinstance(err, TemporaryError)
    assert "Secret of imagePullSecret holds no" in err.message


async def test_a_registry_that_takes_passwords_gets_its_own(locked: Shelf, tmp_path: Path) -> None:
    plain = "Basic " + base64.b64encode(f"user:{CANARY}".encode()).decode()
    stored = locked.documents["1"][0]

    async def guarded(request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") != plain:
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})
        return web.Response(body=stored if "/manifests/" in request.path else next(iter(layer)))

    layer = [data for data in locked.blobs.values() if len(data) > 100]
    paths = ["/v2/a/disk/manifests/1", *(f"/v2/a/disk/blobs/{name}" for name in locked.blobs)]
    locked.routes = dict.fromkeys(paths, guarded)
    assert await taken(locked, tmp_path, secret=of(locked)) == DISK
    assert "asks for credentials" in (await refused(locked, tmp_path, b"")).message


async def test_a_token_server_elsewhere_gets_nothing_unless_the_secret_names_it(
    locked: Shelf, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    async with a_shelf(tmp_path / "other") as other:
        locked.realm = f"https://localhost:{other.port}/token"
        err = await refused(locked, tmp_path, of(locked))
        assert isinstance(err, PermanentError)
        assert "wants its credentials to be shown to localhost, which is another host; they stay here" in str(err)
        assert other.seen == []


@pytest.mark.parametrize(
    ("realm", "sentence"),
    [
        ("https://169.254.169.254/latest/meta-data", "Images are not fetched from 169.254.169.254"),
        ("https://[::ffff:127.0.0.1]:22/", "Images are not fetched from"),
        ("https://127.0.0.1:22/", "Images are not fetched from 127.0.0.1, a loopback"),
        ("http://127.0.0.1/token", "no token server that is reached over https"),
        ("file:///etc/shadow", "no token server that is reached over https"),
        ("not a url", "no token server that is reached over https"),
    ],
)
async def test_a_token_server_inward_or_in_the_clear_is_not_asked(
    locked: Shelf, tmp_path: Path, realm: str, sentence: str
) -> None:
    locked.realm = realm
    for secret in (b"", of(locked)):
        err = await refused(locked, tmp_path, secret)
        assert isinstance(err, PermanentError)
        assert sentence in err.message or (secret and "which is another host" in err.message)
    assert sent_to(locked) == []


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"token": 7}', b'{"token": "a\\r\\nX: y"}', b'{"token": ""}', b"[" * 100_000]
)
async def test_a_token_server_without_a_token_is_refused(locked: Shelf, tmp_path: Path, body: bytes) -> None:
    locked.routes["/token"] = answering(200, {}, body)
    assert "answers without a token" in (await refused(locked, tmp_path, of(locked))).message


async def test_a_token_server_that_does_not_end_is_left(locked: Shelf, tmp_path: Path) -> None:
    locked.routes["/token"] = answering(200, {}, b" " * (1 << 20))
    assert "more than 262144 bytes of metadata" in (await refused(locked, tmp_path, of(locked))).message


async def test_a_registry_that_is_never_content_is_left(locked: Shelf, tmp_path: Path) -> None:
    locked.routes["/token"] = answering(200, {}, b'{"token": "another"}')
    assert "refuses the credentials" in (await refused(locked, tmp_path, of(locked))).message
    assert len(locked.seen) <= 4


async def test_a_token_that_expires_meanwhile_is_fetched_anew(locked: Shelf, tmp_path: Path) -> None:
    locked.password = ""
    blob = digest(archive(member("disk/a.img", DISK)))
    expired = False

    async def late(request: web.Request) -> web.StreamResponse:
        nonlocal expired
        if not expired:
            expired = True
            asks = f'Bearer realm="{locked.url("/token")}"'
            return web.Response(status=401, headers={"WWW-Authenticate": asks})
        return web.Response(body=locked.blobs[blob])

    locked.routes[f"/v2/a/disk/blobs/{blob}"] = late
    locked.routes["/token"] = answering(200, {}, b'{"access_token": "let-me-in"}')
    assert await taken(locked, tmp_path) == DISK


async def test_where_blobs_are_elsewhere_they_come_without_credentials(locked: Shelf, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    blob = digest(archive(member("disk/a.img", DISK)))
    path = f"/v2/a/disk/blobs/{blob}"
    locked.routes[path] = answering(307, {"Location": f"https://127.0.0.1:{locked.port}/elsewhere"})
    locked.routes["/elsewhere"] = answering(200, {}, locked.blobs[blob])
    assert await taken(locked, tmp_path, secret=of(locked)) == DISK
    for location, sentence in (
        ("https://169.254.169.254/blob", "Images are not fetched from"),
        ("https://127.0.0.1:1/blob", "Images are not fetched from"),
        (f"http://127.0.0.1:{locked.port}/blob", "redirects from https to http"),
        (path, "redirects more than 50 times"),
        ("", "redirects to nowhere"),
    ):
        locked.routes[path] = answering(307, {"Location": location})
        assert sentence in (await refused(locked, tmp_path, of(locked))).message


async def test_a_redirect_to_another_server_carries_no_token(locked: Shelf, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    blob = digest(archive(member("disk/a.img", DISK)))
    async with a_shelf(tmp_path / "other") as other:
        locked.routes[f"/v2/a/disk/blobs/{blob}"] = answering(307, {"Location": other.url("/blob")})
        # Nobody allows it: it is judged like the first address.
        assert "Images are not fetched from" in (await refused(locked, tmp_path, of(locked))).message
        assert other.seen == []


async def test_credentials_are_in_no_log(locked: Shelf, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    await taken(locked, tmp_path, secret=of(locked))
    assert CANARY not in caplog.text
    assert base64.b64encode(f"user:{CANARY}".encode()).decode() not in caplog.text
    assert CANARY not in repr(PullSecret(of(locked)).of(f"127.0.0.1:{locked.port}"))


def test_entries_are_found_as_kubelets_find_them() -> None:
    secret = PullSecret(
        docker_config(
            **{
                "https://index.docker.io/v1/": {"username": "hub", "password": "x"},
                "registry.example.com": {"username": "all", "password": "x"},
                "registry.example.com/team": {"username": "team", "password": "x"},
                "*.wild.example": {"username": "wild", "password": "x"},
                "https://port.example:5000/v2/": {"username": "port", "password": "x"},
            }
        )
    )
    for registry, repository, user in (
        ("registry-1.docker.io", "library/debian", "hub"),
        ("registry.example.com", "other/disk", "all"),
        ("registry.example.com", "team/disk", "team"),
        ("registry.example.com", "teams/disk", "all"),
        ("a.wild.example", "x", "wild"),
        ("a.b.wild.example", "x", None),
        ("wild.example", "x", None),
        ("port.example:5000", "x", "port"),
        ("port.example", "x", None),
        ("registry.example.com.evil.example", "x", None),
    ):
        found = secret.of(registry, repository)
        assert (found and found.username) == user


def test_credentials_are_for_the_registry_and_who_is_above_it() -> None:
    for realm, registry, may in (
        ("registry.example.com", "registry.example.com", True),
        ("gitlab.com", "registry.gitlab.com", True),
        ("auth.docker.io", "registry-1.docker.io", True),
        ("auth.docker.io", "docker.io", True),
        ("auth.docker.io", "registry.example.com", False),
        ("auth.example.com", "registry.example.com", False),
        ("evil-gitlab.com", "registry.gitlab.com", False),
        ("com", "registry.gitlab.com", False),
        ("0.0.1", "127.0.0.1", False),
    ):
        assert may_see_credentials(realm, registry) is may


def test_challenges_are_read_in_every_spelling() -> None:
    first, second = challenges(
        ['Bearer realm="https://a/t?x=1,2", service=plain,scope="a \\"b\\"", error="x"', "basic Realm=r"]
    )
    assert (first.scheme, first.parameters["realm"]) == ("bearer", "https://a/t?x=1,2")
    assert (first.parameters["service"], first.parameters["scope"]) == ("plain", 'a "b"')
    assert (second.scheme, second.parameters) == ("basic", {"realm": "r"})
    both = challenges(['Basic realm="x", Bearer realm="y"'])
    assert [(each.scheme, each.parameters["realm"]) for each in both] == [("basic", "x"), ("bearer", "y")]
    assert challenges(["", ",,,", "=" * 100, '"'])[:1] == []


@pytest.mark.parametrize(
    ("text", "registry", "repository", "wanted"),
    [
        ("debian", "registry-1.docker.io", "library/debian", "latest"),
        ("docker.io/debian:12", "registry-1.docker.io", "library/debian", "12"),
        ("team/debian", "registry-1.docker.io", "team/debian", "latest"),
        ("localhost/a", "localhost", "a", "latest"),
        ("r.example:5000/a/b:t@sha256:" + "A" * 64, "r.example:5000", "a/b", "sha256:" + "a" * 64),
    ],
)
def test_references_are_read_as_docker_does(text: str, registry: str, repository: str, wanted: str) -> None:
    found = ImageReference.parse(text)
    assert (found.registry, found.repository, found.wanted) == (registry, repository, wanted)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A",
        "a//b",
        "a/../b",
        "r.example/a:",
        "r.example:x/a",
        "a@sha256:12",
        "a@md5:" + "0" * 32,
        "u@r.example/a",
    ],
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(PermanentError):
        ImageReference.parse(text)
