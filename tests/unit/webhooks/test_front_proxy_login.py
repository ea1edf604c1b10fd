"""The embedded home behind a proxy that knows its users: believed by its certificate, limited by their roles."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from hyperd.errors import PermanentError
from tests.cluster.controlplane.certificates import Authority, Pair
from tests.unit.api.conftest import Api, folder, serving

__all__ = ["folder"]
VIEWER = {"X-Remote-User": "alice", "X-Remote-Group": "hyperd:viewer"}
MASTER = {"X-Remote-User": "alice", "X-Remote-Group": "system:masters"}
MAPS = "/api/v1/namespaces/default/configmaps"


async def ask(api: Api, pair: Pair, path: str, **headers: str) -> tuple[int, Any]:
    context = ssl.create_default_context(cafile=str(api.settings.pki_dir / "ca.crt"))
    context.load_cert_chain(pair.certificate, pair.key)
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(f"https://localhost:{api.server.port}", connector=connector) as client:
        method = "POST" if path.endswith("reviews") else "GET"
        async with client.request(method, path, headers=headers, json={} if method == "POST" else None) as answer:
            return answer.status, await answer.json()


async def whoami(api: Api, pair: Pair, **headers: str) -> str:
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    status, said = await ask(api, pair, path, **headers)
    return str(said["status"]["userInfo"]["username"]) if status == 201 else str(said["reason"])


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "gate-ca")


async def test_users_of_the_proxy_have_their_own_roles(folder: Path, authority: Authority) -> None:
    pair = await asyncio.to_thread(authority.client, "gate", organization="system:masters")
    proxy = {"ca_file": authority.certificate, "names": ("gate",)}
    async with serving(folder, front_proxy=proxy) as api:
        assert await whoami(api, pair, **VIEWER) == "alice"
        assert (await ask(api, pair, MAPS, **VIEWER))[0] == 200
        assert (await ask(api, pair, "/api/v1/namespaces/default/secrets", **VIEWER))[0] == 403
        assert (await ask(api, pair, "/api/v1/namespaces/default/secrets", **MASTER))[0] == 200
        assert await whoami(api, pair) == "Unauthorized", "the proxy itself is nobody"


async def test_others_stay_who_they_are_whatever_they_send(folder: Path, authority: Authority) -> None:
    other = await asyncio.to_thread(authority.client, "other", organization="system:masters")
    proxy = {"ca_file": authority.certificate, "names": ("gate",)}
    async with serving(folder, front_proxy=proxy) as api:
        admin = Pair(api.settings.pki_dir / "admin.crt", api.settings.pki_dir / "admin.key")
        assert await whoami(api, admin, **VIEWER) == "admin"
        assert await whoami(api, other, **MASTER) == "Unauthorized"
        async with api.client.get(f"http://h{MAPS}", headers={"X-Remote-User": "alice"}) as answer:
            assert answer.status == 200, "root on the socket, not alice, who has no role"


async def test_without_the_setting_nobody_is_a_proxy(folder: Path, authority: Authority) -> None:
    pair = await asyncio.to_thread(authority.client, "gate")
    async with serving(folder) as api:
        with pytest.raises(aiohttp.ClientError):
            await whoami(api, pair, **VIEWER)


async def test_hyperds_own_ca_is_no_proxys(folder: Path) -> None:
    async with serving(folder) as api:
        own = api.settings.pki_dir / "ca.crt"
        copy = folder / "copy.crt"
        await asyncio.to_thread(shutil.copy, own, copy)
    with pytest.raises(PermanentError, match="same name"):
        async with serving(folder, front_proxy={"ca_file": copy}):
            pass
