"""Talks to an OCI registry: streams blobs, keeps manifests and tags.

Blobs are why this is not left to a library: they are streamed in constant memory, every byte that comes back is
checked against its digest, every wait has a limit, and a failed push leaves nothing. What a registry answers is
untrusted: digests are checked for syntax, redirects never carry credentials, an upload stays on our host.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from urllib.parse import quote, urlsplit

import aiohttp
from yarl import URL

from hyperd.errors import HyperdError, NotFound, PermanentError, ServiceUnavailable, TemporaryError
from hyperd.jsontypes import Json, JsonObject
from hyperd.settings import Settings
from registry.answers import MAX_DOCUMENT_BYTES, blocks_of, read_document, reading, refusal, translated
from registry.connector import WideUnixConnector
from registry.gate import WriteGate
from registry.layout import MANIFEST_TYPE
from registry.models import RegistryEndpoint
from registry.naming import REPOSITORY
from registry.tokens import CATALOG, Access, deletes, pulls, pushes
from registry.upload import Upload

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_ACCEPT = {"Accept": MANIFEST_TYPE}
_SUBJECT = "hyperd"
_PAGE = 500
_CREATED = 201
_PARTIAL = 206
_NO_RIGHT = (401, 403)
_MAX_REDIRECTS = 3
_OPEN_SECONDS = 10.0
_MAX_PAGES = 2000
"""A list that is longer does not end."""


def check_digest(digest: str) -> str:
    """``digest`` if it is one; PermanentError else. Nothing else becomes a path or a URL."""
    if not _DIGEST.fullmatch(digest):
        raise PermanentError(f"The registry named {digest[:80]!r} as a digest; only sha256 digests are taken.")
    return digest


def digest_of(data: bytes) -> str:
    """``sha256:…`` of ``data``."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _object(body: bytes, what: str) -> JsonObject:
    """A JSON object. Raises PermanentError that says of ``what`` that it is none."""
    try:
        content = json.loads(body)
    except ValueError:
        raise PermanentError(f"{what} is not JSON.") from None
    if not isinstance(content, dict):
        raise PermanentError(f"{what} is not an object.")
    return content


def _names(page: Mapping[str, Json], field: str) -> list[str]:
    """What a page of a list holds; what is no text is no name."""
    held = page.get(field)
    return [name for name in held if isinstance(name, str)] if isinstance(held, list) else []


class RegistryClient:
    """Blobs, manifests, tags.

    Raises ServiceUnavailable while the registry is down or busy, NotFound, TemporaryError for a full or refusing
    registry, PermanentError for an answer that cannot be right.
    """

    def __init__(self, endpoint: RegistryEndpoint, settings: Settings) -> None:
        self.endpoint = endpoint
        self.gate = WriteGate()
        base = URL(endpoint.url)
        self._origin = base.origin()
        self._prefix = endpoint.prefix
        self._timeout = aiohttp.ClientTimeout(
            total=None,
            sock_connect=settings.imports.connect_timeout_seconds,
            sock_read=settings.imports.read_timeout_seconds,
        )
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close connections; the client can be used again."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def ping(self) -> None:
        """Return if the registry answers; ServiceUnavailable else."""
        async with self.request("GET", self._url("")):
            return

    async def exists(self, reference: str) -> bool:
        """Whether the manifest of a ``registryURL`` is there; ServiceUnavailable when nobody can tell.

        A reference to another registry does not exist in this one.
        """
        try:
            repository, tag = self.endpoint.parse(reference)
            url, access = self._manifest_url(repository, tag), pulls(self._full(repository))
            async with self.request("HEAD", url, access, headers=_ACCEPT):
                return True
        except (ValueError, NotFound):
            return False

    async def manifest(self, repository: str, tag: str) -> tuple[str, JsonObject]:
        """Digest and content of a manifest; the digest is that of what came."""
        body = await self.manifest_bytes(repository, tag)
        return digest_of(body), _object(body, f"The manifest of {repository}:{tag}")

    async def manifest_bytes(self, repository: str, tag: str) -> bytes:
        """A manifest as it is stored."""
        url, access = self._manifest_url(repository, tag), pulls(self._full(repository))
        async with self.request("GET", url, access, headers=_ACCEPT) as response:
            return await read_document(response, self.endpoint.name)

    async def put_manifest(self, repository: str, tag: str, body: bytes) -> str:
        """Tag an image; returns the manifest's digest."""
        headers = {"Content-Type": MANIFEST_TYPE}
        url, access = self._manifest_url(repository, tag), pushes(self._full(repository))
        async with self.request("PUT", url, access, data=body, headers=headers):
            return digest_of(body)

    async def delete_manifest(self, repository: str, digest: str) -> None:
        """Delete a manifest and every tag on it; gone already is fine."""
        try:
            url = self._manifest_url(repository, check_digest(digest))
            async with self.request("DELETE", url, deletes(self._full(repository))):
                return
        except NotFound:
            return

    async def tags(self, repository: str) -> list[str]:
        """Tags of a repository; none if it does not exist."""
        name = self._full(repository)
        try:
            pages = [p async for p in self._pages(self._url(f"{name}/tags/list"), pulls(name))]
        except NotFound:
            return []
        return [tag for page in pages for tag in _names(page, "tags")]

    async def catalog(self) -> list[str]:
        """All repositories, without the endpoint's prefix."""
        pages = [page async for page in self._pages(self._url("_catalog"), CATALOG)]
        names = [name for page in pages for name in _names(page, "repositories")]
        if not self._prefix:
            return names
        start = f"{self._prefix}/"
        return [name.removeprefix(start) for name in names if name.startswith(start)]

    @asynccontextmanager
    async def upload(self, repository: str) -> AsyncIterator[Upload]:
        """Open an upload; it is cancelled unless the body ends well."""
        name = self._full(repository)
        opening = asyncio.create_task(self._open_upload(name), name="registry-open-upload")
        try:
            location = await asyncio.shield(opening)
        except asyncio.CancelledError:
            # The registry may have begun by now, and nobody else would ever know under which name.
            with suppress(HyperdError, TimeoutError):
                async with asyncio.timeout(_OPEN_SECONDS):
                    location = await opening
                async with Upload(self, name, location):
                    pass
            raise
        async with Upload(self, name, location) as upload:
            yield upload

    async def mount(self, repository: str, digest: str, *, source: str) -> bool:
        """Have a blob of the repository ``source`` in ``repository`` as well, without moving a byte.

        False where the registry wants to be sent it: then nothing is begun.
        """
        name, other = self._full(repository), self._full(source)
        address = self._url(f"{name}/blobs/uploads/")
        query = {"mount": check_digest(digest), "from": other}
        async with self.request("POST", address.update_query(query), pushes(name), pulls(other)) as response:
            if response.status == _CREATED:
                return True
            location = self.own(response.headers.get("Location", ""))
        async with Upload(self, name, location):
            return False  # unused, it is cancelled

    async def _open_upload(self, name: str) -> URL:
        async with self.request("POST", self._url(f"{name}/blobs/uploads/"), pushes(name)) as response:
            return self.own(response.headers.get("Location", ""))

    async def put_blob(self, repository: str, data: bytes) -> str:
        """Store a small blob; returns its digest."""
        async with self.upload(repository) as upload:
            await upload.send(data)
            await upload.commit(digest_of(data))
        return digest_of(data)

    async def get_blob(self, repository: str, digest: str) -> bytes:
        """A small blob, checked against its digest."""
        async with self._get(self._blob_url(repository, digest), pulls(self._full(repository))) as response:
            body = await read_document(response, self.endpoint.name)
        if digest_of(body) != digest:
            raise TemporaryError(f"Blob {digest} of {repository} is damaged in the registry.")
        return body

    @asynccontextmanager
    async def open_blob(self, repository: str, digest: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """A blob's bytes as they come, in blocks of about 2 MiB; the caller checks the digest."""
        async with self._get(self._blob_url(repository, digest), pulls(self._full(repository))) as response:
            yield reading(blocks_of(response.content.readany), translated(self.endpoint.name))

    async def get_range(self, repository: str, digest: str, offset: int, length: int) -> bytes:
        """``length`` bytes of a blob. Nothing proves that they are its own: the caller checks.

        ServiceUnavailable where fewer come, PermanentError from a registry that serves no parts.
        """
        wanted = {"Range": f"bytes={offset}-{offset + length - 1}"}
        async with self._get(
            self._blob_url(repository, digest), pulls(self._full(repository)), wanted
        ) as response:
            if response.status != _PARTIAL:
                raise PermanentError(f"The registry {self.endpoint.name} does not serve parts of images.")
            body = bytearray()
            with translated(self.endpoint.name):
                while len(body) < length and (piece := await response.content.read(length - len(body))):
                    body += piece
        if len(body) < length:
            raise ServiceUnavailable(f"The registry {self.endpoint.name} broke off.")
        return bytes(body)

    @asynccontextmanager
    async def request(
        self,
        method: str,
        url: URL,
        *access: Access,
        data: bytes | AsyncIterable[bytes] | None = None,
        headers: Mapping[str, str] = {},
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One request to the registry, with our credentials; a refusal is raised.

        ``access`` is what it needs, and all that our own registry lets it do.
        """
        session = self._open_session()
        shown = {**headers, **await self._credentials(access)}
        with translated(self.endpoint.name):
            response = await session.request(method, url, data=data, headers=shown, allow_redirects=False)
        async with response:
            if response.status in _NO_RIGHT and self.endpoint.tokens is not None:
                self.endpoint.tokens.doubt()
                raise ServiceUnavailable(
                    f"The registry {self.endpoint.name} does not take our token; its keys, or this host's clock, "
                    "were changed just now.",
                    retry_after_seconds=2,
                )
            if response.status >= 400:
                with translated(self.endpoint.name):
                    raise refusal(response, await response.content.read(MAX_DOCUMENT_BYTES))
            yield response

    def own(self, location: str) -> URL:
        """An upload's next address, on our registry's host whatever the answer says."""
        parts = urlsplit(location)
        if not parts.path.startswith("/v2/"):
            raise PermanentError(f"The registry {self.endpoint.name} named no usable upload address.")
        return URL(f"{self._origin}{parts.path}?{parts.query}", encoded=True)

    @asynccontextmanager
    async def _get(
        self, url: URL, access: Access, headers: Mapping[str, str] = {}
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """GET that follows redirects to a registry's object store, without our credentials."""
        async with self.request("GET", url, access, headers=headers) as response:
            if response.status not in (301, 302, 303, 307, 308):
                yield response
                return
            target = url.join(URL(response.headers.get("Location", ""), encoded=True))
        session = self._open_session()
        with translated(self.endpoint.name):
            response = await session.get(target, headers=headers, max_redirects=_MAX_REDIRECTS)
        async with response:
            if response.status >= 400:
                raise refusal(response, b"")
            yield response

    async def _pages(self, url: URL, access: Access) -> AsyncIterator[JsonObject]:
        page = url.update_query(n=_PAGE)
        for _ in range(_MAX_PAGES):
            async with self.request("GET", page, access) as response:
                body = await read_document(response, self.endpoint.name)
                following = response.links.get("next")
            yield _object(body, f"A list of the registry {self.endpoint.name}")
            if not following:
                return
            page = self.own(str(following["url"]))
        raise PermanentError(f"A list of the registry {self.endpoint.name} has more than {_MAX_PAGES} pages.")

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector: aiohttp.BaseConnector
            if self.endpoint.socket is not None:
                connector = WideUnixConnector(path=str(self.endpoint.socket), force_close=True)
            else:
                context = ssl.create_default_context(cafile=self.endpoint.ca)
                connector = aiohttp.TCPConnector(ssl=context)
            self._session = aiohttp.ClientSession(
                connector=connector, timeout=self._timeout, auto_decompress=False, read_bufsize=1 << 20
            )
        return self._session

    async def _credentials(self, access: Iterable[Access]) -> dict[str, str]:
        if self.endpoint.tokens is not None:
            return {"Authorization": f"Bearer {await self.endpoint.tokens.token(_SUBJECT, access)}"}
        if not self.endpoint.username:
            return {}
        return {"Authorization": aiohttp.encode_basic_auth(self.endpoint.username, self.endpoint.password)}

    def _url(self, path: str) -> URL:
        return URL(f"{self._origin}/v2/{path}", encoded=True)

    def _full(self, repository: str) -> str:
        if not REPOSITORY.fullmatch(repository):
            raise PermanentError(f"{repository!r} is not the name of a repository.")
        return f"{self._prefix}/{repository}" if self._prefix else repository

    def _manifest_url(self, repository: str, tag: str) -> URL:
        return self._url(f"{self._full(repository)}/manifests/{quote(tag, safe=':')}")

    def _blob_url(self, repository: str, digest: str) -> URL:
        return self._url(f"{self._full(repository)}/blobs/{check_digest(digest)}")
