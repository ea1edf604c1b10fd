"""Certificates that last seconds: whoever asks never meets one that has ended, or that nobody told it of."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import shutil
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import pytest
from yarl import URL

from hyperd.api.certificates.pki import Lasting
from hyperd.api.serving import clusterca
from hyperd.api.serving.cluster import ClusterApi
from hyperd.api.serving.neighbours import AWAY_PATH
from hyperd.api.serving.registration import Registration
from hyperd.errors import ServiceUnavailable
from hyperd.resources.all import SECRET
from hyperd.store.kubernetes.store import KubernetesStore
from tests.cluster.controlplane.certificates import Authority
from tests.cluster.installed.conftest import Installed
from tests.cluster.installed.test_upkeep import serving

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

_LASTING = Lasting(leaf=12, ca=24, renew_before=8)
_OVERLAP_SECONDS = 4.0
_SECRET = "hyperd-ca-rotating"


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="hvr"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


async def test_nobody_meets_a_certificate_that_has_ended_or_is_unknown(
    installed: Installed, admin_store: KubernetesStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[bytes] = []

    async def tell(_: Registration, authority: bytes, evictions: str) -> None:
        told.append(authority)

    obtain = partial(clusterca.obtain, lasting=_LASTING, overlap=_OVERLAP_SECONDS)
    monkeypatch.setattr(clusterca, "CA_SECRET", _SECRET)
    monkeypatch.setattr(clusterca, "obtain", obtain)
    monkeypatch.setattr(Registration, "ensure", tell)
    signing: list[str] = []
    leaves: set[bytes] = set()
    for name in ("front", "one", "two"):
        (folder / name).mkdir()
    front = await asyncio.to_thread(Authority, folder / "front", "front")
    try:
        async with AsyncExitStack() as stack:
            pair = [
                await stack.enter_async_context(
                    serving(folder / name, installed.plane.kubeconfig, front.certificate)
                )
                for name in ("one", "two")
            ]
            await asyncio.gather(*(server.registered.wait() for server in pair))
            # Two of them have followed the first one, and at least one was forgotten by then.
            while len(signing) < 3:
                for server, other in (pair, reversed(pair)):
                    # As the API server: it trusts what it was told last.
                    leaves.add(await _shown(server, told[-1]))
                    await _asked(server, other)
                secret = await admin_store.find(SECRET, "hyperd-system", _SECRET)
                assert secret is not None
                now = secret["data"]["tls.crt"]
                if now not in signing:
                    signing.append(now)
    finally:
        await admin_store.delete(SECRET, "hyperd-system", _SECRET)
    assert len(leaves) >= 6, "each daemon had one of each CA"
    first = base64.b64decode(signing[0]).strip()
    assert any(first not in bundle for bundle in told), "the first one is never forgotten"


async def _shown(server: ClusterApi, bundle: bytes) -> bytes:
    """The certificate that a new connection is shown. Raises ssl.SSLError where it is no good for the Service."""
    context = ssl.create_default_context(cadata=bundle.decode())
    _, writer = await asyncio.open_connection(
        "127.0.0.1", server.port, ssl=context, server_hostname=clusterca.SERVER_NAME
    )
    try:
        found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        assert isinstance(found, bytes)
        return found
    finally:
        writer.close()


async def _asked(server: ClusterApi, other: ClusterApi) -> None:
    """One daemon asks another; what has nothing to do with certificates is no matter here."""
    base = URL(f"https://127.0.0.1:{other.port}")
    with contextlib.suppress(Disturbed):
        assert b"away" in await _answer(server, base)


async def _answer(server: ClusterApi, base: URL) -> bytes:
    try:
        return await server.peers.ask("other", base, AWAY_PATH, b"")
    except ServiceUnavailable as err:
        if any(word in err.message for word in ("ertificate", "SSL", "401")):
            raise
        raise Disturbed from err


class Disturbed(Exception):
    """Certificates were changed just then, and the connection with them."""
