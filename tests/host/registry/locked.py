"""docker-registry behind a token server, for a process of its own: whoever is ``user`` with the password may all.

``python -m tests.host.registry.locked FOLDER`` prints one line of JSON once both serve: ``port`` and ``ca``, the
path of the authority's certificate.
"""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import ssl
import sys
import time
from pathlib import Path

from aiohttp import web
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tests.unit.registry.remote.shelf import certificate

PASSWORD = "opensesame-canary"
_CONFIG = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {folder}/data}}}}
http: {{addr: "127.0.0.1:{port}", tls: {{certificate: {chain}, key: {key}}}}}
auth:
  token: {{realm: "https://127.0.0.1:{realm}/token", service: test, issuer: test, rootcertbundle: {chain}}}
"""


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class TokenServer:
    """Distribution's token protocol, for one user."""

    def __init__(self, chain: Path, key: Path) -> None:
        loaded = serialization.load_pem_private_key(key.read_bytes(), None)
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        self._key = loaded
        self._certificate = base64.b64encode(ssl.PEM_cert_to_DER_cert(chain.read_text())).decode()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        wanted = "Basic " + base64.b64encode(f"user:{PASSWORD}".encode()).decode()
        if request.headers.get("Authorization") != wanted:
            return web.Response(status=401)
        access = []
        for scope in request.query.getall("scope", []):
            kind, name, actions = scope.split(":")
            access.append({"type": kind, "name": name, "actions": actions.split(",")})
        now = int(time.time())
        claims = {
            "iss": "test", "sub": "user", "aud": "test", "jti": str(now),
            "exp": now + 300, "nbf": now - 30, "iat": now, "access": access,
        }  # fmt: skip
        head = {"typ": "JWT", "alg": "ES256", "x5c": [self._certificate]}
        signed = ".".join(_encoded(json.dumps(part).encode()) for part in (head, claims))
        pair = decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        signature = b"".join(number.to_bytes(32, "big") for number in pair)
        return web.json_response({"token": f"{signed}.{_encoded(signature)}"})


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _serves(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def main() -> None:
    folder = Path(sys.argv[1])
    chain, key = certificate(folder)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(chain, key)
    app = web.Application()
    app.router.add_get("/token", TokenServer(chain, key).answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    port = _free_port()
    config = folder / "config.yml"
    realm = runner.addresses[0][1]
    config.write_text(_CONFIG.format(folder=folder, port=port, chain=chain, key=key, realm=realm))
    await asyncio.create_subprocess_exec("setpriv", "--pdeathsig=KILL", "--", "docker-registry", "serve", config)
    while not await _serves(port):
        await asyncio.sleep(0.05)
    print(json.dumps({"port": port, "ca": str(chain)}), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
