"""A machine of another node: the daemon that was asked hands the request on, and nobody can pretend to be it."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from hyperd.resources.kinds.virtual_machine import VIRTUAL_MACHINE
from hyperd.resources.schema.kind import Object
from hyperd.store.kubernetes.store import KubernetesStore
from tests.cluster.controlplane.certificates import Pair
from tests.cluster.installed.conftest import NAMESPACE, Installed, Server
from tests.cluster.installed.test_aggregation import AS_ROOT, client, direct, get, machine, operator, path
from tests.unit.sessions.conftest import PROTOCOL, Serial

__all__ = ["machine", "operator"]
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def beta(installed: Installed) -> Iterator[Server]:
    """A second daemon, which no Service leads to."""
    folder = Path(tempfile.mkdtemp(prefix="hvb"))
    other = Server(folder, "beta", "127.0.0.2", installed.port)
    for server in (installed.server, other):
        installed.plane.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": server.node}})
        status = {"status": {"addresses": [{"type": "InternalIP", "address": server.host}]}}
        args = ("patch", f"node/{server.node}", "--subresource=status", "--type=merge", "-p", json.dumps(status))
        installed.plane.kubectl(*args)
    other.start(installed.account_kubeconfig())
    yield other
    other.stop()
    installed.plane.kubectl("delete", "node/alpha", "node/beta")
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
async def elsewhere(machine: Object, beta: Server, admin_store: KubernetesStore) -> Object:
    """A machine that runs on beta."""
    machine["status"]["nodeName"] = beta.node
    name = machine["metadata"]["name"]
    item = await admin_store.update(VIRTUAL_MACHINE, NAMESPACE, name, machine, subresource="status")
    found: Object = item.object()
    return found


@asynccontextmanager
async def guest(server: Server, vm: Object) -> Any:
    serial = Serial(server.console_dir / vm["metadata"]["uid"])
    await serial.start()
    try:
        yield serial
    finally:
        await serial.power_off()


async def test_a_console_of_another_node_is_reached_and_taken_over(
    installed: Installed, operator: Path, beta: Server, elsewhere: Object
) -> None:
    where = path(elsewhere["metadata"]["name"], "console")
    async with guest(beta, elsewhere) as serial, client(operator) as session:
        first = await session.ws_connect(where, protocols=(PROTOCOL,), autoclose=False)
        assert first.protocol == PROTOCOL
        await first.send_bytes(b"root\n")
        assert await asyncio.wait_for(serial.typed.get(), 10) == b"root\n"
        await serial.say(b"login: ")
        assert (await first.receive(timeout=10)).data == b"login: "
        async with session.get(f"{where}?probe=true") as answer:
            assert (await answer.json())["holder"] == "oscar"
        async with session.ws_connect(where, protocols=(PROTOCOL,)):
            end = await first.receive(timeout=10)
            assert (end.type, end.data) == (aiohttp.WSMsgType.CLOSE, 1001)
            assert "took over" in str(end.extra)
        await first.close()


async def test_what_the_other_node_says_comes_as_it_is(operator: Path, beta: Server, elsewhere: Object) -> None:
    name = elsewhere["metadata"]["name"]
    async with client(operator) as session:
        async with session.get(path(name, "console")) as answer:
            assert answer.status == 400
            assert "opened as a WebSocket" in (await answer.json())["message"]
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(path(name, "console"), protocols=(PROTOCOL,))
        assert refused.value.status == 400, "no serial port yet: clients try again"
        ticket = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
        ticket |= {"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Protocol": PROTOCOL}
        async with session.get(path(name, "console"), headers=ticket) as answer:
            assert answer.status == 400
            assert f"console of VirtualMachine {NAMESPACE}/{name} is not ready" in (await answer.json())["message"]


async def test_a_node_that_is_gone_is_named(
    installed: Installed, operator: Path, elsewhere: Object, admin_store: KubernetesStore
) -> None:
    elsewhere["status"]["nodeName"] = "gamma"
    name = elsewhere["metadata"]["name"]
    await admin_store.update(VIRTUAL_MACHINE, NAMESPACE, name, elsewhere, subresource="status")
    async with client(operator) as session, session.get(path(name, "console")) as answer:
        assert answer.status == 503
        assert "Node gamma" in (await answer.json())["message"]


async def test_only_a_peer_is_believed_as_one(installed: Installed, beta: Server, elsewhere: Object) -> None:
    where = path(elsewhere["metadata"]["name"], "console") + "?probe=true"
    pki = installed.folder / "cluster-pki"
    async with direct(installed, Pair(pki / "hyperd-peer.crt", pki / "hyperd-peer.key")) as session:
        assert (await get(session, where, **{"X-Remote-User": "oscar"}))[0] == 200
        assert (await get(session, where, **{"X-Remote-User": "mallory"}))[0] == 403
    # The front proxy's CA does not make peers, and the peers' CA does not make front proxies.
    pair = await asyncio.to_thread(installed.plane.front_proxy.client, "hyperd-peer")
    async with direct(installed, pair) as session:
        assert (await get(session, where, **AS_ROOT))[0] == 401
    async with direct(installed, Pair(pki / "server.crt", pki / "server.key")) as session:
        with pytest.raises(aiohttp.ClientError):
            await get(session, where, **AS_ROOT)
