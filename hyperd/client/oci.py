"""One repository of an OCI registry, as the user has it: with their credentials, from where they are.

The library ``oras`` does not serve here: its token is asked for once, with the scope of the first request, and is
not renewed when it has run out in the middle of a push; it shows the password to whatever token server a registry
names, has no time limits, and waits for minutes between tries. What is left of it is less than this.
"""

from __future__ import annotations

import hashlib
import json
import re
from urllib.parse import quote, urlencode, urlsplit

from hyperd.client import logins
from hyperd.client.home import Home
from hyperd.client.http1 import Connection, ConnectionLost
from hyperd.errors import BadRequest, Forbidden, NotFound, PermanentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hyperd.client.http1 import Response
    from hyperd.jsontypes import JsonObject

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
PIECE_BYTES = 8 << 20
"""Of a blob, in one request."""
_SECONDS = 120.0
_DOCUMENT_BYTES = 4 << 20
_HUB_HOST = "registry-1.docker.io"
_REFERENCE = re.compile(
    r"(?P<host>localhost|[a-z0-9.-]*[.:][a-z0-9.:-]*|\[[0-9a-f:]+\](?::\d+)?)/"
    r"(?P<name>[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*)"
    r":(?P<tag>[A-Za-z0-9_][\w.-]{0,127})",
    re.ASCII,
)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_PARAMETER = re.compile(r'([A-Za-z]{1,32})="([^"]{0,4096})"')
_REDIRECTS = (301, 302, 303, 307, 308)
_TOKEN = re.compile(r"[!-~]{1,65536}")


class Blob:
    """Digest and size of what a registry keeps."""

    __slots__ = ("digest", "size")

    def __init__(self, digest: str, size: int) -> None:
        self.digest = digest
        self.size = size

    def described(self, media_type: str) -> JsonObject:
        """As manifests have it."""
        return {"mediaType": media_type, "digest": self.digest, "size": self.size}


class Repository:
    """``reference`` is ``REGISTRY/REPOSITORY:TAG``; all calls raise PermanentError, NotFound or Forbidden."""

    def __init__(self, reference: str, *, plain: bool = False, auth_file: str = "") -> None:
        """``plain`` is without TLS. Raises BadRequest for what is no reference."""
        match = _REFERENCE.fullmatch(reference.removeprefix("docker://").removeprefix("oci://"))
        if match is None:
            raise BadRequest(f"{reference}: write REGISTRY/REPOSITORY:TAG, as registry.example.org/disks/root:1.")
        self.registry, self.name, self.tag = match["host"], match["name"], match["tag"]
        self._plain = plain
        self._credentials = logins.credentials(self.registry, auth_file)
        self._authorization = ""
        self._connection: Connection | None = None

    def __str__(self) -> str:
        return f"{self.registry}/{self.name}:{self.tag}"

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def manifest(self) -> JsonObject | None:
        """What the tag leads to; None where there is no such tag."""
        return self.tagged(self.tag)[0]

    def tagged(self, tag: str) -> tuple[JsonObject | None, str]:
        """What another tag of the repository leads to, and its digest."""
        try:
            _, body = self._call("GET", self._path(f"manifests/{tag}"), headers={"Accept": MANIFEST_TYPE})
        except NotFound:
            return None, ""
        return _object(body, f"The manifest of {self}"), digest_of(body)

    def put_manifest(self, content: JsonObject, *, tag: str = "") -> str:
        """Have the tag, or another one, lead there; returns its digest."""
        body = encoded(content)
        headers = {"Content-Type": MANIFEST_TYPE}
        self._call("PUT", self._path(f"manifests/{tag or self.tag}"), body=body, headers=headers)
        return digest_of(body)

    def has_blob(self, digest: str) -> bool:
        try:
            self._call("HEAD", self._path(f"blobs/{check_digest(digest)}"))
        except NotFound:
            return False
        return True

    def put_blob(self, body: bytes) -> Blob:
        """Keep a small one."""
        if not self.has_blob(digest_of(body)):
            upload = BlobUpload(self)
            upload.write(body)
            upload.commit()
        return Blob(digest_of(body), len(body))

    def blob(self, digest: str, *, most: int = _DOCUMENT_BYTES) -> bytes:
        """A small one, which is what its digest says."""
        whole = bytearray()
        for piece in self.blob_part(digest, 0, None):
            whole += piece
            if len(whole) > most:
                raise PermanentError(f"{self.registry} sends more than the {most} bytes that {digest} may have.")
        if digest_of(whole) != digest:
            raise PermanentError(f"{self.registry} sends something else than {digest}.")
        return bytes(whole)

    def blob_part(self, digest: str, start: int, stop: int | None) -> Iterator[bytes]:
        """The bytes from ``start`` to ``stop`` of one; who reads must check them."""
        ranged = {} if stop is None else {"Range": f"bytes={start}-{stop - 1}"}
        response = self._asked("GET", self._path(f"blobs/{check_digest(digest)}"), headers=ranged)
        other: Connection | None = None
        whole = False
        try:
            if response.status in _REDIRECTS:
                self.close()
                other, response = self._elsewhere(response.header("location"), ranged)
            if response.status != (206 if ranged else 200):
                raise PermanentError(
                    f"{self.registry} answers {response.status} for {'a part of ' if ranged else ''}a blob."
                )
            yield from response.pieces()
            whole = True
        except OSError as err:
            raise self._broken(err) from err
        finally:
            if other is not None:
                other.close()
            elif not whole:
                self.close()

    def _elsewhere(self, location: str, headers: Mapping[str, str]) -> tuple[Connection, Response]:
        """A registry may keep its blobs with somebody else, who gets no credentials of ours."""
        parts = urlsplit(location)
        if parts.scheme != "https" and not (self._plain and parts.scheme == "http"):
            raise PermanentError(f"{self.registry} keeps its blobs where they are not reached over https.")
        connection = _connect(parts.netloc, plain=parts.scheme == "http")
        path = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
        try:
            return connection, connection.request("GET", path, headers={"Host": parts.netloc, **headers})
        except OSError:
            connection.close()
            raise

    def _path(self, rest: str) -> str:
        return f"/v2/{self.name}/{rest}"

    def _call(
        self, method: str, path: str, *, headers: Mapping[str, str] = {}, body: bytes = b""
    ) -> tuple[Response, bytes]:
        """One request and all of its answer, which is small."""
        response = self._asked(method, path, headers=headers, body=body)
        try:
            return response, b"" if method == "HEAD" else _document(response)
        except OSError as err:
            self.close()
            raise self._broken(err) from err

    def _asked(self, method: str, path: str, *, headers: Mapping[str, str] = {}, body: bytes = b"") -> Response:
        """The answer, with credentials where the registry wants some, and with newer ones where they ran out."""
        for again in (False, True):
            response = self._sent(method, path, headers, body)
            if response.status < 400:
                return response
            said = b"" if method == "HEAD" else _document(response)
            if response.status != 401 or again:
                break
            self._authorization = self._authorize(response)
        if response.status == 404:
            raise NotFound(f"{self} is not there.")
        if response.status in (401, 403):
            raise Forbidden(f"{self.registry} refuses {self.name}: {_reason(said) or 'no access'}.")
        raise PermanentError(f"{self.registry} answers {response.status}: {_reason(said) or 'no reason given'}.")

    def _sent(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Response:
        authorization = {"Authorization": self._authorization} if self._authorization else {}
        host = _HUB_HOST if self.registry == logins.HUB else self.registry
        try:
            if self._connection is None or self._connection.dropped:
                self.close()
                self._connection = _connect(host, plain=self._plain)
            response = self._connection.request(
                method, path, headers={"Host": host, **authorization, **headers}, body=body
            )
        except OSError as err:
            self.close()
            raise self._broken(err) from err
        if response.header("connection").lower() == "close":
            self._connection = None  # the answer still has it
        return response

    def _authorize(self, response: Response) -> str:
        """The header that the registry asks for. Raises Forbidden where there is nothing to show."""
        for name, value in response.headers:
            scheme, _, rest = value.partition(" ")
            if name != "www-authenticate":
                continue
            if scheme.lower() == "bearer":
                return self._token(dict(_PARAMETER.findall(rest)))
            if scheme.lower() == "basic" and self._credentials:
                return f"Basic {self._credentials}"
        raise Forbidden(f"{self.registry} asks for credentials; log in with podman, skopeo or docker login first.")

    def _token(self, asked: Mapping[str, str]) -> str:
        realm = urlsplit(asked.get("realm", ""))
        if realm.scheme != "https" and not (self._plain and realm.scheme == "http"):
            raise PermanentError(f"{self.registry} names no token server that is reached over https.")
        query = {"service": asked.get("service", ""), "scope": f"repository:{self.name}:pull,push"}
        headers = {"Host": realm.netloc}
        if self._credentials:
            if not logins.may_see(realm.hostname or "", self.registry):
                raise PermanentError(
                    f"{self.registry} wants its credentials to be shown to {realm.hostname}, another host."
                )
            headers["Authorization"] = f"Basic {self._credentials}"
        try:
            connection = _connect(realm.netloc, plain=realm.scheme == "http")
            try:
                separator = "&" if realm.query else "?"
                path = (
                    f"{realm.path or '/'}{'?' + realm.query if realm.query else ''}{separator}{urlencode(query)}"
                )
                response = connection.request("GET", path, headers=headers)
                body = _document(response)
            finally:
                connection.close()
        except OSError as err:
            raise PermanentError(f"The token server {realm.netloc} cannot be reached: {_why(err)}.") from err
        if response.status >= 400:
            raise Forbidden(f"The token server {realm.netloc} lets nobody in with these credentials.")
        answer = _object(body, f"What the token server {realm.netloc} answers")
        token = answer.get("token") or answer.get("access_token")
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise PermanentError(f"The token server {realm.netloc} answers without a token.")
        return f"Bearer {token}"

    def _broken(self, err: OSError) -> PermanentError:
        return PermanentError(f"The registry {self.registry} cannot be reached: {_why(err)}.")


class BlobUpload:
    """A blob on its way into ``repository``, of a size that nobody has to know; ``write`` is as a file's."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._sha256 = hashlib.sha256()
        self._kept = bytearray()
        self._sent = 0
        response, _ = repository._call("POST", repository._path("blobs/uploads/"))  # noqa: SLF001  one in two classes
        self._location = self._own(response)
        self.size = 0

    def write(self, data: bytes) -> int:
        """The next bytes; those of the last piece are kept."""
        self._sha256.update(data)
        self._kept += data
        self.size += len(data)
        while len(self._kept) >= PIECE_BYTES:
            self._send(PIECE_BYTES)
        return len(data)

    def flush(self) -> None:
        """Nothing: pieces have their size."""

    def commit(self) -> Blob:
        """All has come."""
        if self._kept:
            self._send(len(self._kept))
        digest = f"sha256:{self._sha256.hexdigest()}"
        separator = "&" if "?" in self._location else "?"
        self._repository._call("PUT", f"{self._location}{separator}digest={quote(digest)}")  # noqa: SLF001  as above
        return Blob(digest, self.size)

    def cancel(self) -> None:
        """The registry may forget it."""
        try:
            self._repository._call("DELETE", self._location)  # noqa: SLF001  as above
        except (PermanentError, NotFound, Forbidden):
            return  # it forgets it by itself, later

    def _send(self, count: int) -> None:
        piece = bytes(self._kept[:count])
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Range": f"{self._sent}-{self._sent + count - 1}",
        }
        response, _ = self._repository._call("PATCH", self._location, headers=headers, body=piece)  # noqa: SLF001
        self._location = self._own(response)
        self._sent += count
        del self._kept[:count]

    def _own(self, response: Response) -> str:
        """Where to go on, on the registry's own host whatever it says."""
        parts = urlsplit(response.header("location"))
        if not parts.path.startswith("/v2/"):
            raise PermanentError(f"The registry {self._repository.registry} names no place for a blob.")
        return f"{parts.path}{'?' if parts.query else ''}{parts.query}"


def digest_of(body: bytes | bytearray) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def check_digest(digest: object) -> str:
    """Raises PermanentError."""
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise PermanentError("The registry names something as a digest that is none; only sha256 is taken.")
    return digest


def encoded(content: object) -> bytes:
    """JSON, the same for the same content."""
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def _object(body: bytes, what: str) -> JsonObject:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise PermanentError(f"{what} is no JSON object.")
    return content


def _document(response: Response) -> bytes:
    whole = bytearray()
    for piece in response.pieces():
        whole += piece
        if len(whole) > _DOCUMENT_BYTES:
            raise ConnectionLost("its answer is larger than any that is expected")
    return bytes(whole)


def _reason(body: bytes) -> str:
    """What a registry says of a refusal."""
    try:
        return str(json.loads(body)["errors"][0]["message"])[:200].rstrip(".")
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""


def _why(err: OSError) -> str:
    return str(err.strerror or err).rstrip(".")


def _connect(host: str, *, plain: bool) -> Connection:
    parts = urlsplit(f"//{host}")
    try:
        port = parts.port or (80 if plain else 443)
    except ValueError:
        raise ConnectionLost(f"{host} is no address") from None
    return Connection(Home(name=host, host=parts.hostname or "", port=port, tls=not plain), timeout=_SECONDS)
