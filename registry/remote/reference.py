"""A container image's reference, as ``docker pull`` reads it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hyperd.errors import PermanentError
from hyperd.imagefile.detect import FAILED
from hyperd.registryauth import HUB, HUB_NAMES
from registry.urls import Target, parse

_HOST = re.compile(r"[a-zA-Z0-9](?:[-_a-zA-Z0-9.]*[a-zA-Z0-9])?(?::[0-9]{1,5})?")
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[a-zA-Z0-9_][-a-zA-Z0-9_.]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_LONGEST_REPOSITORY = 255


@dataclass(frozen=True)
class ImageReference:
    """``registry`` is host and port, ``digest`` empty where only a tag is named; it goes before the tag."""

    registry: str
    repository: str
    tag: str
    digest: str

    @classmethod
    def parse(cls, text: str) -> ImageReference:
        """Raises PermanentError."""
        name, _, digest = text.partition("@")
        first, slash, rest = name.partition("/")
        if slash and (first == "localhost" or any(char in first for char in ".:") or first != first.lower()):
            registry = first
        else:
            registry, rest = HUB, name
        repository, colon, tag = rest.partition(":")
        if registry in HUB_NAMES:
            registry, repository = HUB, repository if "/" in repository else f"library/{repository}"
        well = (
            _HOST.fullmatch(registry)
            and _REPOSITORY.fullmatch(repository)
            and len(repository) <= _LONGEST_REPOSITORY
            and (_TAG.fullmatch(tag) or not colon)
        )
        if not well:
            raise PermanentError(f"{text[:200]!r} is not the reference of a container image.", key=FAILED)
        if digest and not _DIGEST.fullmatch(digest.lower()):
            raise PermanentError(f"The digest {digest[:80]!r} is neither a sha256 nor a sha512.", key=FAILED)
        return cls(registry, repository, tag or "latest", digest.lower())

    @property
    def wanted(self) -> str:
        """What to ask the registry for."""
        return self.digest or self.tag

    def target(self, path: str) -> Target:
        """``path`` of its repository in the registry's API; always over TLS."""
        return parse(f"https://{self.registry}/v2/{self.repository}/{path}")

    def __str__(self) -> str:
        return f"{self.registry}/{self.repository}" + (f"@{self.digest}" if self.digest else f":{self.tag}")


def check_digest(digest: object) -> str:
    """``digest`` if it is one that can be verified; PermanentError else."""
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise PermanentError(
            f"The registry named {str(digest)[:80]!r} as a digest; sha256 and sha512 are taken.", key=FAILED
        )
    return digest
