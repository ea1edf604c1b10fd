"""A registry over TLS that says whatever a test wants, and images to put there."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import ssl
import subprocess
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from registry.fetch import Source
from registry.remote.disk import open_disk
from tests.unit.registry.world import Handler, settings_in

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def zstd(data: bytes) -> bytes:
    return subprocess.run(["zstd", "-qc"], input=data, check=True, capture_output=True).stdout


def member(name: str, data: bytes = b"", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    for key, value in fields.items():
        setattr(entry, key, value)
    return entry, data


def link(name: str, target: str, type_: bytes = tarfile.SYMTYPE) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=type_, linkname=target)


def archive(*members: tuple[tarfile.TarInfo, bytes], format_: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format_) as tar:
        for entry, data in members:
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()


@dataclass
class Shelf:
    """``documents`` answers manifests by tag or digest, ``blobs`` by digest; ``routes`` goes before both."""

    port: int
    ca_bundle: str
    documents: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    routes: dict[str, Handler] = field(default_factory=dict)
    seen: list[tuple[str, str]] = field(default_factory=list)
    """Paths with the Authorization header that came."""
    password: str = ""
    """Where set, the registry asks for a token, and its token server for ``user`` and this."""
    realm: str = ""

    def image(self, name: str = "a/disk:1") -> str:
        return f"127.0.0.1:{self.port}/{name}"

    def url(self, path: str) -> str:
        return f"https://127.0.0.1:{self.port}{path}"

    def blob(self, data: bytes, media_type: str = OCI_LAYER) -> dict[str, Any]:
        self.blobs[digest(data)] = data
        return {"mediaType": media_type, "digest": digest(data), "size": len(data)}

    def put(self, content: dict[str, Any] | bytes, media_type: str = OCI_MANIFEST, *tags: str) -> dict[str, Any]:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        for name in (*tags, digest(body)):
            self.documents[name] = (body, media_type)
        return {"mediaType": media_type, "digest": digest(body), "size": len(body)}

    def push(self, *layers: dict[str, Any], tag: str = "1", media_type: str = OCI_MANIFEST) -> dict[str, Any]:
        config = self.blob(b"{}", "application/vnd.oci.image.config.v1+json")
        content = {"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": list(layers)}
        return self.put(content, media_type, tag)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        sent = request.headers.get("Authorization", "")
        self.seen.append((request.path, sent))
        if handler := self.routes.get(request.path):
            return await handler(request)
        if request.path == "/token":
            return await self._token(request, sent)
        if self.password and sent != "Bearer let-me-in":
            asks = f'Bearer realm="{self.realm or self.url("/token")}",service="shelf",scope="repository:x:pull"'
            return web.Response(status=401, headers={"WWW-Authenticate": asks})
        name = request.path.rpartition("/")[2]
        if "/manifests/" in request.path and name in self.documents:
            body, media_type = self.documents[name]
            return web.Response(body=body, content_type=media_type)
        if "/blobs/" in request.path and name in self.blobs:
            return web.Response(body=self.blobs[name], content_type="application/octet-stream")
        return web.Response(status=404)

    async def _token(self, request: web.Request, sent: str) -> web.Response:
        if request.method == "POST":
            form = await request.post()
            assert (form["grant_type"], form["service"]) == ("refresh_token", "shelf")
            assert str(form["scope"]).endswith(":pull")
            right = not sent and form["refresh_token"] == f"identity-{self.password}"
            return web.json_response({"access_token": "let-me-in"}) if right else web.Response(status=401)
        if sent != "Basic " + base64.b64encode(f"user:{self.password}".encode()).decode():
            return web.Response(status=401)
        assert request.query["scope"].endswith(":pull")
        return web.json_response({"token": "let-me-in"})


def certificate(folder: Path) -> tuple[Path, Path]:
    """One for this host, and its key."""
    files = folder / "certificate", folder / "key"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost",
            "-out", files[0], "-keyout", files[1],
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return files


@asynccontextmanager
async def shelf(folder: Path) -> AsyncIterator[Shelf]:
    chain, key = certificate(folder)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(chain, key)
    made = Shelf(0, base64.b64encode(chain.read_bytes()).decode())
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    made.port = runner.addresses[0][1]
    try:
        yield made
    finally:
        await runner.cleanup()


async def taken(
    shelf: Shelf,
    folder: Path,
    image: str = "",
    *,
    secret: bytes = b"",
    **imports: Any,
) -> bytes:
    """The disk in the image, all of it."""
    settings = settings_in(folder, port=shelf.port, **imports)
    async with open_disk(
        image or shelf.image(), ca_bundle=shelf.ca_bundle, pull_secret=secret, settings=settings
    ) as source:
        data = await everything(source)
    assert source.length == len(data)
    return data


async def everything(source: Source) -> bytes:
    return b"".join([block async for block in source.blocks])


def docker_config(**auths: Any) -> bytes:
    return json.dumps({"auths": auths}).encode()


def gz(data: bytes) -> bytes:
    return gzip.compress(data)
