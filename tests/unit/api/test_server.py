"""The server as a client sees it: who gets in, what errors look like, how it starts and stops."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import ssl
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import http_parser, web

from hyperd import logs
from hyperd.api.serving.app import ApiServer
from hyperd.api.wire import subresources
from hyperd.errors import NotFound, PermanentError
from hyperd.store.interface import User
from tests.unit.api.conftest import GROUP, Api, config_map, machine, serving

MAPS = "/api/v1/namespaces/default/configmaps"
CONNECT = f"/apis/{subresources.GROUP}/{subresources.VERSION}/namespaces/default/virtualmachines/web"


async def test_every_answer_has_an_id_and_errors_are_statuses(api: Api) -> None:
    async with api.client.get(f"http://h{MAPS}/absent") as response:
        body = await response.json()
        assert response.status == 404
        assert response.headers["X-Request-Id"]
        assert response.headers["Content-Type"] == "application/json"
    assert body["kind"] == "Status"
    assert body["reason"] == "NotFound"
    assert body["details"] == {"name": "absent", "kind": "configmaps"}
    assert body["message"] == 'configmaps "absent" not found'


async def test_a_problem_document_is_sent_only_when_asked_for(api: Api) -> None:
    async with api.client.get(
        f"http://h{MAPS}/absent", headers={"Accept": "application/problem+json"}
    ) as response:
        problem = await response.json(content_type="application/problem+json")
        assert problem["status"] == 404
        assert problem["title"] == "NotFound"
        assert problem["instance"] == response.headers["X-Request-Id"]


@pytest.mark.parametrize(
    "path", ["/", "/api", "/apis", "/api/v1", GROUP, GROUP.rsplit("/", 1)[0], "/openapi/v2", "/openapi/v3"]
)
async def test_documents_are_found(api: Api, path: str) -> None:
    assert (await api.call("GET", path))[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/api/v2",
        "/apis/x",
        "/apis/x/y",
        "/apis/x/y/z",
        "/openapi/v2/x",
        "/openapi/v3/x",
        "/api/v1/things",
        "/api/v1/namespaces/x/nodes",
        f"{GROUP}/virtualmachines/a",
        f"{GROUP}/namespaces/default/virtualmachines/a/b",
        f"{GROUP}/namespaces/default/virtualmachines/a/status/b",
        CONNECT,
        f"{CONNECT}/nothing",
    ],
)
async def test_unknown_paths_are_not_found(api: Api, path: str) -> None:
    status, body = await api.call("GET", path)
    assert (status, body["reason"]) == (404, "NotFound")


async def test_a_method_that_the_path_has_not_is_refused_with_those_it_has(api: Api) -> None:
    async with api.client.put(f"http://h{MAPS}", json={}) as response:
        assert response.status == 405
        assert response.headers["Allow"] == "DELETE, GET, HEAD, OPTIONS, POST"
    assert (await api.call("POST", "/api/v1/configmaps", config_map("a")))[0] == 405
    assert (await api.call("DELETE", "/version"))[0] == 405


async def test_head_and_options_answer_without_a_body(api: Api) -> None:
    await api.call("POST", MAPS, config_map("a"))
    async with api.client.head(f"http://h{MAPS}/a") as response:
        assert response.status == 200
        assert int(response.headers["Content-Length"]) > 0
        assert await response.read() == b""
    async with api.client.options(f"http://h{MAPS}/a") as response:
        assert response.headers["Allow"] == "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"


async def test_the_tls_listener_lets_nobody_in_without_a_certificate(api: Api) -> None:
    context = ssl.create_default_context(cafile=str(api.settings.pki_dir / "ca.crt"))
    base = f"https://localhost:{api.server.port}"
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as client:
        for path in ("/livez", "/healthz", "/readyz", "/version", "/version/"):
            async with client.get(base + path) as response:
                assert response.status == 200
        for path in ("/api", "/metrics", MAPS, f"{CONNECT}/console", "/livez/../metrics", "/nothing"):
            async with client.get(base + path) as response:
                assert response.status == 401
                assert (await response.json())["reason"] == "Unauthorized"
    context.load_cert_chain(api.settings.pki_dir / "admin.crt", api.settings.pki_dir / "admin.key")
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(connector=connector) as client, client.get(base + MAPS) as response:
        assert response.status == 200


async def test_a_certificate_of_another_ca_is_refused(api: Api, folder: Path) -> None:
    other = folder / "other"
    other.mkdir()
    async with serving(other) as second:
        context = ssl.create_default_context(cafile=str(api.settings.pki_dir / "ca.crt"))
        context.load_cert_chain(second.settings.pki_dir / "admin.crt", second.settings.pki_dir / "admin.key")
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as client:
            with pytest.raises(aiohttp.ClientError):
                await client.get(f"https://localhost:{api.server.port}/version")


async def test_the_unix_socket_is_for_its_group_only(api: Api) -> None:
    assert api.settings.socket_path.stat().st_mode & 0o777 == 0o660


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
async def test_a_user_outside_the_group_is_forbidden_even_on_an_open_socket(api: Api) -> None:
    api.settings.socket_path.chmod(0o666)
    api.settings.run_dir.chmod(0o755)
    script = (
        "import os, socket, sys; os.setgroups([]); os.setgid(65534); os.setuid(65534);"
        "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
        "s.sendall(b'GET /api/v1/secrets HTTP/1.1\\r\\nHost: h\\r\\nConnection: close\\r\\n\\r\\n');"
        "print(s.makefile().read())"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, str(api.settings.socket_path), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert b"403 Forbidden" in output
    assert b'User \\"unix:nobody\\" cannot list resource \\"secrets\\"' in output


async def test_it_is_not_ready_until_all_that_must_listen_does(api: Api) -> None:
    api.server.ready = False
    async with api.client.get("http://h/readyz") as response:
        assert (response.status, (await response.json())["reason"]) == (503, "ServiceUnavailable")
    async with api.client.get("http://h/livez") as response:
        assert response.status == 200
    api.server.ready = True
    async with api.client.get("http://h/readyz") as response:
        assert response.status == 200


async def test_two_daemons_do_not_share_a_socket(api: Api) -> None:
    second = ApiServer(api.settings, api.store)
    with pytest.raises(PermanentError, match="Another daemon serves"):
        await second.start()
    assert (await api.call("GET", MAPS))[0] == 200


async def test_a_dead_daemons_socket_is_replaced(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(folder / "hyperd.sock"))
    async with serving(folder) as api:
        assert (await api.call("GET", MAPS))[0] == 200
    assert not (folder / "hyperd.sock").exists()


async def test_a_port_in_use_is_an_error_that_says_what_to_do(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PermanentError, match=f"port {port}.*Set api.port"):
            async with serving(folder, port=port):
                pass


async def test_it_does_not_start_on_the_slow_parser(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_parser, "HttpRequestParser", http_parser.HttpRequestParserPy)
    with pytest.raises(PermanentError, match="no C parser"):
        await ApiServer(api.settings, api.store).start()


async def test_stop_ends_watches_politely_and_soon(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hyperd.api.serving.app._DRAIN_SECONDS", 120.0)  # what it would wait for one that goes on
    async with serving(folder) as api, api.client.get(f"http://h{MAPS}?watch=true") as response:
        started = time.monotonic()
        await api.server.stop()
        assert await response.content.read() == b""
        assert time.monotonic() - started < 60


async def test_a_defect_is_a_status_with_an_id_and_the_log_has_the_rest(
    api: Api, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(api.store, "get", broken)
    caplog.handler.setFormatter(logs.JsonFormatter())
    status, body = await api.call("GET", f"{MAPS}/a")
    assert (status, body["reason"]) == (500, "InternalError")
    assert "secret detail" not in body["message"]
    logged = next(line for line in map(json.loads, caplog.text.splitlines()) if "traceback" in line)
    assert logged["request"] in body["message"]
    assert logged["path"] == f"{MAPS}/a"


async def test_requests_are_logged_with_their_id(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.handler.setFormatter(logs.JsonFormatter())
    with caplog.at_level(logging.DEBUG, logger="hyperd.api.serving.middleware"):
        async with api.client.get(f"http://h{MAPS}") as response:
            wanted = response.headers["X-Request-Id"]
    logged = [json.loads(line) for line in caplog.text.splitlines()]
    assert [line["message"] for line in logged if line.get("request") == wanted] == [f"GET {MAPS} 200"]


async def test_metrics_count_requests_and_know_the_process(api: Api) -> None:
    await api.call("GET", MAPS)
    async with api.client.get("http://h/metrics") as response:
        text = await response.text()
    assert 'hyperd_api_requests_total{verb="list",resource="configmaps",code="200"} 1' in text
    assert 'hyperd_api_request_duration_seconds_bucket{verb="list",resource="configmaps",le="+Inf"} 1' in text
    for name in (
        "process_resident_memory_bytes",
        "process_cpu_seconds_total",
        "process_open_fds",
        "hyperd_loop_lag",
    ):
        assert f"\n{name}" in text
    assert text.count("# TYPE hyperd_api_request_duration_seconds ") == 1


async def test_a_connect_subresource_goes_to_its_handler(folder: Path) -> None:
    asked: list[tuple[User, str, str]] = []

    async def console(request: web.BaseRequest, user: User, namespace: str, name: str) -> web.StreamResponse:
        asked.append((user, namespace, name))
        if name == "absent":
            raise NotFound('virtualmachines "absent" not found')
        return web.Response(text="probe")

    async with serving(folder, sessions={("virtualmachines", "console"): console}) as api:
        async with api.client.get(f"http://h{CONNECT}/console?probe=true") as response:
            assert await response.text() == "probe"
            assert response.headers["X-Request-Id"]
        status, body = await api.call("GET", CONNECT.replace("/web", "/absent") + "/console")
        assert (status, body["reason"]) == (404, "NotFound")
        assert (await api.call("POST", f"{CONNECT}/console"))[0] == 405
        assert asked[0][1:] == ("default", "web")
        assert "system:masters" in asked[0][0].groups


@pytest.mark.parametrize(("method", "name"), [("PUT", "removevolume"), ("PUT", "addvolume")])
async def test_a_subresource_that_is_not_built_says_so(api: Api, method: str, name: str) -> None:
    status, body = await api.call(method, f"{CONNECT}/{name}")
    assert status == 501
    assert f"virtualmachines/{name} is not built" in body["message"]


async def test_a_client_that_leaves_ends_its_watch(api: Api) -> None:
    async with api.client.get(f"http://h{MAPS}?watch=true") as response:
        assert response.status == 200
        response.close()
    for _ in range(100):
        if not api.store.watchers:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the watch stayed open")


async def test_watches_are_bounded(folder: Path) -> None:
    async with serving(folder, max_watchers=1) as api, api.client.get(f"http://h{MAPS}?watch=true"):
        status, body = await api.call("GET", f"{MAPS}?watch=true")
        assert (status, body["reason"]) == (429, "TooManyRequests")


async def test_warnings_come_as_headers(api: Api) -> None:
    odd: dict[str, Any] = machine("odd")
    odd["spec"]["memry"] = "1Gi"
    async with api.client.post(f"http://h{GROUP}/namespaces/default/virtualmachines", json=odd) as response:
        assert response.status == 201
        assert response.headers.getall("Warning")[0] == '299 - "unknown field \\"spec.memry\\""'
