"""Who somebody is, by each way to say it; and that a bad way never ends as another identity."""

from __future__ import annotations

import asyncio
import grp
import os
import ssl
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from hyperd import clock
from hyperd.api.access import tokens
from hyperd.api.access.tokens import Grant, Tokens
from hyperd.roles import Role
from hyperd.store.interface import BY_SYSTEM, User
from tests.unit.api.conftest import Api, serving

MAPS = "/api/v1/namespaces/default/configmaps"
SECRETS = "/api/v1/namespaces/default/secrets"
FAR = 4e9


@asynccontextmanager
async def over_tls(api: Api, *, admin: bool = False) -> AsyncIterator[aiohttp.ClientSession]:
    """A client on the TLS listener, with the administrator's certificate or with none."""
    context = ssl.create_default_context(cafile=str(api.settings.pki_dir / "ca.crt"))
    if admin:
        context.load_cert_chain(api.settings.pki_dir / "admin.crt", api.settings.pki_dir / "admin.key")
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(f"https://localhost:{api.server.port}", connector=connector) as client:
        yield client


async def token(api: Api, name: str, role: Role = Role.VIEWER, *namespaces: str, expires: float = FAR) -> str:
    made, _ = await Tokens(api.store).create(name, Grant(role, namespaces, expires), write=BY_SYSTEM)
    return made


def bearer(value: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {value}"}


def client_certificate(folder: Path, name: str, organization: str, *, days: float = 1) -> tuple[Path, Path]:
    """A certificate of the daemon's own CA and its key, made in a process of its own as the daemon does."""
    program = (
        "import sys; from pathlib import Path; from hyperd.api.certificates import signing as c;"
        "folder, name, organization, days = Path(sys.argv[1]), *sys.argv[2:4], float(sys.argv[4]);"
        "c._make_leaf(folder, 'client', c._load_ca(folder), c._Leaf(name, organization=organization), days)"
    )
    subprocess.run([sys.executable, "-c", program, str(folder), name, organization, str(days)], check=True)
    return folder / "client.crt", folder / "client.key"


async def test_a_certificate_names_the_user_and_the_role(api: Api) -> None:
    folder = api.settings.pki_dir
    pair = await asyncio.to_thread(client_certificate, folder, "alice", "hyperd:viewer")
    context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    context.load_cert_chain(*pair)
    base, connector = f"https://localhost:{api.server.port}", aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(base, connector=connector) as client:
        async with client.get(MAPS) as response:
            assert response.status == 200
        async with client.post(MAPS, json={}) as response:
            assert response.status == 403
            assert 'User "alice" cannot create' in (await response.json())["message"]


async def test_a_token_logs_in_on_both_listeners(api: Api) -> None:
    headers = bearer(await token(api, "ci", Role.EDITOR))
    async with over_tls(api) as client, client.get(SECRETS, headers=headers) as response:
        assert response.status == 200
    assert (await api.call("GET", SECRETS, headers=headers))[0] == 200


@pytest.mark.parametrize(
    "value", ["Bearer", "Bearer nonsense", "Basic YTpi", "hyperd.ci.x", "Bearer hyperd..x", ""]
)
async def test_what_is_no_token_is_refused_whoever_sends_it(api: Api, value: str) -> None:
    headers = {"Authorization": value}
    status, body = await api.call("GET", SECRETS, headers=headers)
    assert (status, body["reason"]) == (401, "Unauthorized")
    async with over_tls(api, admin=True) as client, client.get(SECRETS, headers=headers) as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_two_credentials_at_once_are_refused(api: Api) -> None:
    good = await token(api, "ci", Role.ADMIN)
    headers = [("Authorization", f"Bearer {good}"), ("Authorization", f"Bearer {good}")]
    assert (await api.call("GET", SECRETS, headers=headers))[0] == 401


async def test_expired_revoked_and_remade_tokens(api: Api) -> None:
    expired = await token(api, "old", Role.ADMIN, expires=1.0)
    status, body = await api.call("GET", SECRETS, headers=bearer(expired))
    assert (status, "expired" in body["message"]) == (401, True)

    first = await token(api, "ci", Role.ADMIN)
    assert (await api.call("GET", SECRETS, headers=bearer(first)))[0] == 200
    assert (await api.call("DELETE", "/api/v1/namespaces/hyperd-system/secrets/ci"))[0] == 200
    assert (await api.call("GET", SECRETS, headers=bearer(first)))[0] == 401
    second = await token(api, "ci", Role.ADMIN)
    assert (await api.call("GET", SECRETS, headers=bearer(first)))[0] == 401
    assert (await api.call("GET", SECRETS, headers=bearer(second)))[0] == 200


async def test_only_the_hash_of_a_token_is_kept(api: Api) -> None:
    made = await token(api, "ci")
    for file in api.settings.state_dir.glob("store.db*"):
        assert made.rpartition(".")[2].encode() not in file.read_bytes()


async def test_the_sweep_takes_only_what_expired_long_ago(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    await token(api, "live")
    await token(api, "gone", expires=1.0)
    kept = Tokens(api.store)
    await kept.sweep()
    # By a clock that nobody sets: the wall clock may have been ahead when the end was seen.
    later = clock.elapsed() + 25 * 3600
    monkeypatch.setattr(clock, "elapsed", lambda: later)
    await kept.sweep()
    _, listed = await api.call("GET", "/api/v1/namespaces/hyperd-system/secrets")
    assert [item["metadata"]["name"] for item in listed["items"]] == ["live"]


async def test_a_limited_token_sees_its_namespace_and_the_catalogue(api: Api) -> None:
    await api.call("POST", "/api/v1/namespaces", {"metadata": {"name": "shop"}})
    headers = bearer(await token(api, "shop-ci", Role.EDITOR, "shop"))

    async def status(path: str) -> int:
        return (await api.call("GET", path, headers=headers))[0]

    group = "/apis/virtualization.deckhouse.io/v1alpha2"
    assert await status("/api/v1/namespaces/shop/secrets") == 200
    assert await status("/api/v1/namespaces/shop") == 200
    assert await status(f"{group}/virtualmachineclasses") == 200
    assert await status("/apis") == 200
    for path in (
        "/api/v1/secrets",
        "/api/v1/namespaces",
        "/api/v1/namespaces/default",
        SECRETS,
        "/api/v1/nodes",
        f"{group}/virtualmachines",
        "/metrics",
    ):
        assert await status(path) == 403, path
    assert (await api.call("DELETE", "/api/v1/namespaces/shop", headers=headers))[0] == 403


async def test_a_refusal_is_in_kubernetes_own_words(api: Api) -> None:
    headers = bearer(await token(api, "eve", Role.VIEWER, "shop"))
    group = "virtualization.deckhouse.io"
    path = f"/apis/{group}/v1alpha2/namespaces/default/virtualmachines"
    where = f'resource "virtualmachines" in API group "{group}" in the namespace "default"'
    _, body = await api.call("GET", f"{path}/web", headers=headers)
    assert body["message"] == (f'virtualmachines.{group} "web" is forbidden: User "token:eve" cannot get {where}')
    assert body["details"] == {"name": "web", "group": group, "kind": "virtualmachines"}
    _, body = await api.call("GET", path, headers=headers)
    assert body["message"] == f'virtualmachines.{group} is forbidden: User "token:eve" cannot list {where}'
    _, body = await api.call("GET", f"/apis/{group}/v1alpha2/virtualmachines?watch=1", headers=headers)
    assert body["message"].endswith(
        f'cannot watch resource "virtualmachines" in API group "{group}" at the cluster scope'
    )
    _, body = await api.call("DELETE", f"{SECRETS}/s", headers=headers)
    assert body["message"].startswith(
        'secrets "s" is forbidden: User "token:eve" cannot delete resource "secrets"'
    )
    _, body = await api.call("GET", "/metrics", headers=headers)
    assert body["message"] == 'forbidden: User "token:eve" cannot get path "/metrics"'


async def test_editors_do_not_reach_the_tokens(api: Api) -> None:
    headers = bearer(await token(api, "ci", Role.EDITOR))
    path = "/api/v1/namespaces/hyperd-system/secrets"
    for method, target in (("GET", path), ("GET", f"{path}/ci"), ("DELETE", f"{path}/ci"), ("POST", path)):
        assert (await api.call(method, target, headers=headers))[0] == 403


AS_SOMEBODY = """
import os, socket, sys
os.setgroups([int(group) for group in sys.argv[2].split()])
os.setgid(65534)
os.setuid(65534)
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
head = f"{sys.argv[3]} HTTP/1.1\\r\\nHost: h\\r\\nConnection: close\\r\\nContent-Length: 2"
s.sendall(f"{head}\\r\\n\\r\\n{{}}".encode())
print(s.makefile().readline())
"""


async def _as_nobody(api: Api, groups: str, request: str) -> str:
    """The status line that user nobody with those groups gets; empty where the socket is closed to it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", AS_SOMEBODY, str(api.settings.socket_path), groups, request,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    output, _ = await process.communicate()
    return output.decode().strip()


@pytest.mark.root
async def test_unix_groups_open_the_socket_and_give_roles(folder: Path) -> None:
    access: dict[str, Any] = {"unix_groups": {"games": "viewer", "news": "editor", "nosuchgroup": "admin"}}
    await asyncio.to_thread(folder.chmod, 0o711)
    async with serving(folder, access=access) as api:
        attribute = await asyncio.to_thread(_access_list, api.settings.socket_path)
        assert api.settings.socket_path.stat().st_mode & 0o777 == 0o660
        assert attribute == {"games", "news"}
        assert "200" in await _as_nobody(api, "60", "GET /api/v1/namespaces/default/configmaps")
        assert "403" in await _as_nobody(api, "60", "POST /api/v1/namespaces/default/configmaps")
        assert "403" in await _as_nobody(api, "60", "GET /api/v1/namespaces/default/secrets")
        assert "422" in await _as_nobody(api, "60 9", "POST /api/v1/namespaces/default/configmaps")
        assert await _as_nobody(api, "8", "GET /api/v1/namespaces") == ""


def _access_list(path: Path) -> set[str]:
    raw = os.getxattr(path, "system.posix_acl_access")
    entries = struct.iter_unpack("<HHI", raw[4:])
    return {grp.getgrgid(number).gr_name for tag, _, number in entries if tag == 0x08}


@pytest.mark.parametrize("how", ["revoked", "expired"])
async def test_a_watch_ends_with_its_token(api: Api, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    monkeypatch.setattr(tokens, "_CHECK_SECONDS", 0.05)
    made = await token(api, "ci", expires=FAR if how == "revoked" else time.time() + 2)
    async with api.client.get(f"http://h{MAPS}?watch=true", headers=bearer(made)) as response:
        assert response.status == 200
        if how == "revoked":
            await api.call("DELETE", "/api/v1/namespaces/hyperd-system/secrets/ci")
        with pytest.raises(aiohttp.ClientError):
            await asyncio.wait_for(response.read(), 5)
    async with api.client.get(f"http://h{MAPS}?watch=true&timeoutSeconds=1") as response:
        assert await response.read() is not None


async def test_a_session_ends_with_its_token(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "_CHECK_SECONDS", 0.05)
    ended = asyncio.Event()

    async def console(request: web.BaseRequest, user: User, namespace: str, name: str) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        try:
            async for _ in socket:
                pass
        finally:
            ended.set()
        return socket

    path = "/apis/subresources.virtualization.deckhouse.io/v1alpha2/namespaces/default/virtualmachines/web/console"
    async with serving(folder, sessions={("virtualmachines", "console"): console}) as api:
        headers = bearer(await token(api, "op", Role.OPERATOR))
        async with api.client.ws_connect(f"http://h{path}", headers=headers) as session:
            assert (await api.call("DELETE", "/api/v1/namespaces/hyperd-system/secrets/op"))[0] == 200
            message = await session.receive(5)
            assert message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
        async with asyncio.timeout(5):
            await ended.wait()
        assert (await api.call("GET", path.removesuffix("/console"), headers=headers))[0] == 401
