"""Consoles and screens through the API server's aggregation layer, and who is believed behind it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from hyperd.api.endpoints.connect import METHODS as CONNECT_METHODS
from hyperd.api.wire.subresources import CLUSTER_SCOPED, DECLARED
from hyperd.resources.kinds.virtual_machine import VIRTUAL_MACHINE
from hyperd.resources.schema.kind import Object
from hyperd.store.kubernetes.store import KubernetesStore
from tests.cluster.controlplane.certificates import Pair
from tests.cluster.controlplane.plane import document
from tests.cluster.installed.conftest import NAMESPACE, Installed, eventually
from tests.unit.sessions.conftest import PROTOCOL, SPEC, Serial

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]
GROUP = "/apis/subresources.virtualization.deckhouse.io/v1alpha2"


def path(name: str, subresource: str) -> str:
    return f"{GROUP}/namespaces/{NAMESPACE}/virtualmachines/{name}/{subresource}"


@pytest.fixture(scope="package")
def operator(installed: Installed) -> Path:
    """Somebody who may open consoles."""
    kubeconfig = installed.person("oscar", "hyperd:privileged-user")
    wanted = "virtualmachines.subresources.virtualization.deckhouse.io/console"
    eventually(lambda: installed.may("oscar", "get", wanted))
    return kubeconfig


@pytest.fixture
async def machine(installed: Installed, admin_store: KubernetesStore) -> AsyncIterator[Object]:
    """A machine that runs, as far as its status goes."""
    body = {
        "apiVersion": VIRTUAL_MACHINE.api_version,
        "kind": "VirtualMachine",
        "metadata": {"generateName": "web-", "namespace": NAMESPACE},
        "spec": {**SPEC, "cpu": {"cores": 1, "coreFraction": "100%"}},
    }
    made = (await admin_store.create(VIRTUAL_MACHINE, NAMESPACE, body)).object()
    name = made["metadata"]["name"]
    made["status"] = {"phase": "Running"}
    item = await admin_store.update(VIRTUAL_MACHINE, NAMESPACE, name, made, subresource="status")
    yield item.object()
    await admin_store.delete(VIRTUAL_MACHINE, NAMESPACE, name)


def client(kubeconfig: Path) -> aiohttp.ClientSession:
    """A client that shows the certificate of ``kubeconfig``, and sends headers that only a proxy may send."""
    config = yaml.safe_load(kubeconfig.read_text())
    user, cluster = config["users"][0]["user"], config["clusters"][0]["cluster"]
    context = ssl.create_default_context(cafile=cluster["certificate-authority"])
    context.load_cert_chain(user["client-certificate"], user["client-key"])
    headers = {"X-Remote-User": "root", "X-Remote-Group": "system:masters"}
    return aiohttp.ClientSession(cluster["server"], connector=aiohttp.TCPConnector(ssl=context), headers=headers)


def test_discovery_lists_the_group_both_ways(installed: Installed, operator: Path) -> None:
    versions = installed.kubectl(operator, "api-versions").split()
    assert "subresources.virtualization.deckhouse.io/v1alpha2" in versions
    listed = document(installed.kubectl(operator, "get", "--raw", GROUP))
    assert "virtualmachines/console" in {resource["name"] for resource in listed["resources"]}


async def test_the_aggregated_document_has_it_too(installed: Installed, operator: Path) -> None:
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    async with client(operator) as session, session.get("/apis", headers={"Accept": accept}) as answer:
        assert answer.content_type == "application/json"
        groups = {item["metadata"]["name"]: item for item in (await answer.json())["items"]}
    version = groups["subresources.virtualization.deckhouse.io"]["versions"][0]
    machines = next(one for one in version["resources"] if one["resource"] == "virtualmachines")
    assert {"console", "vnc", "portforward"} <= {one["subresource"] for one in machines["subresources"]}
    assert version["freshness"] == "Current"


def test_the_api_servers_own_openapi_has_the_group(installed: Installed) -> None:
    def both() -> bool:
        new = document(installed.plane.kubectl("get", "--raw", "/openapi/v3"))
        old = document(installed.plane.kubectl("get", "--raw", "/openapi/v2"))
        console = f"{GROUP}/namespaces/{{namespace}}/virtualmachines/{{name}}/console"
        return GROUP.strip("/") in new["paths"] and console in old["paths"]

    eventually(both, 60)
    whole = document(installed.plane.kubectl("get", "--raw", f"/openapi/v3{GROUP}"))
    assert f"{GROUP}/namespaces/{{namespace}}/virtualmachines/{{name}}/vnc" in whole["paths"]


async def test_a_free_session_is_probed_with_kubectl(
    installed: Installed, operator: Path, machine: Object
) -> None:
    raw = f"{path(machine['metadata']['name'], 'console')}?probe=true"
    said = document(await asyncio.to_thread(installed.kubectl, operator, "get", "--raw", raw))
    assert (said["kind"], said["holder"]) == ("VirtualMachineSession", "")


async def test_a_console_session_reaches_the_guest(installed: Installed, operator: Path, machine: Object) -> None:
    name, uid = machine["metadata"]["name"], machine["metadata"]["uid"]
    serial = Serial(installed.server.console_dir / uid)
    await serial.start()
    try:
        async with client(operator) as session:
            async with session.ws_connect(path(name, "console"), protocols=(PROTOCOL,)) as socket:
                assert socket.protocol == PROTOCOL
                await socket.send_bytes(b"root\n")
                assert await asyncio.wait_for(serial.typed.get(), 10) == b"root\n"
                await serial.say(b"web login: ")
                assert (await socket.receive(timeout=10)).data == b"web login: "
                async with session.get(f"{path(name, 'console')}?probe=true") as answer:
                    assert (await answer.json())["holder"] == "oscar", "as the API server knows him"
            # Left in the middle of a session, which the next one takes over.
            async with session.ws_connect(path(name, "console"), protocols=(PROTOCOL,)) as socket:
                await serial.say(b"again")
                assert (await socket.receive(timeout=10)).data.endswith(b"again")
    finally:
        await serial.power_off()


async def test_a_screen_is_reached(operator: Path, machine: Object) -> None:
    where = path(machine["metadata"]["name"], "vnc")
    async with client(operator) as session, session.ws_connect(where, protocols=(PROTOCOL,)) as socket:
        await socket.send_bytes(b"RFB 003.008\n")
        assert (await socket.receive(timeout=10)).data == b"RFB 003.008\n"


async def test_a_refusal_is_a_status(operator: Path) -> None:
    async with client(operator) as session:
        async with session.get(path("nothing", "console")) as answer:
            assert (answer.status, answer.headers["Content-Type"]) == (404, "application/json")
            assert (await answer.json())["message"] == (
                'virtualmachines.virtualization.deckhouse.io "nothing" not found'
            )
        async with session.put(path("nothing", "freeze"), json={}) as answer:
            assert answer.status == 403


async def test_what_is_not_built_says_so_through_the_api_server(editor: Path, machine: Object) -> None:
    where = path(machine["metadata"]["name"], "addvolume")
    async with client(editor) as session, session.put(where, json={}) as answer:
        assert answer.status == 501
        assert "virtualmachines/addvolume is not built" in (await answer.json())["message"]


async def test_who_may_only_read_opens_no_console(installed: Installed, machine: Object) -> None:
    kubeconfig = await asyncio.to_thread(installed.person, "vera", "hyperd:viewer")
    name = machine["metadata"]["name"]
    async with client(kubeconfig) as session, session.get(path(name, "console") + "?probe=true") as answer:
        assert answer.status == 403
        assert "vera" in (await answer.json())["message"]


# Directly, past the API server.


def direct(installed: Installed, pair: Pair | None) -> aiohttp.ClientSession:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if pair is not None:
        context.load_cert_chain(pair.certificate, pair.key)
    base = f"https://127.0.0.1:{installed.port}"
    return aiohttp.ClientSession(base, connector=aiohttp.TCPConnector(ssl=context))


AS_ROOT = {"X-Remote-User": "root", "X-Remote-Group": "system:masters"}


async def get(session: aiohttp.ClientSession, where: str, **headers: str) -> tuple[int, Any]:
    async with session.get(where, headers=headers) as answer:
        return answer.status, await answer.json()


async def test_without_the_front_proxys_certificate_headers_are_nobodys(
    installed: Installed, machine: Object
) -> None:
    where = path(machine["metadata"]["name"], "console") + "?probe=true"
    async with direct(installed, None) as session:
        for one in (where, GROUP, "/apis", "/metrics", "/version", "/api/v1/secrets"):
            status, said = await get(session, one, **AS_ROOT)
            assert (status, said["reason"]) == (401, "Unauthorized")
        async with session.get("/readyz") as answer:
            assert answer.status == 200, "kubelets ask so"


def every_route(name: str) -> Iterator[tuple[str, str]]:
    for (plural, subresource), verbs in DECLARED.items():
        scope = "" if plural in CLUSTER_SCOPED else f"/namespaces/{NAMESPACE}"
        for verb in verbs:
            yield CONNECT_METHODS[verb], f"{GROUP}{scope}/{plural}/{name}/{subresource}"


async def test_every_route_asks_who_and_whether(installed: Installed, machine: Object) -> None:
    pair = await asyncio.to_thread(installed.plane.front_proxy.client, "front-proxy-client")
    stranger = {"X-Remote-User": "mallory", "X-Remote-Group": "system:authenticated"}
    for credentials, headers, wanted in ((None, AS_ROOT, 401), (pair, {}, 401), (pair, stranger, 403)):
        async with direct(installed, credentials) as session:
            for method, where in every_route(machine["metadata"]["name"]):
                async with session.request(method, where, headers=headers) as answer:
                    assert (answer.status, (await answer.json())["kind"]) == (wanted, "Status"), (method, where)


async def test_another_name_of_the_same_ca_is_not_believed(installed: Installed, machine: Object) -> None:
    where = path(machine["metadata"]["name"], "console") + "?probe=true"
    pair = await asyncio.to_thread(installed.plane.front_proxy.client, "somebody")
    async with direct(installed, pair) as session:
        status, said = await get(session, where, **AS_ROOT)
        assert (status, said["reason"]) == (401, "Unauthorized")
        assert "'somebody'" in said["message"]


async def test_a_certificate_of_the_clusters_own_ca_ends_the_handshake(installed: Installed) -> None:
    pair = await asyncio.to_thread(installed.plane.authority.client, "front-proxy-client")
    async with direct(installed, pair) as session:
        with pytest.raises(aiohttp.ClientError):
            await get(session, GROUP, **AS_ROOT)


async def test_the_front_proxy_speaks_for_users_within_their_rights(
    installed: Installed, operator: Path, machine: Object
) -> None:
    where = path(machine["metadata"]["name"], "console") + "?probe=true"
    pair = await asyncio.to_thread(installed.plane.front_proxy.client, "front-proxy-client")
    async with direct(installed, pair) as session:
        assert (await get(session, where, **{"X-Remote-User": "oscar"}))[0] == 200
        status, said = await get(session, where, **{"X-Remote-User": "mallory"})
        assert (status, said["reason"]) == (403, "Forbidden")
        assert (await get(session, where))[0] == 401, "it has to say who asks"
        assert (await get(session, "/api/v1/secrets", **AS_ROOT))[0] == 404, "nothing but the group is here"
