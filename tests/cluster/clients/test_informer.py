"""What client-go gives to controllers: the same program passes on the embedded home and on a real API server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from hyperd.resources.all import VIRTUAL_MACHINE
from hyperd.resources.crd import crd
from tests.cluster.clients.fixture import program
from tests.cluster.controlplane.plane import Cluster
from tests.unit.api.conftest import folder, serving

pytestmark = pytest.mark.clients("informer")
__all__ = ["folder"]


async def _run(binary: Path, kubeconfig: Path) -> str:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        binary, kubeconfig, stdout=pipe, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await asyncio.wait_for(process.communicate(), 90)
    return output.decode()


async def test_informers_and_leader_election_on_the_embedded_home(
    request: pytest.FixtureRequest, folder: Path
) -> None:
    async with serving(folder, admission=False) as api:
        assert (await _run(program(request, "informer"), api.settings.kubeconfig_path)).endswith("ok\n")


@pytest.mark.cluster
async def test_informers_and_leader_election_on_a_real_api_server(
    request: pytest.FixtureRequest, cluster: Cluster
) -> None:
    cluster.apply(crd(VIRTUAL_MACHINE))
    assert (await _run(program(request, "informer"), cluster.kubeconfig)).endswith("ok\n")
