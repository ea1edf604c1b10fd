"""The CA that all hyperds of a cluster share, so that one CA bundle is good for whichever answers a Service.

It lives in a Secret. The first daemon makes it, the others take it; each signs a server certificate of its own.
Long before it ends, or when an administrator asks for it, another one follows it (``succession``).
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

from hyperd import clock, durable
from hyperd.api.certificates import pki
from hyperd.api.certificates.pki import Lasting, Pki
from hyperd.api.serving.peers import COMMON_NAME
from hyperd.api.serving.succession import Ca, Shared, read, says_whom_to_trust, written
from hyperd.errors import AlreadyExists, Conflict, HyperdError, NotFound
from hyperd.resources.schema.kind import Object
from hyperd.resources.values.meta import parse_time
from hyperd.resources.values.names import API_SERVICE, CA_SECRET, SYSTEM_NAMESPACE
from hyperd.settings import Settings
from hyperd.store.kubernetes.client import KubernetesClient

_LOG = logging.getLogger(__name__)
SERVER_NAME = f"{API_SERVICE}.{SYSTEM_NAMESPACE}.svc"
"""What every daemon of the cluster may be called."""
CA_NAME = "hyperd cluster"
_SECRETS = f"/api/v1/namespaces/{SYSTEM_NAMESPACE}/secrets"
_CONFIG_MAPS = f"/api/v1/namespaces/{SYSTEM_NAMESPACE}/configmaps"
_SKEW_SECONDS: Final = 300.0
LASTING: Final = Lasting()
OVERLAP_SECONDS: Final = 3600.0
"""How long each step of a succession is seen before the next: daemons look every minute."""


@dataclass(frozen=True)
class Obtained:
    """This daemon's certificates; ``pki.ca`` has every CA that is trusted, who signs first."""

    pki: Pki
    key: bytes
    """Of the CA that signs."""
    other_keys: tuple[bytes, ...]
    """Of those that will sign, or did."""


async def obtain(
    client: KubernetesClient, settings: Settings, *, lasting: Lasting = LASTING, overlap: float = OVERLAP_SECONDS
) -> Obtained:
    """This daemon's certificates, of the shared CA.

    Raises what the API server answers, and PermanentError where Secret or folder cannot be used.
    """
    secret = await _find(client)
    if secret is None:
        made = await asyncio.to_thread(_make, lasting)
        try:
            blank: Object = {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": CA_SECRET, "namespace": SYSTEM_NAMESPACE},
                "type": "kubernetes.io/tls",
            }
            body = orjson.dumps(written(Shared(made), blank))
            secret = await client.request("POST", _SECRETS, body=body)
        except AlreadyExists:
            # Another daemon was first.
            secret = await _find(client)
            if secret is None:
                raise
    shared = await _gone_on(client, secret, lasting, overlap)
    await asyncio.to_thread(_adopt, settings.cluster_pki_dir, shared)
    found = await asyncio.to_thread(ensure, settings, lasting)
    return Obtained(found, shared.current.key, shared.other_keys)


async def _find(client: KubernetesClient) -> Object | None:
    try:
        return await client.request("GET", f"{_SECRETS}/{CA_SECRET}")
    except NotFound:
        return None


async def _gone_on(client: KubernetesClient, secret: Object, lasting: Lasting, overlap: float) -> Shared:
    """What the Secret has, once the step of a succession is taken that is due."""
    shared, now = read(secret), clock.wall()
    after = shared.stepped(now, overlap)
    # Until it signs no more its leaves are good to their end.
    if after is None and shared.wants_another(now, lasting.leaf + 2 * overlap):
        after = shared.announced(await asyncio.to_thread(_make, lasting), now)
    if after is None or not await _agrees(client):
        if says_whom_to_trust(secret, shared):
            return shared
        after = shared
    try:
        body = orjson.dumps(written(after, secret))
        await client.request("PUT", f"{_SECRETS}/{CA_SECRET}", body=body)
    except Conflict:
        # Another daemon took it; this one sees it when it looks again.
        return shared
    if after is not shared:
        _LOG.info("%s", _told(after))
    return after


async def _agrees(client: KubernetesClient) -> bool:
    """Whether this node's clock is the API server's: by one that leapt a CA would end, or begin, for everybody."""
    blank = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "hyperd-clock-"}}
    try:
        # What is only tried is stamped as well.
        made = await client.request("POST", _CONFIG_MAPS, query=[("dryRun", "All")], body=orjson.dumps(blank))
        apart = abs(clock.wall() - parse_time(made["metadata"]["creationTimestamp"]).timestamp())
    except (HyperdError, KeyError, ValueError) as err:
        _LOG.warning("The cluster's next CA waits, as the API server does not tell its time: %s", err)
        return False
    if apart > _SKEW_SECONDS:
        _LOG.warning("The cluster's next CA waits: this node's clock is %.0f s from the API server's.", apart)
    return apart <= _SKEW_SECONDS


def _told(shared: Shared) -> str:
    if shared.next is not None:
        return "Another CA of this cluster's daemons is trusted from now on, and signs soon."
    if shared.former is not None:
        return "The next CA of this cluster's daemons signs from now on."
    return "The former CA of this cluster's daemons is trusted no more."


def _make(lasting: Lasting) -> Ca:
    """Another CA."""
    with tempfile.TemporaryDirectory(prefix="hyperd-ca") as folder:
        made = pki.ensure_in(Path(folder), CA_NAME, ("localhost",), client=COMMON_NAME, group="", lasting=lasting)
        return Ca(made.ca.certificate.read_bytes(), made.ca.key.read_bytes())


def ensure(settings: Settings, lasting: Lasting = LASTING) -> Pki:
    """This daemon's certificates, of the CA that is here: once it was obtained, the shared one. Blocking."""
    names = (*pki.server_names(settings.aggregation.host), SERVER_NAME, f"{SERVER_NAME}.cluster.local")
    folder = settings.cluster_pki_dir
    return pki.ensure_in(folder, CA_NAME, names, client=COMMON_NAME, group="", lasting=lasting)


def _adopt(folder: Path, shared: Shared) -> None:
    """Have the shared CA in ``folder``, before those that are trusted besides; ``ensure`` makes its leaves."""
    certificate, key = folder / "ca.crt", folder / "ca.key"
    before = certificate.read_bytes() if certificate.exists() else b""
    if before == shared.bundle:
        return
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    if not before.startswith(shared.current.certificate.strip()):
        # Those of a former CA are trusted for a while, so nothing else would have them made anew.
        for name in ("server.crt", f"{COMMON_NAME}.crt"):
            (folder / name).unlink(missing_ok=True)
    durable.write(key, shared.current.key)
    durable.write(certificate, shared.bundle)
