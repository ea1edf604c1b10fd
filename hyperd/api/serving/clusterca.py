"""The CA that all hyperds of a cluster share, so that one CA bundle is good for whichever answers a Service.

It lives in a Secret. The first daemon makes it, the others take it; each signs a server certificate of its own.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from pathlib import Path

import orjson

from hyperd import durable
from hyperd.api.certificates import pki
from hyperd.api.certificates.pki import Pki
from hyperd.api.serving.peers import COMMON_NAME
from hyperd.errors import AlreadyExists, NotFound, PermanentError
from hyperd.resources.schema.kind import Object
from hyperd.resources.values.names import API_SERVICE, CA_SECRET, SYSTEM_NAMESPACE
from hyperd.settings import Settings
from hyperd.store.kubernetes.client import KubernetesClient

SERVER_NAME = f"{API_SERVICE}.{SYSTEM_NAMESPACE}.svc"
"""What every daemon of the cluster may be called."""
CA_NAME = "hyperd cluster"
_SECRETS = f"/api/v1/namespaces/{SYSTEM_NAMESPACE}/secrets"
_CERTIFICATE, _KEY = "tls.crt", "tls.key"


async def obtain(client: KubernetesClient, settings: Settings) -> Pki:
    """This daemon's certificates, of the shared CA.

    Raises what the API server answers, and PermanentError where Secret or folder cannot be used.
    """
    shared = await _find(client)
    if shared is None:
        made = await asyncio.to_thread(ensure, settings)
        try:
            await client.request("POST", _SECRETS, body=orjson.dumps(await asyncio.to_thread(_secret, made)))
            return made
        except AlreadyExists:
            # Another daemon was first.
            shared = await _find(client)
            if shared is None:
                raise
    await asyncio.to_thread(_adopt, settings.cluster_pki_dir, shared)
    return await asyncio.to_thread(ensure, settings)


async def _find(client: KubernetesClient) -> tuple[bytes, bytes] | None:
    try:
        secret = await client.request("GET", f"{_SECRETS}/{CA_SECRET}")
    except NotFound:
        return None
    data: Object = secret.get("data") or {}
    try:
        return base64.b64decode(data[_CERTIFICATE], validate=True), base64.b64decode(data[_KEY], validate=True)
    except (KeyError, TypeError, binascii.Error) as err:
        raise PermanentError(
            f"Secret {SYSTEM_NAMESPACE}/{CA_SECRET} lacks {_CERTIFICATE} or {_KEY}; delete it to have one made."
        ) from err


def ensure(settings: Settings) -> Pki:
    """This daemon's certificates, of the CA that is here: once it was obtained, the shared one. Blocking."""
    names = (*pki.server_names(settings.aggregation.host), SERVER_NAME, f"{SERVER_NAME}.cluster.local")
    return pki.ensure_in(settings.cluster_pki_dir, CA_NAME, names, client=COMMON_NAME, group="")


def _secret(made: Pki) -> Object:
    files = ((_CERTIFICATE, made.ca.certificate), (_KEY, made.ca.key))
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": CA_SECRET, "namespace": SYSTEM_NAMESPACE},
        "type": "kubernetes.io/tls",
        "data": {name: base64.b64encode(path.read_bytes()).decode() for name, path in files},
    }


def _adopt(folder: Path, shared: tuple[bytes, bytes]) -> None:
    """Have the shared CA in ``folder``; leaves of another CA are made anew by ``pki.ensure_in``."""
    certificate, key = folder / "ca.crt", folder / "ca.key"
    if certificate.exists() and certificate.read_bytes() == shared[0]:
        return
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    durable.write(key, shared[1])
    durable.write(certificate, shared[0])
