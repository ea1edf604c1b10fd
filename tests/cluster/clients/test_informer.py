"""What client-go gives to controllers: the same program passes on the embedded home and on a real API server."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from hyperd.resources.all import VIRTUAL_MACHINE
from hyperd.resources.crd import crd
from tests.cluster.clients.fixture import program
from tests.cluster.controlplane.plane import Cluster
from tests.unit.api.conftest import folder, serving

pytestmark = pytest.mark.clients("informer")
__all__ = ["folder"]


async def _run(binary: Path, kubeconfig: Path, **environment: str) -> str:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        binary, kubeconfig, stdout=pipe, stderr=asyncio.subprocess.STDOUT, env=os.environ | environment
    )
    output, _ = await asyncio.wait_for(process.communicate(), 90)
    return output.decode()


@pytest.mark.parametrize("streamed", ["false", "true"])
async def test_informers_and_leader_election_on_the_embedded_home(
    request: pytest.FixtureRequest, folder: Path, streamed: str
) -> None:
    """``streamed``: informers list by a watch that sends what exists, as newer ones do by themselves."""
    async with serving(folder, admission=False) as api:
        binary, kubeconfig = program(request, "informer"), api.settings.kubeconfig_path
        assert (await _run(binary, kubeconfig, KUBE_FEATURE_WatchListClient=streamed)).endswith("ok\n")


@pytest.mark.cluster
async def test_informers_and_leader_election_on_a_real_api_server(
    request: pytest.FixtureRequest, cluster: Cluster
) -> None:
    cluster.apply(crd(VIRTUAL_MACHINE))
    assert (await _run(program(request, "informer"), cluster.kubeconfig)).endswith("ok\n")
