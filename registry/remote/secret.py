"""A pull secret: credentials by registry, in the form of docker's ``config.json``.

Credentials are only ever given for the host that their entry names.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from hyperd.errors import TemporaryError
from hyperd.jsontypes import JsonObject
from hyperd.registryauth import HUB, HUB_NAMES

PULL_FAILED = "ImagePullFailed"
"""The reference's reason for what a registry does not give: tried again, as who keeps it may mend it."""
_MOST_ENTRIES = 1000
_MOST_VALUES = 50_000
_LONGEST_ENTRY = 1024
"""Characters of an entry's name; each star in it costs time, as each entry does."""


@dataclass(frozen=True)
class Credentials:
    """``identity`` is a token to get others by, instead of a password; user and password may be empty then."""

    username: str
    password: str = field(repr=False)
    identity: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        """The value of an Authorization header."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


class PullSecret:
    """Raises TemporaryError for what is no such configuration: a Secret can be mended."""

    def __init__(self, config: bytes) -> None:
        """``config`` is the value of ``.dockerconfigjson``, or empty where there is no Secret."""
        self._entries = _entries(config) if config else {}

    @property
    def given(self) -> bool:
        return bool(self._entries)

    def of(self, registry: str, repository: str = "") -> Credentials | None:
        """The credentials for ``registry``, host and port; of several entries the one of the longest path."""
        fitting = [(key, entry) for key, entry in self._entries.items() if _fits(key, registry, repository)]
        if not fitting:
            return None
        key, entry = max(fitting, key=lambda each: len(each[0]))
        return _credentials(key, entry)


def _entries(config: bytes) -> dict[str, JsonObject]:
    try:
        if config.count(b",") > _MOST_VALUES:
            raise ValueError
        auths = json.loads(config)["auths"]
        if not isinstance(auths, dict):
            raise TypeError
        if len(auths) > _MOST_ENTRIES:
            raise TemporaryError(
                f"The Secret of imagePullSecret has credentials for {len(auths)} registries; {_MOST_ENTRIES} are "
                "the most.",
                key=PULL_FAILED,
            )
        fitting = {key: entry for key, entry in auths.items() if len(key) <= _LONGEST_ENTRY}
        return {_normal(key): entry for key, entry in fitting.items() if isinstance(entry, dict)}
    except (ValueError, KeyError, TypeError, RecursionError):
        # What is in it stays out of the sentence.
        raise TemporaryError(
            "The Secret of imagePullSecret holds no registry credentials: its key .dockerconfigjson is not JSON "
            'with an object "auths"; make it with kubectl create secret docker-registry.',
            key=PULL_FAILED,
        ) from None


def _normal(key: str) -> str:
    """An entry's name as host and path; docker writes URLs with the version of the API too."""
    plain = key.partition("://")[2] or key
    host, _, path = plain.strip("/").partition("/")
    path = "" if path in ("v1", "v2") else path
    return f"{host}/{path}".rstrip("/")


def _fits(key: str, registry: str, repository: str) -> bool:
    host, _, path = key.partition("/")
    if registry == HUB and host in HUB_NAMES:
        same = True
    else:
        parts, wanted = host.split("."), registry.split(".")
        # As kubelets do: a star stands for one label, and does not match beyond it.
        same = len(parts) == len(wanted) and all(map(fnmatchcase, wanted, parts))
    return same and (not path or f"{repository}/".startswith(f"{path}/"))


def _credentials(key: str, entry: JsonObject) -> Credentials:
    username, password = entry.get("username"), entry.get("password")
    packed, found = entry.get("auth"), entry.get("identitytoken")
    identity = found if isinstance(found, str) else ""
    try:
        if isinstance(packed, str) and packed:
            username, _, password = base64.b64decode(packed, validate=True).decode().partition(":")
        if identity and username is None and password is None:
            username = password = ""
        if not isinstance(username, str) or not isinstance(password, str):
            raise ValueError
        return Credentials(username, password, identity)
    except (binascii.Error, ValueError):
        raise TemporaryError(
            f"The Secret of imagePullSecret holds no user and password for {key[:200]}.", key=PULL_FAILED
        ) from None
