"""Others' tools read images out of a whole daemon's registry, with what the daemon lets each user have."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import re
import shutil
import ssl
import subprocess
import tarfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import oras.client
import oras.decorator
import pytest

from hyperd.api.access import tokens
from hyperd.api.access.tokens import Grant, Tokens
from hyperd.api.serving.registry import RegistryReading
from hyperd.resources.all import SECRET, VIRTUAL_IMAGE
from hyperd.resources.schema.kind import Object
from hyperd.resources.values.names import SYSTEM_NAMESPACE
from hyperd.roles import Role
from hyperd.store.interface import BY_SYSTEM, User
from registry import process
from tests.unit.controllers.world import World, running
from tests.unit.registry.world import WebServer, web_server

pytestmark = pytest.mark.skipif(
    shutil.which("docker-registry") is None or shutil.which("skopeo") is None, reason="needs a registry and skopeo"
)
RAW = b"\xeb\x63" + bytes(508) + b"\x55\xaa" + os.urandom(3 << 20)
DOCUMENTS = "application/vnd.oci.image.manifest.v1+json"


@dataclass
class Lab:
    """A daemon whose registry has the image ``golden`` of the namespace ``default``."""

    world: World
    source: WebServer
    client: aiohttp.ClientSession
    host: str
    certificates: Path
    image: Object

    @property
    def reference(self) -> str:
        return f"{self.host}/{self.repository}:{self.image['metadata']['uid']}"

    repository = "vi/default/golden"

    async def login(self, name: str, role: Role, *namespaces: str) -> str:
        made, _ = await Tokens(self.world.store).create(name, Grant(role, namespaces, 4e9), write=BY_SYSTEM)
        return made

    async def token(self, password: str, more: Sequence[tuple[str, str]] = (), **query: str) -> tuple[int, Any]:
        """What the token server answers to a login like docker's, with ``more`` headers."""
        service = {"service": "registry.inproc.internal", "scope": f"repository:{self.repository}:pull", **query}
        headers = {"Authorization": "Basic " + base64.b64encode(f"me:{password}".encode()).decode()}
        shown = [*(headers.items() if password else ()), *more]
        async with self.client.get("/auth/token", params=service, headers=shown) as answer:
            if answer.status == 401:
                assert answer.headers["WWW-Authenticate"].startswith("Basic ")
            return answer.status, await answer.json()

    async def read(self, token: str, path: str = "", method: str = "GET") -> aiohttp.ClientResponse:
        path = path or f"/v2/{self.repository}/manifests/{self.image['metadata']['uid']}"
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return await self.client.request(method, path, headers={**headers, "Accept": DOCUMENTS})

    async def skopeo(self, password: str, to: Path) -> subprocess.CompletedProcess[str]:
        words = ["skopeo", "copy", "-q", "--insecure-policy", f"--src-cert-dir={self.certificates}"]
        words += [f"--src-creds=me:{password}", f"docker://{self.reference}", f"dir:{to}"]
        return await asyncio.to_thread(lambda: subprocess.run(words, capture_output=True, text=True, check=False))


def claims_of(token: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    async with web_server() as source:
        source.routes["/golden.img"] = RAW
        allowed = {"allowed": [f"127.0.0.1/32:{source.port}"]}
        async with running(registry={"url": ""}, imports=allowed) as world:
            body: Object = {
                "metadata": {"namespace": "default", "name": "golden"},
                "spec": {
                    "storage": "ContainerRegistry",
                    "dataSource": {"type": "HTTP", "http": {"url": source.url("/golden.img")}},
                },
            }
            await world.store.create(VIRTUAL_IMAGE, "default", body)
            image = await world.phase("Ready", VIRTUAL_IMAGE, "golden")
            certificates = tmp_path / "certificates"
            certificates.mkdir()
            authority = world.settings.pki_dir / "ca.crt"
            (certificates / "ca.crt").write_bytes(authority.read_bytes())
            host = f"localhost:{world._daemon._api.port}"
            connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=str(authority)))
            async with aiohttp.ClientSession(f"https://{host}", connector=connector) as client:
                yield Lab(world, source, client, host, certificates, image)


async def test_skopeo_pulls_with_the_token_of_who_may_export(lab: Lab, tmp_path: Path) -> None:
    editor = await lab.login("editor", Role.EDITOR, "default")
    done = await lab.skopeo(editor, tmp_path / "image")
    assert done.returncode == 0, done.stderr
    manifest = json.loads((tmp_path / "image/manifest.json").read_text())
    with tarfile.open(tmp_path / "image" / manifest["layers"][0]["digest"].removeprefix("sha256:")) as tar:
        disk = tar.extractfile("disk/disk.img")
        assert disk is not None
        assert disk.read() == RAW


async def test_skopeo_is_refused_who_may_not(lab: Lab, tmp_path: Path) -> None:
    for name, role, namespaces in (
        ("viewer", Role.VIEWER, ()),
        ("operator", Role.OPERATOR, ("default",)),
        ("elsewhere", Role.EDITOR, ("elsewhere",)),
    ):
        password = await lab.login(name, role, *namespaces)
        done = await lab.skopeo(password, tmp_path / name)
        assert done.returncode != 0
        assert "403 (Forbidden)" in done.stderr
    done = await lab.skopeo("hyperd.nobody." + "x" * 43, tmp_path / "nobody")
    assert done.returncode != 0
    assert not (tmp_path / "nobody/manifest.json").exists()


async def test_oras_pulls_with_it_and_not_without(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = await lab.login("editor", Role.EDITOR, "default")
    client = oras.client.OrasClient(hostname=lab.host, tls_verify=str(lab.certificates / "ca.crt"))
    # ``login`` wants a Docker installation's file to write to.
    client.auth.set_basic_auth("me", editor)
    found = await asyncio.to_thread(client.pull, target=lab.reference, outdir=str(tmp_path / "oras"))
    with tarfile.open(found[0]) as tar:
        disk = tar.extractfile("disk/disk.img")
        assert disk is not None
        assert disk.read() == RAW
    # It asks five times, and waits longer each time: two minutes in all.
    monkeypatch.setattr(oras.decorator, "time", SimpleNamespace(sleep=lambda _: None))
    stranger = oras.client.OrasClient(hostname=lab.host, tls_verify=str(lab.certificates / "ca.crt"))
    stranger.auth.set_basic_auth("me", await lab.login("viewer", Role.VIEWER))
    with pytest.raises(ValueError, match=r"401|403|nauthorized|authenticat"):
        await asyncio.to_thread(stranger.pull, target=lab.reference, outdir=str(tmp_path / "none"))


async def test_the_token_server_gives_one_repository_for_reading(lab: Lab) -> None:
    editor = await lab.login("editor", Role.EDITOR)
    code, given = await lab.token(editor)
    assert (code, given["expires_in"]) == (200, 300)
    assert given["token"] == given["access_token"]
    answer = await lab.read(given["token"])
    assert (answer.status, answer.headers["Content-Type"]) == (200, DOCUMENTS)
    known = {"Authorization": f"Bearer {given['token']}", "If-None-Match": answer.headers["ETag"]}
    layer = (await answer.json())["layers"][0]["digest"]
    async with lab.client.get(answer.url, headers={**known, "Accept": DOCUMENTS}) as same:
        assert (same.status, await same.read()) == (304, b"")
    part = await lab.client.get(
        f"/v2/{lab.repository}/blobs/{layer}",
        headers={"Authorization": f"Bearer {given['token']}", "Range": "bytes=4096-4105"},
    )
    assert (part.status, await part.read()) == (206, RAW[:10])
    head = await lab.read(given["token"], f"/v2/{lab.repository}/blobs/{layer}", "HEAD")
    assert (head.status, await head.read()) == (200, b"")
    assert (await (await lab.read(given["token"], f"/v2/{lab.repository}/tags/list")).json())["tags"]

    refused: dict[str, Any] = {
        "pushing": {"scope": f"repository:{lab.repository}:push"},
        "deleting": {"scope": f"repository:{lab.repository}:delete"},
        "an image that is not there": {"scope": "repository:vi/default/none:pull"},
        "a namespace that is not there": {"scope": "repository:vi/none/golden:pull"},
        "a disk's repository": {"scope": "repository:vd/default/golden:pull"},
        "a way up": {"scope": "repository:vi/elsewhere/../default/golden:pull"},
        "a pattern": {"scope": "repository:vi/default/*:pull"},
        "the catalog": {"scope": "registry:catalog:*"},
        "several": {"scope": f"repository:{lab.repository}:pull repository:cvi/golden:pull"},
        "another service": {"service": "registry.elsewhere.internal"},
        "no service": {"service": ""},
    }
    codes = {what: (await lab.token(editor, **query))[0] for what, query in refused.items()}
    assert {what: code for what, code in codes.items() if code not in (400, 403)} == {}
    _, more = await lab.token(editor, scope=f"repository:{lab.repository}:push,pull")
    assert claims_of(more["token"])["access"] == [
        {"type": "repository", "name": lab.repository, "actions": ["pull"]}
    ]


async def test_what_is_there_is_not_told_to_who_may_not_read_it(lab: Lab) -> None:
    elsewhere = await lab.login("elsewhere", Role.ADMIN, "elsewhere")
    there = await lab.token(elsewhere)
    absent = await lab.token(elsewhere, scope="repository:vi/default/none:pull")
    assert (there[0], absent[0]) == (403, 403)
    assert json.dumps(there).replace("golden", "none") == json.dumps(absent)
    _, free = await lab.token(elsewhere, scope="")
    for token in (free["token"], "", "x", "a.b.c"):
        answer = await lab.read(token)
        assert answer.status == 401
        challenge = answer.headers["WWW-Authenticate"]
        port = lab.host.rpartition(":")[2]
        assert re.match(rf'Bearer realm="https://[^/"]+:{port}/auth/token",service="registry\.inproc', challenge)
        assert f'scope="repository:{lab.repository}:pull"' in challenge


async def test_a_login_that_fails_gets_no_token(lab: Lab) -> None:
    editor = await lab.login("editor", Role.EDITOR)
    for wrong in ("", "x", editor[:-1] + ("A" if editor[-1] != "A" else "B")):
        assert (await lab.token(wrong))[0] == 401
    headers = {"Authorization": "Basic not-base64!"}
    async with lab.client.get("/auth/token", headers=headers) as answer:
        assert answer.status == 401
    async with lab.client.post("/auth/token", data={"grant_type": "password"}) as answer:
        assert answer.status == 405
    async with lab.client.get("/auth/tokens") as answer:
        assert answer.status in (401, 404)


async def test_a_token_may_be_asked_for_as_somebody_else_and_then_is_that_ones(lab: Lab) -> None:
    admin, editor = await lab.login("admin", Role.ADMIN), await lab.login("editor", Role.EDITOR)
    viewer = [("Impersonate-User", "eve"), ("Impersonate-Group", "hyperd:viewer")]
    other = [("Impersonate-User", "eve"), ("Impersonate-Group", "hyperd:editor")]
    bearer = [("Authorization", f"Bearer {admin}")]
    for password, more, expected in (
        (admin, viewer, 403),
        ("", [*bearer, *viewer], 403),
        (admin, [("impersonate-group", "hyperd:editor")], 400),
        (editor, other, 403),
        (editor, [("Impersonate-User", "unix:root")], 403),
    ):
        assert (await lab.token(password, more))[0] == expected
    for password, more in ((admin, other), ("", [*bearer, *other])):
        code, given = await lab.token(password, more)
        assert (code, claims_of(given["token"])["sub"]) == (200, "eve")
        assert (await lab.read(given["token"])).status == 200
    audit = lab.world._daemon._api.audit
    await asyncio.to_thread(audit.close)
    entries = [json.loads(line) for line in (lab.world.settings.log_dir / "audit.log").read_text().splitlines()]
    assert {(one["user"], one.get("by")) for one in entries if one["code"] == 403} >= {("eve", "token:admin")}
    headers = {"Authorization": f"Bearer {given['token']}", "Impersonate-User": "eve"}
    async with lab.client.get(f"/v2/{lab.repository}/tags/list", headers=headers) as answer:
        assert answer.status == 400


async def test_what_is_read_counts_with_all_else_of_who_has_logged_in(lab: Lab) -> None:
    (_, given) = await lab.token(await lab.login("editor", Role.EDITOR))
    fairness = lab.world._daemon._api.fairness
    editor = User("token:editor")
    taken = [fairness.session(editor, "console") for _ in range(512)]
    assert (await lab.read(given["token"])).status == 429
    for grant in taken:
        grant.release()
    assert (await lab.read(given["token"])).status == 200
    assert fairness.sessions.lent == 0


async def test_a_pull_ends_with_the_login_that_it_is_of(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tokens, "_CHECK_SECONDS", 0.05)
    (_, given) = await lab.token(await lab.login("editor", Role.EDITOR))
    reading = lab.world._daemon._api._registry["/v2/"]
    assert isinstance(reading, RegistryReading)
    places = reading._pulls._places
    taken = [places.try_acquire("token:editor") for _ in range(5)]
    async with asyncio.timeout(10):
        pull = asyncio.create_task(lab.read(given["token"]))
        while not places.waiting:
            await asyncio.sleep(0.01)
        await lab.world.store.delete(SECRET, SYSTEM_NAMESPACE, "editor")
        # It is cut, which aiohttp's client takes for a reason to ask once more; else it would be told to wait.
        assert (await pull).status == 401
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    for grant in taken:
        if grant is not None:
            grant.release()
    assert (await lab.read(given["token"])).status == 401
    (_, remade) = await lab.token(await lab.login("editor", Role.EDITOR))
    assert [(await lab.read(token)).status for token in (given["token"], remade["token"])] == [401, 200]


async def test_root_has_a_place_whoever_reads(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hyperd.api.sessions.pulls._WAIT_SECONDS", 0.1)
    (_, given) = await lab.token(await lab.login("editor", Role.EDITOR))
    service = {"service": "registry.inproc.internal", "scope": f"repository:{lab.repository}:pull"}
    connector = aiohttp.UnixConnector(path=str(lab.world.settings.socket_path))
    async with (
        aiohttp.ClientSession(connector=connector) as root,
        root.get("http://hyperd/auth/token", params=service) as answer,
    ):
        roots = (await answer.json())["token"]
    reading = lab.world._daemon._api._registry["/v2/"]
    assert isinstance(reading, RegistryReading)
    number = 0
    while reading._pulls._places.try_acquire(f"user{number}") is not None:
        number += 1
    assert (await lab.read(given["token"])).status == 429
    assert (await lab.read(roots)).status == 200
    # Who finds none has not even asked the registry.
    await lab.world._daemon._context.images.close()
    assert [(await lab.read(token)).status for token in (given["token"], roots)] == [429, 503]


async def test_nothing_is_written_or_listed_from_outside(lab: Lab) -> None:
    editor = await lab.login("editor", Role.ADMIN)
    _, given = await lab.token(editor)
    digest = f"sha256:{'0' * 64}"
    for method, path in (
        ("POST", f"/v2/{lab.repository}/blobs/uploads/"),
        ("PUT", f"/v2/{lab.repository}/manifests/a"),
        ("DELETE", f"/v2/{lab.repository}/manifests/{digest}"),
        ("PATCH", f"/v2/{lab.repository}/blobs/uploads/1"),
    ):
        assert (await lab.read(given["token"], path, method)).status == 405
    for path in (
        "/v2/_catalog",
        f"/v2/{lab.repository}/blobs/uploads/1",
        f"/v2/{lab.repository}/manifests/a/b",
        f"/v2/vi/default/..%2fdefault/golden/blobs/{digest}",
        "/v2/vi/default/golden/blobs/md5:1",
        f"/v2/{'a/' * 200}blobs/{digest}",
    ):
        assert (await lab.read(given["token"], path)).status == 404, path
    assert (await lab.read(given["token"], f"/v2/{lab.repository}/blobs/{digest}")).status == 404
    assert (await lab.read(given["token"], "/v2/")).status == 200
    assert (await lab.read("", "/v2/")).status == 401


async def test_a_registry_that_asks_for_no_token_shows_strangers_nothing(lab: Lab, tmp_path: Path) -> None:
    """One of a release before tokens, which runs on after a kill and has the socket when the next one starts."""
    editor = await lab.login("editor", Role.EDITOR)
    (_, given), (_, free) = await lab.token(editor), await lab.token(editor, scope="")
    images = lab.world._daemon._context.images
    await images.close()
    conf = json.loads((lab.world.settings.registry_dir / "config.json").read_text())
    del conf["auth"]
    (tmp_path / "config.json").write_text(json.dumps(conf))
    words = [lab.world.settings.registry.binary, "serve", str(tmp_path / "config.json")]
    environment = dict(os.environ)
    former = await asyncio.to_thread(process.start, words, log=tmp_path / "log", environment=environment)
    try:
        async with asyncio.timeout(20):
            while (await lab.read(given["token"])).status == 503:
                await asyncio.sleep(0.02)
        layer = (await (await lab.read(given["token"])).json())["layers"][0]["digest"]
        head, claims, signature = given["token"].split(".")
        others = ("", "x", "a.b.c", f"{head}.{claims}.{'A' * len(signature)}", free["token"], editor)
        for path in ("", f"/v2/{lab.repository}/blobs/{layer}", f"/v2/{lab.repository}/tags/list"):
            assert {(await lab.read(token, path)).status for token in others} == {401}
            assert (await lab.read(given["token"], path)).status == 200
        assert (await lab.read(given["token"], f"/v2/vi/default/other/blobs/{layer}")).status == 401
    finally:
        await former.end()
        former.close()


async def test_a_token_that_is_none_costs_the_registry_nothing(lab: Lab) -> None:
    """It is not asked at all: it is not even there."""
    await lab.world._daemon._context.images.close()
    assert {(await lab.read(token)).status for token in ("x", "a.b.c", "hyperd.me." + "x" * 43)} == {401}


async def test_a_registry_that_is_down_is_said_so(lab: Lab) -> None:
    editor = await lab.login("editor", Role.EDITOR)
    _, given = await lab.token(editor)
    await lab.world._daemon._context.images.close()
    answer = await lab.read(given["token"])
    assert (answer.status, (await answer.json())["errors"][0]["message"]) == (503, "The registry does not answer.")
