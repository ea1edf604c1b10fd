"""The cluster API keeps up with what changes around it, and is there before the cluster is."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import ssl
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import yaml

from hyperd.api.audit.log import AuditLog
from hyperd.api.audit.shares import Stream
from hyperd.api.certificates.pki import Pki
from hyperd.api.serving import clusterca
from hyperd.api.serving.cluster import ClusterApi
from hyperd.resources.all import SECRET
from hyperd.settings import AggregationSettings, AuditSettings, FrontProxySettings, Settings
from hyperd.store.kubernetes.store import KubernetesStore
from tests.cluster.controlplane.certificates import Authority, Pair
from tests.cluster.controlplane.plane import free_port
from tests.cluster.installed.conftest import Installed

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]
GROUP = "/apis/subresources.virtualization.deckhouse.io/v1alpha2"
AS_ROOT = {"X-Remote-User": "root", "X-Remote-Group": "system:masters"}


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="hvu"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@asynccontextmanager
async def serving(
    folder: Path, kubeconfig: Path, ca: Path | None = None, audit: AuditLog | None = None
) -> AsyncIterator[ClusterApi]:
    settings = Settings(
        state_dir=folder,
        run_dir=folder,
        log_dir=folder,
        aggregation=AggregationSettings(host="127.0.0.1", port=0),
        front_proxy=FrontProxySettings(ca_file=ca),
    )
    store = KubernetesStore(kubeconfig)
    await store.start()
    server = ClusterApi(settings, store, sessions={}, audit=audit, upkeep_seconds=0.1)
    try:
        await server.start()
        yield server
    finally:
        await server.stop()
        await store.close()


async def status(server: ClusterApi, path: str, pair: Pair | None = None, **headers: str) -> int:
    """What a new connection is answered; 0 when there is none."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if pair is not None:
        context.load_cert_chain(pair.certificate, pair.key)
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(f"https://127.0.0.1:{server.port}", connector=connector) as session:
        with contextlib.suppress(aiohttp.ClientError):
            async with session.get(path, headers=AS_ROOT | headers) as answer:
                return answer.status
    return 0


async def comes(server: ClusterApi, path: str, wanted: int, pair: Pair | None = None) -> None:
    async with asyncio.timeout(20):
        while await status(server, path, pair) != wanted:
            await asyncio.sleep(0.05)


async def test_health_is_answered_before_the_cluster_is_there(installed: Installed, folder: Path) -> None:
    config = yaml.safe_load(await asyncio.to_thread(installed.plane.kubeconfig.read_text))
    config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{free_port()}"
    nowhere = folder / "kubeconfig"
    await asyncio.to_thread(nowhere.write_text, yaml.safe_dump(config))
    async with serving(folder, nowhere) as server:
        await comes(server, "/livez", 200)
        assert await status(server, "/readyz") == 503, "no Service leads here yet"
        assert await status(server, GROUP) == 401
        assert not server.registered.is_set()


async def test_a_new_front_proxy_ca_takes_the_place_of_the_former(installed: Installed, folder: Path) -> None:
    def make(name: str) -> tuple[Authority, Pair]:
        place = folder / name
        place.mkdir()
        authority = Authority(place, name)
        return authority, authority.client("gate")

    (first, old), (second, new) = await asyncio.to_thread(lambda: (make("first"), make("second")))
    ca = folder / "front.crt"
    await asyncio.to_thread(shutil.copy, first.certificate, ca)
    account = await asyncio.to_thread(installed.account_kubeconfig)
    async with serving(folder, account, ca) as server:
        await comes(server, GROUP, 200, old)
        await comes(server, "/readyz", 200)
        assert await status(server, GROUP, new) == 0
        await asyncio.to_thread(shutil.copy, second.certificate, ca)
        await comes(server, GROUP, 200, new)
        assert await status(server, GROUP, old) == 0


async def test_sessions_and_denials_are_in_the_audit_log(installed: Installed, folder: Path) -> None:
    authority = await asyncio.to_thread(Authority, folder, "gate-ca")
    pair = await asyncio.to_thread(authority.client, "gate")
    audit = AuditLog(folder, AuditSettings(level="writes"))
    audit.start()
    account = await asyncio.to_thread(installed.account_kubeconfig)
    console = f"{GROUP}/namespaces/default/virtualmachines/web/console"
    # What came before the last word was the client's own claim.
    origin = {"X-Forwarded-For": "198.51.100.9, 192.0.2.7"}
    async with serving(folder, account, authority.certificate, audit) as server:
        await comes(server, "/readyz", 200)
        assert await status(server, console, pair, **origin) == 501, "this test has no consoles"
        assert await status(server, console) == 401
    await asyncio.to_thread(audit.close)
    # What came without a login stands apart.
    files = [audit.path.parent / stream for stream in (Stream.USERS, Stream.STRANGERS)]
    text = "".join([await asyncio.to_thread(file.read_text) for file in files])
    lines = [json.loads(line) for line in text.splitlines()]
    told = [(line.get("user", ""), line["source"], line.get("stage", ""), line.get("code", 0)) for line in lines]
    assert told == [
        ("root", "192.0.2.7", "opened", 0),
        ("root", "192.0.2.7", "", 501),
        ("", "127.0.0.1", "", 401),
    ]
    assert (lines[0]["resource"], lines[0]["subresource"]) == ("virtualmachines", "console")


async def test_daemons_that_start_at_once_share_one_ca(
    folder: Path, admin_store: KubernetesStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each makes one, one of them is first, and the others take that for theirs."""
    monkeypatch.setattr(clusterca, "CA_SECRET", "hyperd-ca-at-once")
    places = [Settings(state_dir=folder / str(number), run_dir=folder, log_dir=folder) for number in range(3)]
    try:
        found = await asyncio.gather(*(clusterca.obtain(admin_store.client, place) for place in places))
    finally:
        await admin_store.delete(SECRET, "hyperd-system", "hyperd-ca-at-once")
    authority, *others = [await asyncio.to_thread(one.pki.ca.certificate.read_text) for one in found]
    assert others == [authority] * 2
    for one in found:
        await asyncio.to_thread(_shake_hands, ssl.create_default_context(cadata=authority), one.pki)


def _shake_hands(client: ssl.SSLContext, pki: Pki) -> None:
    """A handshake by the Service's name. Raises ssl.SSLError, and ValueError when it does not end."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pki.server.certificate, pki.server.key)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client.wrap_bio(down, up, server_hostname=clusterca.SERVER_NAME)
    far = server.wrap_bio(up, down, server_side=True)
    for _ in range(6):
        for side in (near, far):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    near.getpeercert()
