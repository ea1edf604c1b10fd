"""What another node's daemon asks of a guest that is to come from there: read as if anybody had written it."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from typing import Final

from hyperd.errors import PermanentError
from hyperd.network.connections import MOST, Connection
from hyperd.resources.schema.kind import AnyObject

UID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""Of an object. Names of files are made of it."""
_LONGEST: Final = 253
_VOLUMES: Final = 64
_LARGEST_BYTES: Final = 1 << 50


@dataclass(frozen=True)
class AskedVolume:
    """A disk of the guest. ``size`` is bytes. One that is ``shared`` is in a volume that both nodes reach."""

    uid: str
    name: str
    provisioner: str
    size: int
    shared: bool = False


@dataclass(frozen=True)
class Asked:
    """``source`` is the node that says that it asks."""

    namespace: str
    name: str
    source: str
    operation: str
    pod: str
    address: IPv4Address | None = None
    volumes: tuple[AskedVolume, ...] = ()
    seed: bytes | None = None
    connections: tuple[Connection, ...] = ()

    @classmethod
    def read(cls, body: object) -> Asked:
        """Raises PermanentError for what is none."""
        if not isinstance(body, dict):
            raise PermanentError("The question of another node is no object.")
        volumes = body.get("volumes") or []
        if not isinstance(volumes, list) or len(volumes) > _VOLUMES:
            raise PermanentError(f'"volumes" of the question of another node are no list of up to {_VOLUMES}.')
        return cls(
            namespace=_text(body, "namespace"),
            name=_text(body, "name"),
            source=_text(body, "from"),
            operation=_uid(body, "operation"),
            pod=_text(body, "pod"),
            address=_address(body.get("address") or ""),
            volumes=tuple(map(_volume, volumes)),
            seed=_seed(body.get("seed") or ""),
            connections=_connections(body.get("connections") or []),
        )


def _connections(said: object) -> tuple[Connection, ...]:
    if not isinstance(said, list) or len(said) > MOST:
        raise PermanentError(f'"connections" of the question of another node are no list of up to {MOST}.')
    try:
        return tuple(map(Connection.decode, said))
    except ValueError as err:
        raise PermanentError('"connections" of the question of another node are none.') from err


def _volume(said: object) -> AskedVolume:
    if not isinstance(said, dict):
        raise PermanentError("A volume in the question of another node is no object.")
    size = said.get("size")
    if not isinstance(size, int) or not 0 < size <= _LARGEST_BYTES:
        raise PermanentError(f'"size" of a volume in the question of another node is none: {size!r:.40}.')
    shared = said.get("shared") is True
    return AskedVolume(_uid(said, "uid"), _text(said, "name"), _text(said, "provisioner"), size, shared)


def _text(said: AnyObject, key: str) -> str:
    value = said.get(key)
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST or not value.isprintable():
        raise PermanentError(f'"{key}" in the question of another node is no name.')
    return value


def _uid(said: AnyObject, key: str) -> str:
    value = _text(said, key)
    if not UID.fullmatch(value):
        raise PermanentError(f'"{key}" in the question of another node is no uid.')
    return value


def _address(said: object) -> IPv4Address | None:
    if not said:
        return None
    try:
        return IPv4Address(said if isinstance(said, str) else "")
    except AddressValueError as err:
        raise PermanentError('"address" in the question of another node is no address.') from err


def _seed(said: object) -> bytes | None:
    if not said:
        return None
    try:
        return base64.b64decode(said if isinstance(said, str) else "?", validate=True)
    except (binascii.Error, ValueError) as err:
        raise PermanentError('"seed" in the question of another node is no base64.') from err
