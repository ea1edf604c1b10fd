"""Secrets stay secret: a running daemon is told some, and none of them is found where it does not belong."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from hyperd.api.wire import routes
from hyperd.resources.all import KINDS
from tests.unit.api.conftest import GROUP, machine
from tests.unit.api.test_identity import bearer

CANARIES = ("canary-secret-value", "canary-user-data", "canary-password", "canary-patched")
FORMS = (
    "application/json",
    "application/yaml",
    "application/json;as=Table;v=v1;g=meta.k8s.io",
    "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
)
NAMESPACE = "/api/v1/namespaces/default"
MACHINES = f"{GROUP}/namespaces/default/virtualmachines"

pytestmark = pytest.mark.skipif(shutil.which("docker-registry") is None, reason="needs docker-registry")


def hatched(text: str) -> list[str]:
    """The canaries in ``text``, plain or in base64."""
    return [
        canary
        for canary in CANARIES
        if canary in text or base64.b64encode(canary.encode()).decode().rstrip("=")[:-1] in text
    ]


@dataclass
class Running:
    """A daemon over libvirt's test driver, everything logged."""

    folder: Path
    client: aiohttp.ClientSession

    async def call(self, method: str, path: str, body: Any = None, **kwargs: Any) -> tuple[int, str]:
        if body is not None:
            kwargs["json"] = body
        async with self.client.request(method, path, **kwargs) as response:
            return response.status, await response.text()

    async def phase(self, path: str, wanted: str) -> None:
        """Wait until the object at ``path`` is in that phase, on its watch."""
        collection, _, name = path.rpartition("/")
        url = f"{collection}?watch=true&fieldSelector=metadata.name={name}"
        async with asyncio.timeout(60), self.client.get(url) as response:
            async for line in response.content:
                if json.loads(line)["object"].get("status", {}).get("phase") == wanted:
                    return


@asynccontextmanager
async def daemon() -> AsyncIterator[Running]:
    folder = Path(tempfile.mkdtemp(prefix="hvc"))
    settings: dict[str, object] = {
        "instance": f"c{os.getpid()}"[-16:],
        "state_dir": folder / "s",
        "run_dir": folder / "r",
        "log_dir": folder / "l",
        "api.port": 0,
        "hypervisor.uri": "test:///default",
        "storage.reserve_bytes": 0,
        "log.level": "debug",
        "audit.level": "all",
    }
    argv = [arg for key, value in settings.items() for arg in ("--set", f"{key}={value}")]
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            "setpriv", "--pdeathsig", "KILL", "--", sys.executable, "-m", "tests.testdriver", *argv,
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        socket = folder / "r" / "hyperd.sock"
        async with asyncio.timeout(60):
            while not socket.exists():
                assert process.returncode is None, (folder / "log").read_text()
                await asyncio.sleep(0.05)
        connector = aiohttp.UnixConnector(path=str(socket))
        async with aiohttp.ClientSession("http://h", connector=connector) as client:
            yield Running(folder, client)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


async def _tell_secrets(run: Running) -> None:
    """Through every way in: creates, patches, writes that fail, and objects that controllers work on."""
    secret, user_data, password, patched = CANARIES
    told = {
        "metadata": {"name": "told"},
        "stringData": {"password": secret, "userData": f"#cloud-config\n# {secret}"},
    }
    assert (await run.call("POST", f"{NAMESPACE}/secrets", told))[0] == 201
    merge = {"Content-Type": "application/merge-patch+json"}
    body = json.dumps({"stringData": {"more": patched}})
    assert (await run.call("PATCH", f"{NAMESPACE}/secrets/told", data=body, headers=merge))[0] == 200
    await run.call("POST", f"{NAMESPACE}/secrets", {**told, "data": {"broken": patched}})
    await run.call("POST", f"{NAMESPACE}/secrets", data=json.dumps(told)[:-3], headers=merge)

    disk = {"metadata": {"name": "web-root"}, "spec": {"persistentVolumeClaim": {"size": "1Mi"}}}
    assert (await run.call("POST", f"{GROUP}/namespaces/default/virtualdisks", disk))[0] == 201
    web: Any = machine("web")
    web["spec"]["provisioning"] = {"type": "UserData", "userData": f"no header {user_data}"}
    web["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": json.dumps(web)}
    assert (await run.call("POST", MACHINES, web))[0] == 201
    other: Any = machine("other")
    other["spec"]["provisioning"] = {
        "type": "UserDataRef",
        "userDataRef": {"kind": "Secret", "name": "told"},
    }
    assert (await run.call("POST", MACHINES, other))[0] == 201
    too_long: Any = machine("long")
    too_long["spec"]["provisioning"] = {"type": "UserData", "userData": user_data * 200}
    assert (await run.call("POST", MACHINES, too_long))[0] == 422
    url = f"http://me:{password}@127.0.0.1:9/disk.img?signature={password}"
    image = {
        "metadata": {"name": "os"},
        "spec": {"storage": "ContainerRegistry", "dataSource": {"type": "HTTP", "http": {"url": url}}},
    }
    assert (await run.call("POST", f"{GROUP}/namespaces/default/virtualimages", image))[0] == 201
    await run.phase(f"{MACHINES}/web", "Running")
    await run.phase(f"{GROUP}/namespaces/default/virtualimages/os", "Failed")
    body = json.dumps({"spec": {"provisioning": {"userData": f"#cloud-config\n# {patched}"}}})
    assert (await run.call("PATCH", f"{MACHINES}/web", data=body, headers=merge))[0] == 200


async def test_no_secret_is_found_where_it_does_not_belong() -> None:
    async with daemon() as run:
        await _tell_secrets(run)
        request = {"metadata": {"name": "eve"}, "spec": {"role": "operator"}}
        _, made = await run.call("POST", "/apis/access.hyperd.local/v1alpha1/tokenrequests", request)
        token = json.loads(made)["status"]["token"]

        seen = 0
        for kind in KINDS:
            for form in FORMS:
                path = f"{routes.prefix(kind)}/{kind.plural}?includeObject=Object"
                status, text = await run.call("GET", path, headers={**bearer(token), "Accept": form})
                assert hatched(text) == [], (path, form)
                seen += status == 200
        assert seen == len(FORMS) * (len(list(KINDS)) - 1)
        watch = f"{MACHINES}?watch=true&timeoutSeconds=1"
        assert hatched((await run.call("GET", watch, headers=bearer(token)))[1]) == []
        assert hatched((await run.call("GET", MACHINES))[1]) == ["canary-user-data", "canary-patched"]

        _, events = await run.call("GET", "/api/v1/events")
        assert json.loads(events)["items"]
        assert hatched(events) == []
        _, image = await run.call("GET", f"{GROUP}/namespaces/default/virtualimages/os")
        assert hatched(json.dumps(json.loads(image)["status"])) == []

        described = await _described(run)
        assert "userData: " in described
        assert hatched(described) == []
        folder = run.folder
        log = (folder / "log").read_text()
        assert "POST" in log
        assert hatched(log) == []
        assert token not in log
        audit = await _audited(folder)
        assert '"resource":"secrets"' in audit
        assert hatched(audit) == []
        assert token not in audit


async def _described(run: Running) -> str:
    """What ``hv describe`` prints to an administrator."""
    out = ""
    for arguments in (("vm", "web"), ("secret", "told")):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "hyperd.cli.main", "describe", *arguments,
            env={**os.environ, "HYPERD_SOCKET": str(run.folder / "r" / "hyperd.sock")},
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        text, _ = await process.communicate()
        assert process.returncode == 0
        out += text.decode()
    return out


async def _audited(folder: Path) -> str:
    """The audit log, once it has the last request so far."""
    async with asyncio.timeout(10):
        while '"virtualimages","namespace":"default","name":"os"' not in (
            text := (folder / "l" / "audit.log").read_text()
        ):
            await asyncio.sleep(0.02)
    return text
