"""The values that cross this room's border: where the registry is, what to import, what came of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from hyperd.imagefile.detect import ImageFormat
from hyperd.imagefile.handle import DiskFormat, FileHandle
from registry.tokens import Tokens

_LONGEST_REPOSITORY = 255
_HASH_DIGITS = 16


@dataclass(frozen=True)
class RegistryEndpoint:
    """How the registry is reached.

    ``url`` may end in a path, which then prefixes every repository. With ``socket`` set, bytes go over that
    unix socket and the host of ``url`` is only a name; ``root`` is the folder of an embedded registry, which knows
    us by ``tokens``.
    """

    url: str
    username: str = ""
    password: str = field(default="", repr=False)
    ca: Path | None = None
    socket: Path | None = None
    root: Path | None = None
    tokens: Tokens | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """What a ``registryURL`` of this registry starts with: host, port and prefix, no scheme."""
        return self.url.split("://", 1)[-1].rstrip("/")

    @property
    def prefix(self) -> str:
        """What every repository's name begins with, without a slash at either end; mostly empty."""
        return urlsplit(self.url).path.strip("/")

    def repository(self, name: str) -> str:
        """``name`` as a repository, as it is or, where registries take no more, shortened with a hash of it."""
        most = _LONGEST_REPOSITORY - (len(self.prefix) + 1 if self.prefix else 0)
        if len(name) <= most:
            return name
        mark = f"-{hashlib.sha256(name.encode()).hexdigest()[:_HASH_DIGITS]}"
        return name[: most - len(mark)].rstrip("/._-") + mark

    def reference(self, repository: str, tag: str) -> str:
        """The ``registryURL`` of an image, as written to ``status.target``."""
        return f"{self.name}/{repository}:{tag}"

    def has(self, reference: str) -> bool:
        """Whether a ``registryURL`` leads to this registry."""
        return reference.startswith(f"{self.name}/")

    def parse(self, reference: str) -> tuple[str, str]:
        """Repository and tag of a ``registryURL`` of this registry; ValueError for another's."""
        repository, _, tag = reference.removeprefix(f"{self.name}/").rpartition(":")
        if not reference.startswith(f"{self.name}/") or not repository or not tag:
            raise ValueError(f"{reference!r} does not belong to the registry {self.name}")
        return repository, tag


class Body(Protocol):
    """An image that somebody sends, read once.

    ``length`` is in bytes, None where the sender does not say; ``sender`` is the address that it comes from, empty
    for this host; ``coding`` is its Content-Encoding.
    """

    @property
    def length(self) -> int | None: ...

    @property
    def sender(self) -> str: ...

    @property
    def coding(self) -> str: ...

    async def readany(self) -> bytes:
        """What has come, empty at the end. Raises ConnectionError where the sender left before the end."""
        ...


@dataclass(frozen=True)
class Addressee:
    """The object that an upload is for. ``secret`` is what its address ends in: who knows it may upload."""

    kind: str
    plural: str
    namespace: str
    name: str
    secret: str = field(repr=False)

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


@dataclass(frozen=True)
class ImportRequest:
    """One image to fetch and keep as ``repository``:``tag``.

    It comes from ``source_url`` over HTTP, or out of ``container_image``, a reference; ``pull_secret`` is then a
    Secret's ``.dockerconfigjson``. Where ``upload`` is set nothing is fetched: somebody sends the bytes, for as
    long as the import waits for them.

    ``uid`` names the temporary files. ``checksums`` maps md5, sha1, sha256, … to hex digits of the bytes
    as the source serves them. ``ca_bundle`` is as in the spec: base64 of PEM. ``namespace`` is who asks, empty for
    the cluster. ``most`` is the size of the disk that it is for, which the image must not exceed.
    """

    uid: str
    source_url: str
    repository: str
    tag: str
    checksums: Mapping[str, str] = field(default_factory=dict)
    ca_bundle: str = ""
    namespace: str = ""
    most: int | None = None
    upload: Addressee | None = None
    body: Body | None = None
    """The upload that has come; whoever asks for an import leaves this to the registry."""
    container_image: str = ""
    pull_secret: bytes = field(default=b"", repr=False)

    @property
    def source(self) -> str:
        """What tells one source from another."""
        return f"container-image:{self.container_image}" if self.container_image else self.source_url

    @property
    def fingerprint(self) -> str:
        """Tells a repeated request from a changed one."""
        return _fingerprint(self.source, sorted(self.checksums.items()))


@dataclass(frozen=True)
class CopyRequest:
    """An image of this registry that shall be ``repository``:``tag`` as well.

    ``reference`` is its registryURL, whose tag is its owner's uid: what is Ready under it never changes.
    """

    reference: str
    repository: str
    tag: str
    namespace: str = ""

    @property
    def fingerprint(self) -> str:
        return _fingerprint("image", self.reference)


@dataclass(frozen=True)
class VolumeRequest:
    """What a volume of this node holds now, to be kept as ``repository``:``tag``.

    ``uid`` is that of the operation, which alone knows of which moment the content is, and names temporary files.
    """

    uid: str
    repository: str
    tag: str
    namespace: str = ""

    @property
    def fingerprint(self) -> str:
        return _fingerprint("volume", self.uid)


Request = ImportRequest | CopyRequest | VolumeRequest
"""What is made an image of, one kind of source each; ``fingerprint`` is written into the image."""


@dataclass(frozen=True)
class ImportedImage:
    """What is in the registry now. ``reference`` is the registryURL; ``virtual_size`` is what a disk of it needs.

    ``stored_bytes`` is the image file in the registry, ``unpacked_bytes`` the reference's unpacked size (the
    virtual size of a qcow2, the byte count else), ``sha256`` that of the stored file, ``average_speed`` bytes/s.
    ``warning`` is a sentence for the user where it may not be what was meant.
    """

    reference: str
    manifest_digest: str
    layer_digest: str
    format: ImageFormat
    cdrom: bool
    stored_bytes: int
    unpacked_bytes: int
    virtual_size: int
    sha256: str
    average_speed: int
    warning: str = ""


@dataclass(frozen=True)
class CachedImage:
    """A read-only file of the node's cache, ready as a backing file or a CD-ROM."""

    path: Path
    layer_digest: str
    format: ImageFormat
    virtual_size: int
    cdrom: bool
    whole: bool = True
    """Whether the file is there; if not it is being fetched, and read from who does so."""

    @property
    def handle(self) -> FileHandle:
        """The file as a block device."""
        return FileHandle(self.path, DiskFormat(self.format.driver))


@dataclass(frozen=True)
class CachedFile:
    """What the cache folder holds: ``layer_digest`` is ``sha256:…``, ``allocated`` the bytes on disk."""

    path: Path
    layer_digest: str
    allocated: int


def _fingerprint(*content: object) -> str:
    return hashlib.sha256(json.dumps(list(content)).encode()).hexdigest()
