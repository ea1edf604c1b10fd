"""The audit log: who did what, from where, and how it ended. Never what was in it."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from hyperd.api.audit import AuditLog, Entry
from hyperd.api.authorization import Attributes
from hyperd.roles import Role
from hyperd.settings import AuditSettings
from hyperd.store.interface import User
from tests.unit.api.conftest import GROUP, Api, config_map, machine, serving
from tests.unit.api.test_identity import bearer, over_tls, token

MAPS = "/api/v1/namespaces/default/configmaps"
CONSOLE = "/apis/subresources.virtualization.deckhouse.io/v1alpha2/namespaces/default/virtualmachines/web/console"


@asynccontextmanager
async def audited(folder: Path, level: str = "writes", **more: Any) -> AsyncIterator[Api]:
    async with serving(folder, audit={"level": level}, **more) as api:
        yield api


def lines(folder: Path) -> list[dict[str, Any]]:
    """What a stopped server has written."""
    return [json.loads(line) for line in (folder / "audit.log").read_bytes().splitlines()]


async def test_writes_and_denials_are_recorded_and_reads_are_not(folder: Path) -> None:
    async with audited(folder) as api:
        await api.call("GET", MAPS)
        await api.call("POST", MAPS, config_map("a", key="canary"))
        await api.call("POST", MAPS, {**config_map("a"), "metadata": {"generateName": "b-"}})
        await api.call("DELETE", f"{MAPS}/absent")
        headers = bearer(await token(api, "eve", Role.VIEWER, "shop"))
        await api.call("GET", f"{MAPS}/a", headers=headers)
        await api.call("GET", MAPS, headers=bearer("hyperd.eve.wrong"))
        async with over_tls(api) as client, client.post(MAPS, json={}) as response:
            assert response.status == 401
    made, generated, absent, denied, unknown, nobody = lines(folder)
    assert (folder / "audit.log").stat().st_mode & 0o777 == 0o600
    assert (
        made.items()
        >= {
            "user": "unix:root",
            "verb": "create",
            "resource": "configmaps",
            "namespace": "default",
            "name": "a",
            "code": 201,
        }.items()
    )
    assert made["source"] == f"uid=0 pid={os.getpid()}"
    assert made["request"]
    assert made["milliseconds"] > 0
    assert "canary" not in str(made)
    assert generated["name"].startswith("b-")
    assert (absent["verb"], absent["name"], absent["code"]) == ("delete", "absent", 404)
    assert (denied["user"], denied["verb"], denied["code"]) == ("token:eve", "get", 403)
    assert denied["extra"] == {"hyperd.local/namespaces": ["shop"]}
    assert (unknown["code"], unknown["path"], "user" in unknown) == (401, MAPS, False)
    assert (nobody["code"], nobody["verb"]) == (401, "post")
    assert nobody["source"].startswith("127.0.0.1:")


@pytest.mark.parametrize(("level", "count"), [("all", 2), ("writes", 1), ("off", 0)])
async def test_the_level_is_a_setting(folder: Path, level: str, count: int) -> None:
    async with audited(folder, level) as api:
        await api.call("GET", MAPS)
        await api.call("POST", MAPS, config_map("a"))
        assert (folder / "audit.log").exists() or level in ("off", "writes", "all")
    assert len(lines(folder) if (folder / "audit.log").exists() else []) == count


async def test_a_session_is_recorded_when_it_opens_and_when_it_ends(folder: Path) -> None:
    async def console(request: web.BaseRequest, user: User, namespace: str, name: str) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for _ in socket:
            pass
        return socket

    handlers = {("virtualmachines", "console"): console}
    async with audited(folder, sessions=handlers) as api, api.client.ws_connect(f"http://h{CONSOLE}"):
        pass
    opened, ended = lines(folder)
    for entry in (opened, ended):
        assert (entry["verb"], entry["subresource"], entry["name"]) == ("get", "console", "web")
    assert (opened["stage"], ended["code"]) == ("opened", 101)


async def test_questions_about_access_are_reads_and_token_requests_are_not(folder: Path) -> None:
    async with audited(folder) as api:
        await api.call("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {})
        body = {"metadata": {"name": "ci"}, "spec": {"role": "viewer"}}
        _, made = await api.call("POST", "/apis/access.hyperd.local/v1alpha1/tokenrequests", body)
    (entry,) = lines(folder)
    assert (entry["resource"], entry["name"]) == ("tokenrequests", "ci")
    assert made["status"]["token"].rpartition(".")[2] not in str(entry)


async def test_what_a_client_may_say_is_bounded_and_cannot_forge_a_line(folder: Path) -> None:
    async with audited(folder) as api:
        reader, writer = await asyncio.open_unix_connection(str(api.settings.socket_path))
        head = b"DELETE /api/v1/namespaces/default/configmaps/%ff%0a" + b"x" * 2000 + b" HTTP/1.1\r\n"
        secret = b"hyperd.ci." + b"s" * 43
        writer.write(head + b"Host: h\r\nConnection: close\r\nUser-Agent: \xfe" + secret + b"\r\n\r\n")
        await writer.drain()
        await reader.read()
        writer.close()
    raw = (folder / "audit.log").read_bytes()
    assert raw.count(b"\n") == 1
    assert len(raw) < 2500
    assert b"ssss" not in raw
    json.loads(raw)


def test_users_of_no_text_do_not_end_the_log(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, AuditSettings())
    log.start()
    odd = "\udcff" + "x" * 2000
    log.record(replace(ENTRY, user=User(odd, (odd,), extra=((odd, (odd,)),))))
    log.record(ENTRY)
    log.close()
    first, second = map(json.loads, (tmp_path / "audit.log").read_bytes().splitlines())
    assert first["groups"] == [first["user"]]
    assert (len(first["user"]) < 600, second["user"]) == (True, "u")


ENTRY = Entry(
    at=1.0,
    request="r",
    source="s",
    agent="",
    user=User("u"),
    attributes=Attributes("get", resource="things", name="x" * 100),
    code=200,
    milliseconds=1.0,
)


def _await(condition: Any) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def _value(log: AuditLog, name: str) -> float:
    return next(sample.value for sample in log.samples() if sample.name == f"hyperd_audit_{name}_total")


def test_files_are_rotated_by_size_and_so_many_are_kept(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, AuditSettings(max_bytes=4096, keep=2))
    log.start()
    for _ in range(100):
        log.record(ENTRY)
    log.close()
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["audit.log", "audit.log.1", "audit.log.2"]
    assert all(file.stat().st_size <= 4096 for file in files)
    for file in files:
        assert all(json.loads(line)["user"] == "u" for line in file.read_bytes().splitlines())


def test_a_full_disk_costs_lines_and_no_time(tmp_path: Path) -> None:
    (tmp_path / "audit.log").symlink_to("/dev/full")
    log = AuditLog(tmp_path, AuditSettings())
    log.start()
    started = time.monotonic()
    for _ in range(1000):
        log.record(ENTRY)
    assert time.monotonic() - started < 1
    _await(lambda: _value(log, "dropped") == 1000)
    (tmp_path / "audit.log").unlink()
    log.record(ENTRY)
    log.close()
    assert _value(log, "lines") == 1
    assert len((tmp_path / "audit.log").read_bytes().splitlines()) == 1


def test_half_a_line_does_not_spoil_the_next(tmp_path: Path) -> None:
    (tmp_path / "audit.log").write_bytes(b'{"user":"cut o')
    log = AuditLog(tmp_path, AuditSettings())
    log.start()
    log.record(ENTRY)
    log.close()
    assert json.loads((tmp_path / "audit.log").read_bytes().splitlines()[-1])["user"] == "u"


async def test_dropped_lines_are_counted_in_the_metrics(folder: Path) -> None:
    (folder / "audit.log").symlink_to("/dev/full")
    async with audited(folder) as api:
        assert (await api.call("POST", f"{GROUP}/namespaces/default/virtualmachines", machine("a")))[0] == 201
        for _ in range(100):
            async with api.client.get("http://h/metrics") as response:
                if "hyperd_audit_dropped_total 1\n" in await response.text():
                    return
            await asyncio.sleep(0.01)
    raise AssertionError("the lost line was not counted")
