"""Which layers an image has: its manifest, or that for this host's architecture in an index of several."""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import dataclass
from typing import Final

from hyperd.errors import PermanentError, TemporaryError
from hyperd.imagefile.detect import FAILED
from hyperd.jsontypes import Json, JsonObject
from registry.answers import quotable
from registry.remote.client import MANIFEST_BYTES, RemoteRegistry
from registry.remote.reference import check_digest
from registry.remote.secret import PULL_FAILED

_ACCEPT: Final = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "loongarch64": "loong64"}
"""Where the kernel's name is not that of images."""
_MOST_LAYERS = 500
_MOST_PLATFORMS = 1000
_MOST_VALUES = 50_000
"""In one document; each costs the event loop time, however short it is."""
_DEEPEST = 2
"""An index may stand in an index."""


@dataclass(frozen=True)
class Descriptor:
    """A blob: its media type, digest, and size in bytes."""

    media_type: str
    digest: str
    size: int

    @classmethod
    def of(cls, content: Json) -> Descriptor:
        """Raises PermanentError."""
        entry = content if isinstance(content, dict) else {}
        size, media_type = entry.get("size"), entry.get("mediaType")
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 1 << 63:
            raise PermanentError("The image's manifest names a layer without a size.", key=FAILED)
        digest = check_digest(entry.get("digest"))
        return cls(media_type if isinstance(media_type, str) else "", digest, size)

    @property
    def is_layer(self) -> bool:
        """Whether it holds files of the image, and not signatures, descriptions or a file as it is."""
        return not self.media_type or ".tar" in self.media_type or self.media_type.endswith("+tar")


async def layers_of(registry: RemoteRegistry) -> list[Descriptor]:
    """The image's layers, the lowest first. Raises PermanentError, TemporaryError."""
    wanted, size = registry.image.wanted, None
    for _ in range(_DEEPEST + 1):
        content = await _document(registry, wanted, size)
        if "manifests" not in content:
            return _layers(registry, content)
        chosen = _of_this_host(registry, content["manifests"])
        wanted, size = chosen.digest, chosen.size
    raise PermanentError(f"{registry.image} is an index of indexes without end.", key=FAILED)


async def _document(registry: RemoteRegistry, wanted: str, size: int | None) -> JsonObject:
    if size is not None and size > MANIFEST_BYTES:
        raise PermanentError(
            f"{registry.image} names a manifest of {size} bytes; {MANIFEST_BYTES} are the most.", key=FAILED
        )
    body, media_type = await registry.document(f"manifests/{wanted}", accept=_ACCEPT)
    algorithm, colon, digits = wanted.partition(":")
    if colon and hashlib.new(algorithm, body).hexdigest() != digits:
        raise PermanentError(
            f"The registry {registry.image.registry} answers for {wanted} with another manifest.", key=FAILED
        )
    if body.count(b",") > _MOST_VALUES:
        raise PermanentError(f"The manifest of {registry.image} has more than {_MOST_VALUES} values.", key=FAILED)
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        said = quotable(media_type, 80)
        raise PermanentError(f"The manifest of {registry.image} is no JSON object, but {said}.", key=FAILED)
    if content.get("schemaVersion") != 2 or ("manifests" in content) == ("layers" in content):
        raise PermanentError(
            f"The manifest of {registry.image} is neither that of an image nor an index of some; images of "
            "schema 1 are too old: push it anew.",
            key=FAILED,
        )
    return content


def _of_this_host(registry: RemoteRegistry, content: Json) -> Descriptor:
    """The entry of an index for this host."""
    entries = [entry for entry in content if isinstance(entry, dict)] if isinstance(content, list) else []
    if len(entries) > _MOST_PLATFORMS:
        raise PermanentError(f"{registry.image} is an index of {len(entries)} images.", key=FAILED)
    here = architecture()
    found = [(entry, _platform(entry)) for entry in entries]
    fitting = [entry for entry, named in found if named == f"linux/{here}"]
    if not fitting and len(found) == 1 and not found[0][1]:
        fitting = entries
    if not fitting:
        names = sorted({quotable(named, 40) for _, named in found if named and "unknown" not in named})
        raise TemporaryError(
            f"{registry.image} has no image for linux/{here}, only for {', '.join(names[:20]) or 'nothing'}.",
            key=PULL_FAILED,
        )
    return Descriptor.of(fitting[0])


def architecture() -> str:
    """This host's, as images name it."""
    machine = platform.machine()
    return _ARCHITECTURES.get(machine, machine)


def _platform(entry: JsonObject) -> str:
    named = entry.get("platform")
    return f"{named.get('os')}/{named.get('architecture')}" if isinstance(named, dict) else ""


def _layers(registry: RemoteRegistry, content: JsonObject) -> list[Descriptor]:
    named = content["layers"]
    if not isinstance(named, list) or len(named) > _MOST_LAYERS:
        raise PermanentError(f"The manifest of {registry.image} has no sane list of layers.", key=FAILED)
    return [Descriptor.of(entry) for entry in named]
