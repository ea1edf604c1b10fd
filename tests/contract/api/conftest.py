"""The real kubectl and Python's Kubernetes client, against a real server and store."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from hyperd.resources.schema.kind import Object
from tests.cluster.clients.build import KUBECTLS
from tests.cluster.clients.fixture import program
from tests.unit.api.conftest import Api, folder, machine, serving

__all__ = ["folder"]


@dataclass
class Kubectl:
    """kubectl with the printed kubeconfig and a home of its own."""

    api: Api
    home: Path
    binary: Path

    def write(self, name: str, *objects: Object) -> str:
        path = self.home / name
        path.write_text(yaml.safe_dump_all(objects))
        return str(path)

    async def start(self, *args: str, stdin: int | None = None) -> asyncio.subprocess.Process:
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "KUBECONFIG": str(self.api.settings.kubeconfig_path),
            "KUBE_EDITOR": "sed -i s/first/edited/",
        }
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            self.binary, *args, env=env, stdout=pipe, stderr=asyncio.subprocess.STDOUT, stdin=stdin
        )

    async def run(self, *args: str, rc: int = 0) -> str:
        """Its output, both streams together, when it ends with ``rc``."""
        process = await self.start(*args)
        output, _ = await asyncio.wait_for(process.communicate(), 30)
        text = output.decode()
        assert process.returncode == rc, f"kubectl {' '.join(args)} ended with {process.returncode}:\n{text}"
        return text


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.clients(name)) for name in KUBECTLS])
async def kubectl(request: pytest.FixtureRequest, folder: Path) -> AsyncIterator[Kubectl]:
    """Each release of kubectl in turn, with one machine and one node to look at."""
    binary = program(request, request.param)
    async with serving(folder, admission=False) as api:
        home = folder / "home"
        home.mkdir()
        status, made = await api.call(
            "POST",
            "/apis/virtualization.deckhouse.io/v1alpha2/namespaces/default/virtualmachines",
            machine("web", labels={"app": "web"}, annotations={"note": "first"}),
        )
        assert status == 201, made
        status, made = await api.call("POST", "/api/v1/nodes", NODE)
        assert status == 201, made
        yield Kubectl(api, home, binary)


NODE: Object = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {"name": "metal"},
    "status": {
        "conditions": [{"type": "Ready", "status": "True", "reason": "LibvirtUp", "message": "libvirt answers"}],
        "capacity": {"cpu": "4", "memory": "8Gi"},
        "allocatable": {"cpu": "4", "memory": "7Gi"},
        "nodeInfo": {"kernelVersion": "6.1", "architecture": "amd64", "operatingSystem": "linux"},
    },
}
