"""The audit log: who did what, from where, and how it ended. Never what was in it."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from hyperd.api.access.authorization import Attributes
from hyperd.api.audit.log import AuditLog, Entry
from hyperd.api.audit.shares import AuditShares, Stream
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
    """What a stopped server has written of users."""
    return read(folder, "audit.log")


def read(folder: Path, name: str) -> list[dict[str, Any]]:
    path = folder / name
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


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
    made, generated, absent, denied = lines(folder)
    unknown, nobody = read(folder, "audit-strangers.log")
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
    started = time.thread_time()
    for _ in range(1000):
        log.record(ENTRY)
    assert time.thread_time() - started < 1
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


def user_entry(name: str, number: int = 0, *, code: int = 201, groups: tuple[str, ...] = ()) -> Entry:
    wanted = Attributes("create", resource="configmaps", namespace="default", name=f"{name}-{number}")
    return replace(ENTRY, user=User(name, groups), attributes=wanted, code=code)


def stranger_entry(number: int, source: str = "192.0.2.1") -> Entry:
    path = f"/{number}/" + "x" * 1000
    return replace(
        ENTRY,
        at=float(number),
        user=None,
        source=f"{source}:{number % 60000}",
        attributes=Attributes("get", path=path),
        code=401,
    )


def total_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def feed(log: AuditLog, entries: Iterable[Entry]) -> None:
    """Record, as fast as the thread writes."""
    for entry in entries:
        while log._queue.qsize() > 1000:
            time.sleep(0.001)
        log.record(entry)


def test_strangers_wash_nothing_away_and_are_told_as_one(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, AuditSettings(max_bytes=65536, keep=1))
    log.start()
    feed(log, [user_entry("root", groups=("system:masters",)), user_entry("ann")])
    feed(log, (stranger_entry(number) for number in range(20_000)))
    feed(log, (stranger_entry(number, f"198.51.{number % 250}.{number // 250}") for number in range(5_000)))
    log.close()
    assert [entry["user"] for entry in lines(tmp_path)] == ["root", "ann"]
    told = [entry for name in ("audit-strangers.log.1", "audit-strangers.log") for entry in read(tmp_path, name)]
    folded = [entry for entry in told if entry.get("stage") == "folded"]
    assert folded
    assert all(entry["count"] > 0 and entry["first"] <= entry["time"] for entry in folded)
    assert total_bytes(tmp_path) < 3 * 65536
    assert _value(log, "folded") > 24_000
    assert _value(log, "dropped") == 0


def test_what_one_address_sent_is_counted_whole(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, AuditSettings())
    log.start()
    feed(log, (stranger_entry(number) for number in range(1000)))
    log.close()
    *single, folded = read(tmp_path, "audit-strangers.log")
    assert len(single) == 5
    assert (folded["count"], folded["source"], folded["code"]) == (995, "192.0.2.1", 401)
    assert (folded["first"], folded["time"]) == ("1970-01-01T00:00:05.000Z", "1970-01-01T00:16:39.000Z")


@pytest.mark.parametrize("code", [201, 200, 403, 404, 409, 422])
def test_one_user_washes_nobody_elses_history_away(tmp_path: Path, code: int) -> None:
    """Whatever it does, and with whatever names."""
    log = AuditLog(tmp_path, AuditSettings(max_bytes=1 << 20, keep=2))
    log.start()
    feed(log, [user_entry("root", groups=("system:masters",)), *(user_entry("ann", n) for n in range(20))])
    feed(log, (user_entry("eve", number, code=code) for number in range(20_000)))
    log.close()
    kept = [
        entry["user"] for name in ("audit.log.2", "audit.log.1", "audit.log") for entry in read(tmp_path, name)
    ]
    assert kept[:21] == ["root"] + ["ann"] * 20
    hers = sum(entry.get("count", 1) for entry in lines(tmp_path) if entry["user"] == "eve")
    busy = len(read(tmp_path, "audit-busy.log")) + len(read(tmp_path, "audit-busy.log.1"))
    if code < 400:
        assert busy > 1000
    else:
        assert (hers, busy) == (20_000, 0), "refusals are counted whole"
    assert total_bytes(tmp_path) < 5 << 20


def test_root_is_bounded_by_nothing_but_who_asks_as_root_is(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, AuditSettings())
    log.start()
    root = user_entry("root", code=404, groups=("system:masters",))
    feed(log, (root for _ in range(300)))
    feed(log, (replace(root, by="eve") for _ in range(300)))
    log.close()
    assert len([entry for entry in lines(tmp_path) if not entry.get("by")]) == 300
    assert len([entry for entry in lines(tmp_path) if entry.get("by")]) == 51


def test_a_users_share_comes_back_with_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("hyperd.api.audit.shares.clock.elapsed", lambda: now[0])
    shares = AuditShares(1)
    placed = [shares.place(user_entry("eve", number)) for number in range(1100)]
    assert (placed[999], placed[1000]) == (Stream.USERS, Stream.BUSY)
    now[0] += 86_400
    assert shares.place(user_entry("eve")) is Stream.USERS


def test_lines_that_stand_for_many_come_within_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("hyperd.api.audit.shares.clock.elapsed", lambda: now[0])
    shares = AuditShares(1 << 20)
    for number in range(10):
        shares.place(stranger_entry(number))
    now[0] += 59
    assert shares.due() == []
    now[0] += 2
    ((stream, entry),) = shares.due()
    assert (stream, entry.count) == (Stream.STRANGERS, 5)
    assert shares.place(stranger_entry(1)) is Stream.STRANGERS
    assert shares.due(all_of_them=True) == []


def test_any_number_of_addresses_is_remembered_in_bounded_room() -> None:
    shares = AuditShares(1 << 20)
    for number in range(5_000):
        shares.place(stranger_entry(number, f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"))
        shares.place(user_entry(f"user {number}"))
    assert len(shares._strangers._folds) <= 1001
    assert len(shares._used) <= 1000
    assert sum(entry.count for _, entry in shares.due(all_of_them=True)) > 4_000
