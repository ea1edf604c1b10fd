"""Who may say who asks: the proxies that are known, by their certificates, and nobody else."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from hyperd.api.access.front_proxy import FrontProxy, Proxies, from_cluster, from_files
from hyperd.api.serving.middleware import Middleware, RequestInfo
from hyperd.api.serving.peers import as_front_proxy
from hyperd.api.wire.metrics import Metrics
from hyperd.errors import PermanentError
from hyperd.resources.schema.kind import Object
from tests.cluster.controlplane.certificates import Authority, Pair
from tests.unit.admission.world import World

CONFIG = {
    "requestheader-allowed-names": '["front-proxy-client"]',
    "requestheader-username-headers": '["X-Remote-User"]',
    "requestheader-group-headers": '["X-Remote-Group"]',
    "requestheader-extra-headers-prefix": '["X-Remote-Extra-"]',
}
TOLD = {
    "X-Remote-User": "alice",
    "X-Remote-Group": "developers",
    "X-Remote-Uid": "1000",
    "X-Remote-Extra-Example.org%2fteam": "blue",
}


def config(authority: Authority | None, **data: str) -> Object:
    given = {"requestheader-client-ca-file": authority.certificate.read_text()} if authority else {}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "extension-apiserver-authentication", "namespace": "kube-system"},
        "data": {**CONFIG, **given, **data},
    }


@pytest.fixture
def front(tmp_path: Path) -> Authority:
    folder = tmp_path / "front"
    folder.mkdir()
    return Authority(folder, "front-proxy-ca")


@pytest.fixture
def peers(tmp_path: Path) -> Authority:
    folder = tmp_path / "peers"
    folder.mkdir()
    return Authority(folder, "hyperd-cluster-ca")


@asynccontextmanager
async def asking(proxies: Proxies, pair: Pair | None, server: Pair) -> AsyncIterator[Any]:
    """``ask(path, **headers)`` of a TLS listener that believes ``proxies``, with a client's certificate."""

    async def answer(request: web.BaseRequest, request_id: str, seen: RequestInfo) -> web.StreamResponse:
        if request.path == "/peer":
            proxies.require_peer(request)
        user = proxies.user(request)
        return web.json_response([user.name, list(user.groups), user.uid, dict(user.extra)])

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.certificate, server.key)
    proxies.load_into(context)
    runner = web.ServerRunner(web.Server(Middleware(answer, Metrics(()))))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    trust = ssl.create_default_context()
    trust.check_hostname = False
    trust.verify_mode = ssl.CERT_NONE
    if pair is not None:
        trust.load_cert_chain(pair.certificate, pair.key)
    host, port = runner.addresses[0][:2]
    connector = aiohttp.TCPConnector(ssl=trust)
    async with aiohttp.ClientSession(f"https://{host}:{port}", connector=connector) as session:

        async def ask(path: str = "/", **headers: str) -> tuple[int, Any]:
            async with session.get(path, headers=headers) as said:
                return said.status, await said.json()

        yield ask
    await runner.cleanup()


def proxies_of(front: Authority, peers: Authority, **data: str) -> Proxies:
    return Proxies(FrontProxy.of_config_map(config(front, **data)), as_front_proxy(peers.certificate.read_text()))


async def test_the_front_proxy_tells_name_groups_and_more(front: Authority, peers: Authority) -> None:
    server = await asyncio.to_thread(front.server, "server", names=("localhost",))
    pair = await asyncio.to_thread(front.client, "front-proxy-client")
    async with asking(proxies_of(front, peers), pair, server) as ask:
        status, said = await ask(**TOLD)
        groups = ["developers", "system:authenticated"]
        assert (status, said) == (200, ["alice", groups, "", {"example.org/team": ["blue"]}])
        assert (await ask())[0] == 401, "it has to say who asks"
    uids = {"requestheader-uid-headers": '["X-Remote-Uid"]'}
    async with asking(proxies_of(front, peers, **uids), pair, server) as ask:
        assert (await ask(**TOLD))[1][2] == "1000", "only where the API server says that it sets it"


@pytest.mark.parametrize(
    ("issuer", "name", "believed", "is_peer"),
    [
        ("front", "front-proxy-client", True, False),
        ("front", "somebody", False, False),
        ("front", "hyperd-peer", False, False),
        ("peers", "hyperd-peer", True, True),
        ("peers", "front-proxy-client", False, False),
        ("", "", False, False),
    ],
)
async def test_a_name_counts_with_its_own_ca_only(
    front: Authority, peers: Authority, issuer: str, name: str, believed: bool, is_peer: bool
) -> None:
    """Only another node's daemon asks for guests: whoever the API server vouches for does not."""
    authority = {"front": front, "peers": peers}.get(issuer)
    server = await asyncio.to_thread(front.server, "server", names=("localhost",))
    pair = await asyncio.to_thread(authority.client, name) if authority else None
    async with asking(proxies_of(front, peers), pair, server) as ask:
        assert (await ask(**TOLD))[0] == (200 if believed else 401)
        assert (await ask("/peer", **TOLD))[0] == (200 if is_peer else 401)


async def test_cas_that_cannot_be_told_apart_make_no_peers(front: Authority, tmp_path: Path) -> None:
    folder = tmp_path / "twin"
    folder.mkdir()
    twin = await asyncio.to_thread(Authority, folder, "front-proxy-ca")
    server = await asyncio.to_thread(front.server, "server", names=("localhost",))
    theirs = await asyncio.to_thread(front.client, "front-proxy-client")
    async with asking(proxies_of(front, twin), theirs, server) as ask:
        assert (await ask(**TOLD))[0] == 200
    pair = await asyncio.to_thread(twin.client, "hyperd-peer")
    async with asking(proxies_of(front, twin), pair, server) as ask:
        with pytest.raises(aiohttp.ClientError):
            await ask(**TOLD)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"requestheader-client-ca-file": ""}, "names no request-header CA"),
        ({"requestheader-client-ca-file": "garbage"}, "has no usable request-header CA"),
        ({"requestheader-allowed-names": '"front"'}, "requestheader-allowed-names is no list of strings"),
        ({"requestheader-group-headers": "["}, "requestheader-group-headers is no list of strings"),
    ],
)
async def test_a_cluster_that_does_not_say_is_refused(
    front: Authority, data: dict[str, str], sentence: str
) -> None:
    with pytest.raises(PermanentError, match=sentence):
        FrontProxy.of_config_map(config(front, **data))


async def test_it_is_read_from_the_cluster_or_from_files(front: Authority) -> None:
    authority = await asyncio.to_thread(front.certificate.read_text)
    found = await from_cluster(World([config(front)]))
    assert (found.authority, found.allowed_names) == (authority, ("front-proxy-client",))
    with pytest.raises(PermanentError, match="--requestheader-client-ca-file"):
        await from_cluster(World())
    given = await from_files(front.certificate, ["gate"])
    assert (given.authority, given.allowed_names) == (authority, ("gate",))
    with pytest.raises(PermanentError, match="cannot be read"):
        await from_files(front.certificate.with_name("absent"), ())
