"""What the embedded registry, a real one, does with tokens: each is good for what it says and for nothing else."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from hyperd import clock
from hyperd.errors import NotFound, PermanentError, ServiceUnavailable
from registry import signing
from registry.client import RegistryClient, digest_of
from registry.tokens import CATALOG, Access, Shown, Tokens, deletes, pulls, pushes
from tests.unit.registry.world import World

OURS, THEIRS = "vi/ns/ours", "vi/other/theirs"
BLOB = b"what is in an image"


def tokens_of(world: World) -> Tokens:
    assert world.server.endpoint.tokens is not None
    return world.server.endpoint.tokens


def endpoint_keys(world: World) -> Path:
    return world.settings.state_dir / "registry-keys"


async def status(world: World, token: str, method: str, path: str) -> int:
    """What the registry itself answers."""
    connector = aiohttp.UnixConnector(path=str(world.server.endpoint.socket))
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with aiohttp.ClientSession(connector=connector) as session:
        url = URL(f"http://registry{path}", encoded=True)
        async with session.request(method, url, headers=headers) as response:
            return response.status


@pytest.fixture
async def filled(world: World) -> World:
    """Both repositories have the blob."""
    for repository in (OURS, THEIRS):
        await world.client.put_blob(repository, BLOB)
    return world


def blob(repository: str) -> str:
    return f"/v2/{repository}/blobs/{digest_of(BLOB)}"


async def test_a_token_is_good_for_its_repository_and_what_it_names(filled: World) -> None:
    make = tokens_of(filled).token
    ours = await make("me", [pulls(OURS)])
    assert await status(filled, ours, "GET", blob(OURS)) == 200
    refused = {
        "no token": ("", "GET", blob(OURS)),
        "another repository": (ours, "GET", blob(THEIRS)),
        "pushing": (ours, "POST", f"/v2/{OURS}/blobs/uploads/"),
        "tagging": (ours, "PUT", f"/v2/{OURS}/manifests/a"),
        "deleting": (ours, "DELETE", blob(OURS)),
        "the catalog": (ours, "GET", "/v2/_catalog"),
        "deleting with a right to push": (await make("me", [pushes(OURS)]), "DELETE", blob(OURS)),
        "reading with a right to delete": (await make("me", [deletes(OURS)]), "GET", blob(OURS)),
        "reading with a right to the catalog": (await make("me", [CATALOG]), "GET", blob(OURS)),
        "nothing at all": (await make("me"), "GET", blob(OURS)),
        "a name that goes on": (await make("me", [pulls("vi/ns/our")]), "GET", blob(OURS)),
        "its parent": (await make("me", [pulls("vi/ns")]), "GET", blob(OURS)),
        "a pattern": (await make("me", [pulls("vi/ns/*")]), "GET", blob(OURS)),
        "another type": (await make("me", [Access(OURS, ("pull",), "registry")]), "GET", blob(OURS)),
        "a blob of another repository": (
            await make("me", [pushes(OURS)]),
            "POST",
            f"/v2/{OURS}/blobs/uploads/?mount={digest_of(BLOB)}&from={THEIRS}",
        ),
    }
    answers = {what: await status(filled, *asked) for what, asked in refused.items()}
    assert {what: code for what, code in answers.items() if code != 401} == {}


@pytest.mark.parametrize("path", [f"/v2/{OURS}/../../other/theirs", "/v2/vi/ns/ours/..%2f..%2fother%2ftheirs"])
async def test_a_way_out_of_a_repository_leads_nowhere(filled: World, path: str) -> None:
    ours = await tokens_of(filled).token("me", [pushes(OURS)])
    assert await status(filled, ours, "GET", f"{path}/blobs/{digest_of(BLOB)}") in (301, 401, 404)


def part(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def rewritten(token: str, header: dict[str, Any], signature: Callable[[str], bytes]) -> str:
    """The same claims under another header."""
    signed = f"{part(header)}.{token.split('.')[1]}"
    return f"{signed}.{part(signature(signed))}"


async def forged(token: str, tokens: Tokens, folder: Path) -> dict[str, str]:
    """Tokens that nobody may believe, though their claims are right."""
    assert tokens._key is not None
    assert tokens._root is not None
    head = json.loads(base64.urlsafe_b64decode(token.split(".")[0] + "=="))
    first, claims, signature = token.split(".")
    public = tokens._root.pem
    stranger = await asyncio.to_thread(signing.make_root, folder)
    other = Tokens(folder, tokens.service)
    await asyncio.to_thread(other.open)
    wrong = json.loads(base64.urlsafe_b64decode(claims + "=="))
    wrong["access"][0]["name"] = THEIRS
    return {
        "alg none": rewritten(token, {"typ": "JWT", "alg": "none"}, lambda _: b""),
        "alg none, with the certificate": rewritten(token, {**head, "alg": "none"}, lambda _: b""),
        "a MAC by what is public": rewritten(
            token, {**head, "alg": "HS256"}, lambda signed: hmac.digest(public, signed.encode(), "sha256")
        ),
        "another root": await other.token("me", [pulls(OURS)]),
        "a certificate of its own": stranger.token({**wrong, "access": [{"type": "repository", "name": OURS,
                                                                        "actions": ["pull"]}]}),
        "no signature": f"{first}.{claims}.",
        "another's signature": f"{first}.{part(wrong)}.{signature}",
        "no token": "x",
    }  # fmt: skip


async def test_a_forged_token_is_refused(filled: World, tmp_path: Path) -> None:
    tokens = tokens_of(filled)
    token = await tokens.token("me", [pulls(OURS)])
    await asyncio.to_thread((tmp_path / "stranger").mkdir)
    forgeries = await forged(token, tokens, tmp_path / "stranger")
    answers = {what: await status(filled, one, "GET", blob(OURS)) for what, one in forgeries.items()}
    assert {what: code for what, code in answers.items() if code not in (400, 401)} == {}
    # Nor do we, whatever the registry would say.
    assert {what: await tokens.shown(one) for what, one in forgeries.items()} == dict.fromkeys(forgeries)
    assert await status(filled, token, "GET", blob(OURS)) == 200


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": int(time.time()) - 3600, "nbf": int(time.time()) - 7200},
        {"nbf": int(time.time()) + 3600, "exp": int(time.time()) + 7200},
        {"aud": "registry.elsewhere.internal"},
        {"aud": ""},
        {"iss": "somebody"},
        {"access": None},
        {"access": [{"type": "repository", "name": THEIRS, "actions": ["pull"]}]},
    ],
    ids=lambda claims: "-".join(claims),
)
async def test_a_token_that_says_something_else_is_refused(filled: World, claims: dict[str, Any]) -> None:
    tokens = tokens_of(filled)
    assert tokens._key is not None
    now = int(time.time())
    right: dict[str, Any] = {
        "iss": "hyperd", "sub": "me", "aud": tokens.service, "nbf": now, "iat": now, "exp": now + 60, "jti": "1",
        "access": [{"type": "repository", "name": OURS, "actions": ["pull"]}],
    }  # fmt: skip
    assert await status(filled, tokens._key.token(right), "GET", blob(OURS)) == 200
    assert await status(filled, tokens._key.token({**right, **claims}), "GET", blob(OURS)) == 401
    assert await lets(tokens, tokens._key.token(right))
    assert not await lets(tokens, tokens._key.token({**right, **claims}))


async def lets(tokens: Tokens, token: str) -> bool:
    """Whether we ourselves would let read with it."""
    shown = await tokens.shown(token)
    return shown is not None and shown.lets(pulls(OURS))


async def test_what_is_shown_is_told_as_it_was_made_and_of_no_other_action(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path, "s")
    await asyncio.to_thread(tokens.open)
    shown = await tokens.shown(await tokens.token("me", [pulls(OURS)], beside={"login": "you"}))
    assert shown == Shown("me", (pulls(OURS),), {"login": "you"})
    assert shown.lets(pulls(OURS))
    for more in (pulls(THEIRS), pushes(OURS), deletes(OURS), CATALOG, Access(OURS, ("pull",), "registry")):
        assert not shown.lets(more)
    assert await Tokens(tmp_path, "s").shown(await tokens.token("me")) == Shown("me", (), {})
    assert await Tokens(tmp_path, "other").shown(await tokens.token("me")) is None
    with pytest.raises(ServiceUnavailable):
        await Tokens(tmp_path / "none", "s").shown("x")


async def test_bytes_that_are_no_token_are_none(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path, "s")
    await asyncio.to_thread(tokens.open)
    head, claims, signature = (await tokens.token("me")).split(".")
    x5c = json.loads(base64.urlsafe_b64decode(head + "=="))["x5c"]
    headers: tuple[Any, ...] = (
        b"[" * 3000,
        b"9" * 3000,
        b"\xff",
        [],
        {"alg": "ES256"},
        {"alg": "ES256", "x5c": []},
        {"alg": "ES256", "x5c": [*x5c, *x5c]},
        {"alg": "ES256", "x5c": [x5c[0][:-8]]},
        {"alg": "ES256", "x5c": [1]},
        {"alg": "es256", "x5c": x5c},
    )
    for other in headers:
        assert await tokens.shown(f"{part(other)}.{claims}.{signature}") is None
    for text in (
        "",
        ".",
        "..",
        f"{head}.{claims}",
        f"{head}.{claims}.{signature}=",
        f"{head}.{claims}.\udcff" * 9,
    ):
        assert await tokens.shown(text) is None
    assert await tokens.shown(f"{head}.{claims}.{'A' * 86}") is None


async def test_a_key_of_another_day_vouches_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = Tokens(tmp_path, "s")
    await asyncio.to_thread(tokens.open)
    token = await tokens.token("me", seconds=10 * 86_400)
    assert await tokens.shown(token)
    now = clock.now()
    monkeypatch.setattr(clock, "now", lambda: now + timedelta(days=3))
    assert await tokens.shown(token) is None


async def test_each_request_of_ours_has_a_token_for_what_it_does(
    filled: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[list[Access]] = []
    make = tokens_of(filled).token

    async def token(subject: str, access: Any = (), **kwargs: Any) -> str:
        made.append(list(access))
        return await make(subject, access, **kwargs)

    monkeypatch.setattr(tokens_of(filled), "token", token)
    filled.source.routes["/a"] = b"\xeb\x63\x90" + bytes(5000)
    got = await filled.load("/a", name="ours")
    await filled.cache.ensure(got.reference)
    assert {one.repository for access in made for one in access} == {OURS}
    assert {one.actions for access in made for one in access} == {("pull",), ("pull", "push")}
    made.clear()
    await filled.client.mount(OURS, digest_of(BLOB), source=THEIRS)
    assert made == [[pushes(OURS), pulls(THEIRS)]]


async def test_keys_change_and_the_registry_believes_them(filled: World, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = tokens_of(filled)
    before = tokens._key
    former = await tokens.token("me", [pulls(OURS)])
    now = clock.elapsed()
    monkeypatch.setattr(clock, "elapsed", lambda: now + 2 * 86_400)
    assert await status(filled, await tokens.token("me", [pulls(OURS)]), "GET", blob(OURS)) == 200
    assert tokens._key is not before
    assert await status(filled, former, "GET", blob(OURS)) == 200, "it is good for its minute"


def test_the_root_is_kept_for_its_owner_alone_and_changes_with_its_age(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    first = Tokens(folder, "s").open()
    assert Tokens(folder, "s").open() == first
    assert {path.name for path in folder.iterdir()} == {"root.pem", first.name}
    assert {path.stat().st_mode & 0o077 for path in (folder, *folder.iterdir())} == {0}
    old = time.time() - 366 * 86_400
    os.utime(folder / "root.pem", (old, old))
    second = Tokens(folder, "s").open()
    assert second != first
    assert {path.name for path in folder.iterdir()} == {"root.pem", second.name}
    (folder / "root.pem").write_text("torn")
    assert Tokens(folder, "s").open() != second
    assert b"PRIVATE" not in Tokens(folder, "s").open().read_bytes()


async def test_a_clock_that_was_set_makes_a_key_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = Tokens(tmp_path, "s")
    with pytest.raises(ServiceUnavailable):
        await tokens.token("me")
    await asyncio.to_thread(tokens.open)
    first = tokens._key
    await tokens.token("me")
    assert tokens._key is first
    for year in (1970, 2040):
        then = time.mktime((year, 6, 1, 0, 0, 0, 0, 0, 0))
        monkeypatch.setattr(clock, "wall", lambda then=then: then)
        await tokens.token("me")
        assert tokens._key is not None
        assert tokens._key.certificate.not_valid_before_utc.timestamp() < then
    assert tokens._key is not first


async def test_another_process_has_tokens_of_the_same_root_and_follows_it(
    filled: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = endpoint_keys(filled)
    other = Tokens(folder, tokens_of(filled).service)
    assert await status(filled, await other.token("me", [pulls(OURS)]), "GET", blob(OURS)) == 200
    former = other._key
    await asyncio.to_thread((folder / "root.pem").unlink)
    await asyncio.to_thread(tokens_of(filled).open)
    await other.token("me")
    assert other._key is former, "it does not look each time"
    now = clock.elapsed()
    monkeypatch.setattr(clock, "elapsed", lambda: now + 11)
    await other.token("me")
    assert other._key is not former


async def test_a_process_whose_root_was_replaced_is_refused_once(world: World) -> None:
    endpoint = world.server.endpoint
    other = RegistryClient(
        replace(endpoint, tokens=Tokens(endpoint_keys(world), tokens_of(world).service)), world.settings
    )
    digest = await other.put_blob(OURS, BLOB)
    await asyncio.to_thread((endpoint_keys(world) / "root.pem").unlink)
    async with world.server.stopped():
        pass
    with pytest.raises(ServiceUnavailable, match="does not take our token"):
        await other.get_blob(OURS, digest)
    assert await other.get_blob(OURS, digest) == BLOB
    assert await world.client.get_blob(OURS, digest) == BLOB
    await other.close()


async def test_a_root_that_gets_old_while_its_registry_runs_goes_on(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path, "s")
    await asyncio.to_thread(tokens.open)
    old = time.time() - 400 * 86_400
    await asyncio.to_thread(os.utime, tmp_path / "root.pem", (old, old))
    assert await Tokens(tmp_path, "s").token("me")


def test_keys_that_cannot_be_kept_are_named(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("")
    with pytest.raises(PermanentError, match="The keys of the registry in"):
        Tokens(tmp_path / "keys", "s").open()


async def test_a_name_that_leads_up_is_no_repository(world: World) -> None:
    for name in ("vi/../cvi", "vi//a", "../a", "vi/a/", "vi/a..b", "Vi/a"):
        with pytest.raises(PermanentError, match="is not the name of a repository"):
            await world.client.tags(name)
    with pytest.raises(NotFound):
        await world.client.get_blob("vi/ns/none", f"sha256:{hashlib.sha256().hexdigest()}")
