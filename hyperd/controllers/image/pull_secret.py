"""The Secret that a registry's credentials are in: read by its name each time, and not kept."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Final

from hyperd.errors import TemporaryError
from hyperd.resources.all import SECRET
from hyperd.resources.kinds.data_source import DataSourceType, ReadyReason
from hyperd.resources.schema.kind import AnyObject
from hyperd.store.interface import Store

if TYPE_CHECKING:
    from hyperd.controllers.image.upload import DataSource

_TYPE: Final = "kubernetes.io/dockerconfigjson"
_KEY: Final = ".dockerconfigjson"
_MAKE: Final = "make it with kubectl create secret docker-registry"


class SecretMissing(TemporaryError):
    """There is none, or none of that kind; there may be later."""

    def __init__(self, message: str) -> None:
        super().__init__(message, key=ReadyReason.IMAGE_PULL_FAILED)


async def read(store: Store, obj: AnyObject, source: DataSource | None) -> bytes:
    """The ``.dockerconfigjson`` for ``source`` of ``obj``, empty where none is named.

    The Secret is of the object's own namespace; that of a cluster-wide image names its namespace.
    """
    if source is None or source.get("type") != DataSourceType.CONTAINER_IMAGE:
        return b""
    reference = source["containerImage"].get("imagePullSecret") or {}
    name = reference.get("name")
    if not name:
        return b""
    namespace = obj["metadata"].get("namespace") or str(reference.get("namespace") or "")
    if not namespace:
        raise SecretMissing(f'imagePullSecret "{name}" names no namespace, and the image has none of its own.')
    secret = await store.find(SECRET, namespace, name)
    if secret is None:
        raise SecretMissing(f'Secret "{name}" does not exist in namespace "{namespace}"; {_MAKE}.')
    config = (secret.get("data") or {}).get(_KEY)
    if secret.get("type") != _TYPE or not config:
        raise SecretMissing(f'Secret "{name}" is not of type {_TYPE} with a key {_KEY}; {_MAKE}.')
    try:
        return base64.b64decode(config, validate=True)
    except binascii.Error:
        raise SecretMissing(f'Key {_KEY} of Secret "{name}" is not base64.') from None
