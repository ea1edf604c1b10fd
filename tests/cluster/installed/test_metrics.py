"""Metrics of a daemon in a cluster, as Prometheus asks for them."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from pathlib import Path

import aiohttp
import pytest
import yaml

from hyperd.api.serving import clusterca
from hyperd.resources.values.names import CA_SECRET, SYSTEM_NAMESPACE
from tests.cluster.controlplane.plane import document
from tests.cluster.installation import MANIFESTS
from tests.cluster.installed.conftest import NAMESPACE, Installed, eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]


def test_who_has_the_role_reads_metrics_with_its_own_token_and_nobody_else(installed: Installed) -> None:
    plane = installed.plane
    secret = document(plane.kubectl("get", "secret", "-n", SYSTEM_NAMESPACE, CA_SECRET, "-o", "json"))
    trusted = base64.b64decode(secret["data"]["ca.crt"]).decode()

    def answer(authorization: str = "") -> tuple[int, str]:
        return asyncio.run(_answer(installed.port, trusted, authorization))

    plane.kubectl("create", "serviceaccount", "prometheus", "-n", NAMESPACE)
    token = plane.kubectl("create", "token", "prometheus", "-n", NAMESPACE).strip()
    assert answer()[0] == 401
    assert answer("Bearer not-a-token")[0] == 401
    assert answer("Basic eDp5")[0] == 401
    assert answer(f"Bearer {token}")[0] == 403
    account = f"{NAMESPACE}:prometheus"
    plane.kubectl(
        "create", "clusterrolebinding", "p", "--clusterrole=hyperd:metrics", f"--serviceaccount={account}"
    )
    eventually(lambda: answer(f"Bearer {token}")[0] == 200, seconds=30)
    assert "# TYPE " in answer(f"Bearer {token}")[1]


def test_prometheus_is_led_to_every_daemon(installed: Installed) -> None:
    built = installed.plane.kubectl("kustomize", str(MANIFESTS / "monitoring"))
    (monitor,) = yaml.safe_load_all(built)
    service = document(
        installed.plane.kubectl("get", "service", "hyperd-api", "-n", SYSTEM_NAMESPACE, "-o", "json")
    )
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"]["endpoints"]
    ports = yaml.safe_load_all(Path(MANIFESTS / "api.yaml").read_text())
    assert endpoint["port"] in {port["name"] for port in next(ports)["spec"]["ports"]}
    assert endpoint["tlsConfig"]["serverName"] == clusterca.SERVER_NAME
    assert endpoint["tlsConfig"]["ca"]["secret"] == {"name": CA_SECRET, "key": "ca.crt"}
    assert json.dumps(monitor).count("hyperd-system") == 2


async def _answer(port: int, trusted: str, authorization: str) -> tuple[int, str]:
    """As the ServiceMonitor has Prometheus ask."""
    headers = {"Authorization": authorization} if authorization else {}
    async with aiohttp.ClientSession() as session:
        asked = session.get(
            f"https://127.0.0.1:{port}/metrics",
            headers=headers,
            ssl=ssl.create_default_context(cadata=trusted),
            server_hostname=clusterca.SERVER_NAME,
        )
        async with asked as response:
            return response.status, await response.text()
