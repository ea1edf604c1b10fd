"""One repository of an OCI registry, as the user has it: with their credentials, from where they are.

The library ``oras`` does not serve here: its token is asked for once, with the scope of the first request, and is
not renewed when it has run out in the middle of a push; it shows the password to whatever token server a registry
names, has no time limits, and waits for minutes between tries. What is left of it is less than this.
"""

from __future__ import annotations

import hashlib
import json
import re
from urllib.parse import quote

from hyperd.client import logins
from hyperd.client.failure import why
from hyperd.client.ocitoken import authorization
from hyperd.client.ociwire import (
    DOCUMENT_BYTES,
    REDIRECTS,
    address,
    connect,
    document,
    parsed,
    path_of,
    pieces,
)
from hyperd.errors import BadRequest, Forbidden, NotFound, PermanentError
from hyperd.registryauth import HUB, HUB_NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hyperd.client.http1 import Connection, Response
    from hyperd.jsontypes import JsonObject

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
PIECE_BYTES = 8 << 20
"""Of a blob, in one request."""
_REFERENCE = re.compile(
    r"(?P<host>localhost|[a-z0-9.-]*[.:][a-z0-9.:-]*|\[[0-9a-f:]+\](?::\d+)?)/"
    r"(?P<name>[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*)"
    r":(?P<tag>[A-Za-z0-9_][\w.-]{0,127})",
    re.ASCII,
)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_TAKEN = (201, 202, 204)
"""Answers to a piece of a blob: 202 is what is agreed on, and not what all registries say."""
_STORED = (200, 201, 202)


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
            _, body = self.call(
                "GET", self.path(f"manifests/{tag}"), wanted=(200,), headers={"Accept": MANIFEST_TYPE}
            )
        except NotFound:
            return None, ""
        return parsed(body, f"The manifest of {self}"), digest_of(body)

    def put_manifest(self, content: JsonObject, *, tag: str = "") -> str:
        """Have the tag, or another one, lead there, and see that it does; returns its digest."""
        body = encoded(content)
        headers = {"Content-Type": MANIFEST_TYPE}
        tag = tag or self.tag
        self.call("PUT", self.path(f"manifests/{tag}"), wanted=_STORED, body=body, headers=headers)
        if self.tagged(tag)[1] != digest_of(body):
            raise PermanentError(f"{self.registry} said that it keeps {self.name}:{tag}, and has something else.")
        return digest_of(body)

    def has_blob(self, digest: str) -> bool:
        return self.blob_size(digest) is not None

    def blob_size(self, digest: str) -> int | None:
        """Of one that is there, -1 where its size is not told; else None."""
        path = self.path(f"blobs/{check_digest(digest)}")
        try:
            response, _ = self.call("HEAD", path, wanted=(200, *REDIRECTS))
            if response.status != 200:
                # What an address is for that a registry signs is its own affair: some are good for GET alone.
                for _ in self.blob_part(digest, 0, 1):
                    pass
                return -1
        except NotFound:
            return None
        length = response.header("content-length")
        return int(length) if length.isascii() and length.isdigit() else -1

    def put_blob(self, body: bytes) -> Blob:
        """Keep a small one."""
        if not self.has_blob(digest_of(body)):
            upload = BlobUpload(self)
            upload.write(body)
            upload.commit()
        return Blob(digest_of(body), len(body))

    def blob(self, digest: str, *, most: int = DOCUMENT_BYTES) -> bytes:
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
        path = self.path(f"blobs/{check_digest(digest)}")
        response = self._asked("GET", path, wanted=(206 if ranged else 200, *REDIRECTS), headers=ranged)
        other: Connection | None = None
        whole = False
        try:
            if response.status in REDIRECTS:
                self.close()
                other, response = self._elsewhere(response.header("location"), ranged)
            if response.status == 404:
                raise NotFound(f"{self.registry} has lost {digest}.")
            if response.status != (206 if ranged else 200):
                raise PermanentError(
                    f"{self.registry} answers {response.status} for {'a part of ' if ranged else ''}a blob."
                )
            yield from pieces(response)
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
        parts = address(location, f"Where {self.registry} keeps its blobs")
        if parts.scheme != "https" and not (self._plain and parts.scheme == "http"):
            raise PermanentError(f"{self.registry} keeps its blobs where they are not reached over https.")
        connection = connect(parts.netloc, plain=parts.scheme == "http", named_by=self.registry)
        try:
            return connection, connection.request("GET", path_of(parts), headers={"Host": parts.netloc, **headers})
        except OSError:
            connection.close()
            raise

    def path(self, rest: str) -> str:
        """Of what the repository has."""
        return f"/v2/{self.name}/{rest}"

    def call(
        self, method: str, path: str, *, wanted: Sequence[int], headers: Mapping[str, str] = {}, body: bytes = b""
    ) -> tuple[Response, bytes]:
        """One request and all of its answer, which is small; only a status among ``wanted`` is success."""
        response = self._asked(method, path, wanted=wanted, headers=headers, body=body)
        return response, b"" if method == "HEAD" else self._read(response)

    def _read(self, response: Response) -> bytes:
        try:
            return document(response)
        except OSError as err:
            self.close()
            raise self._broken(err) from err

    def _asked(
        self, method: str, path: str, *, wanted: Sequence[int], headers: Mapping[str, str] = {}, body: bytes = b""
    ) -> Response:
        """The answer, with credentials where the registry wants some, and with newer ones where they ran out.

        Only a status among ``wanted`` says that what was asked for is done.
        """
        for again in (False, True):
            response = self._sent(method, path, headers, body)
            if response.status in wanted:
                return response
            said = b"" if method == "HEAD" else self._read(response)
            if response.status != 401 or again:
                break
            self._authorization = authorization(
                self.registry, self.name, response, self._credentials, plain=self._plain
            )
        if response.status in REDIRECTS:
            raise PermanentError(
                f"{self.registry} answers {response.status} and sends hv elsewhere, which is not gone after: "
                "name the registry that keeps it."
            )
        if response.status < 400:
            raise PermanentError(f"{self.registry} answers {response.status} to a {method}, as no registry does.")
        if response.status == 404:
            raise NotFound(f"{self} is not there.")
        if response.status in (401, 403):
            raise Forbidden(f"{self.registry} refuses {self.name}: {_reason(said) or 'no access'}.")
        raise PermanentError(f"{self.registry} answers {response.status}: {_reason(said) or 'no reason given'}.")

    def _sent(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Response:
        authorization = {"Authorization": self._authorization} if self._authorization else {}
        host = HUB if self.registry in HUB_NAMES else self.registry
        try:
            if self._connection is None or self._connection.dropped:
                self.close()
                self._connection = connect(host, plain=self._plain)
            response = self._connection.request(
                method, path, headers={"Host": host, **authorization, **headers}, body=body
            )
        except OSError as err:
            self.close()
            raise self._broken(err) from err
        if response.header("connection").lower() == "close":
            self._connection = None  # the answer still has it
        return response

    def _broken(self, err: OSError) -> PermanentError:
        return PermanentError(f"The registry {self.registry} cannot be reached: {why(err)}.")


class BlobUpload:
    """A blob on its way into ``repository``, of a size that nobody has to know; ``write`` is as a file's."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._sha256 = hashlib.sha256()
        self._kept = bytearray()
        self._sent = 0
        response, _ = repository.call("POST", repository.path("blobs/uploads/"), wanted=(202,))
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
        """All has come, and the registry has it. Raises PermanentError where it only said so."""
        if self._kept:
            self._send(len(self._kept))
        registry = self._repository.registry
        digest = f"sha256:{self._sha256.hexdigest()}"
        separator = "&" if "?" in self._location else "?"
        response, _ = self._repository.call(
            "PUT", f"{self._location}{separator}digest={quote(digest)}", wanted=_STORED
        )
        told = response.header("docker-content-digest")
        if told.startswith("sha256:") and told != digest:
            raise PermanentError(f"{registry} has taken {digest} for something else.")
        if self._repository.blob_size(digest) not in (-1, self.size):
            raise PermanentError(f"{registry} said that it keeps {digest}, and does not have all of it.")
        return Blob(digest, self.size)

    def cancel(self) -> None:
        """The registry may forget it."""
        try:
            self._repository.call("DELETE", self._location, wanted=(200, 202, 204))
        except (PermanentError, NotFound, Forbidden):
            return  # it forgets it by itself, later

    def _send(self, count: int) -> None:
        piece = bytes(self._kept[:count])
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Range": f"{self._sent}-{self._sent + count - 1}",
        }
        response, _ = self._repository.call("PATCH", self._location, wanted=_TAKEN, headers=headers, body=piece)
        self._location = self._own(response)
        self._sent += count
        del self._kept[:count]

    def _own(self, response: Response) -> str:
        """Where to go on, on the registry's own host whatever it says."""
        parts = address(response.header("location"), f"Where {self._repository.registry} takes a blob")
        if not parts.path.startswith("/v2/"):
            raise PermanentError(f"The registry {self._repository.registry} names no place for a blob.")
        return path_of(parts)


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


def _reason(body: bytes) -> str:
    """What a registry says of a refusal."""
    try:
        return str(json.loads(body)["errors"][0]["message"])[:200].rstrip(".")
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""
