"""In a cluster one API server asks for all its users over connections that it keeps: each has its own turns."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from hyperd.api.serving.cluster import ClusterApi
from hyperd.settings import Settings
from hyperd.store.interface import User


async def test_each_user_of_an_api_server_takes_turns_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store: Any = SimpleNamespace(client=SimpleNamespace())
    api = ClusterApi(Settings(state_dir=tmp_path, run_dir=tmp_path, log_dir=tmp_path), store, sessions={})

    def user(request: web.BaseRequest) -> User:
        return User(request.headers["X-Remote-User"])

    monkeypatch.setattr(api, "_proxies", SimpleNamespace(user=user))
    taken, take = list[str](), api._fairness.turns.take

    def counted(key: str) -> asyncio.Future[None] | None:
        taken.append(key)
        return take(key)

    monkeypatch.setattr(api._fairness.turns, "take", counted)
    path = str(tmp_path / "s")
    server = await asyncio.get_running_loop().create_unix_server(api._http, path)
    connector = aiohttp.UnixConnector(path=path, limit=1)
    keys = list[set[str]]()
    async with aiohttp.ClientSession(connector=connector) as client:
        for name in ("ann", "eve", "ann"):
            async with client.get("http://h/nothing", headers={"X-Remote-User": name}) as response:
                assert response.status == 404
            keys.append(set(taken))
            taken.clear()
        async with client.post("http://h/validate", data=b"{}"):
            keys.append(set(taken))
    server.close()
    await api._http.shutdown(1)
    assert keys == [{"ann"}, {"eve"}, {"ann"}, {"(webhooks)"}]
