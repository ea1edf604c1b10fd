"""Waiting for the end of what was begun: an operation, a snapshot, a disk that is made."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from hyperd.client.health import health
from hyperd.client.resource import Resource
from hyperd.errors import Conflict, Expired, ServiceUnavailable, Timeout
from hyperd.resources.index import INDEX
from tui.shelf import Object

if TYPE_CHECKING:
    from hyperd.client.aio import AsyncClient

_AGAIN_SECONDS = 1.0


async def ended(
    client: AsyncClient,
    resource: Resource,
    obj: Object,
    told: Callable[[str], None],
    *,
    met: Callable[[Object], bool] | None = None,
) -> Object:
    """``obj`` once ``met``, or else its phase says that there is nothing more to wait for.

    ``told`` hears how far it is. A daemon that restarts meanwhile is waited for. Raises Conflict once the
    object is gone.
    """
    settled = next(entry.settled for entry in INDEX if entry.kind == resource.kind)
    metadata = obj["metadata"]
    namespace, name, said = metadata.get("namespace"), metadata["name"], ""
    while True:
        try:
            found, version, _ = await client.list(resource, namespace, fields=f"metadata.name={name}")
            live = next((each for each in found if each["metadata"].get("uid") == metadata.get("uid")), None)
            while live is not None:
                state = health({"kind": resource.kind, **live})
                if met({"kind": resource.kind, **live}) if met is not None else state.word in settled:
                    return live
                if (now := " · ".join(part for part in (state.progress, state.reason) if part)) and now != said:
                    told(said := now)
                live = await _next(client, resource, namespace, name, version)
                version = live["metadata"]["resourceVersion"] if live is not None else version
            raise Conflict(f"{resource.kind} {name} is gone; nobody knows how it ended.")
        except (Expired, ServiceUnavailable, Timeout):
            await asyncio.sleep(_AGAIN_SECONDS)


async def _next(
    client: AsyncClient, resource: Resource, namespace: str | None, name: str, version: str
) -> Object | None:
    """What becomes of it next; None where it is deleted. Raises Expired when nothing more is told."""
    async for event, _ in client.watch(resource, namespace, resource_version=version):
        obj: Object = event["object"]
        if event["type"] != "BOOKMARK" and obj["metadata"].get("name") == name:
            return None if event["type"] == "DELETED" else obj
    raise Expired("The watch ended.")
