"""``kubectl --as``: administrators ask as others, others may not, and nobody's headers are ignored."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import aiohttp
import pytest

from hyperd.api.access import tokens
from hyperd.roles import Role
from tests.unit.api.conftest import Api, config_map, serving
from tests.unit.api.test_identity import bearer, token

MAPS = "/api/v1/namespaces/default/configmaps"
WHO = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


async def test_an_administrator_becomes_less(api: Api) -> None:
    headers = [
        ("Impersonate-User", "eve"),
        ("Impersonate-Group", "hyperd:viewer"),
        ("Impersonate-Group", "friends"),
        ("Impersonate-Extra-hyperd.local%2Fnamespaces", "default"),
    ]
    _, review = await api.call("POST", WHO, {}, headers=headers)
    assert review["status"]["userInfo"] == {
        "username": "eve",
        "groups": ["hyperd:viewer", "friends", "system:authenticated"],
        "extra": {"hyperd.local/namespaces": ["default"]},
    }
    assert (await api.call("GET", MAPS, headers=headers))[0] == 200
    assert (await api.call("GET", "/api/v1/configmaps", headers=headers))[0] == 403
    status, body = await api.call("POST", MAPS, config_map("a"), headers=headers)
    assert (status, 'User "eve" cannot create' in body["message"]) == (403, True)


@pytest.mark.parametrize(
    ("header", "value", "message"),
    [
        ("Impersonate-User", "root", 'users "root" is forbidden: User "token:ed" cannot impersonate'),
        ("Impersonate-Group", "system:masters", "Impersonate-User"),
        ("impersonate-uid", "0", "Impersonate-User"),
        ("Impersonate-Extra-a", "b", "Impersonate-User"),
    ],
)
async def test_others_do_not_become_more(api: Api, header: str, value: str, message: str) -> None:
    for scope in ((), ("default",)):
        headers = {**bearer(await token(api, "ed", Role.EDITOR, *scope)), header: value}
        status, body = await api.call("GET", MAPS, headers=headers)
        assert status == (403 if header == "Impersonate-User" else 400)
        assert message in body["message"]
        await api.call("DELETE", "/api/v1/namespaces/hyperd-system/secrets/ed")


async def test_an_administrator_of_namespaces_is_none_here(api: Api) -> None:
    headers = {**bearer(await token(api, "ed", Role.ADMIN, "default")), "Impersonate-User": "unix:root"}
    assert (await api.call("GET", MAPS, headers=headers))[0] == 403


@pytest.mark.parametrize("name", ["eve", "token:eve"])
async def test_a_watch_as_somebody_else_ends_with_the_token_that_asked(
    api: Api, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(tokens, "_CHECK_SECONDS", 0.05)
    headers = {
        **bearer(await token(api, "boss", Role.ADMIN)),
        "Impersonate-User": name,
        "Impersonate-Group": "hyperd:viewer",
    }
    async with api.client.get(f"http://h{MAPS}?watch=true", headers=headers) as response:
        assert response.status == 200
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(response.content.read(1), 0.5)
        await api.call("DELETE", "/api/v1/namespaces/hyperd-system/secrets/boss")
        with pytest.raises(aiohttp.ClientError):
            await asyncio.wait_for(response.read(), 5)


async def test_the_audit_log_names_both(folder: Path) -> None:
    async with serving(folder) as api:
        headers = {"Impersonate-User": "eve", "Impersonate-Group": "hyperd:editor"}
        assert (await api.call("POST", MAPS, config_map("a"), headers=headers))[0] == 201
    entry = json.loads((folder / "audit.log").read_bytes())
    assert (entry["user"], entry["by"], entry["code"]) == ("eve", "unix:root", 201)
