"""Garbage collection: removes what no object owns from the registry.

Manifests go through the registry's API, so that it works for an external one too. Blobs and empty repositories
have no API: of the embedded registry they are removed while its process is stopped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Set
from dataclasses import dataclass

from hyperd.errors import NotFound
from registry import tree
from registry.client import RegistryClient
from registry.server import EmbeddedRegistry


@dataclass(frozen=True)
class Collected:
    """What one collection removed."""

    manifests: int
    repositories: int


async def garbage_collect(
    client: RegistryClient, server: EmbeddedRegistry | None, live: Callable[[], Awaitable[Set[tuple[str, str]]]]
) -> Collected:
    """Remove every image whose (repository, tag) is not in ``live``; ``server`` None for an external registry.

    ``live`` reads what has an owner, imported or not. It is asked once the registry's content is known: what
    another node imports meanwhile is not looked at, and has an owner all the same. Raises TemporaryError (key
    ProvisioningPostponed) while an import runs; imports that come meanwhile are postponed the same way.
    """
    with client.gate.collecting():
        found = {repository: await client.tags(repository) for repository in await client.catalog()}
        owned = await live()
        manifests = 0
        for repository, tags in found.items():
            manifests += await _delete_ownerless(client, repository, tags, owned)
        if server is None:
            return Collected(manifests, 0)
        async with server.stopped() as root:
            await asyncio.to_thread(tree.remove_uploads, root)
            repositories = await asyncio.to_thread(tree.remove_untagged, root)
            await server.sweep()
        return Collected(manifests, repositories)


async def _delete_ownerless(
    client: RegistryClient, repository: str, tags: Iterable[str], live: Set[tuple[str, str]]
) -> int:
    """Delete the manifests behind dead tags, unless a live tag is on the same one."""
    digests: dict[str, bool] = {}
    for tag in tags:
        try:
            digest, _ = await client.manifest(repository, tag)
        except NotFound:
            continue
        digests[digest] = digests.get(digest, False) or (repository, tag) in live
    dead = [digest for digest, owned in digests.items() if not owned]
    for digest in dead:
        await client.delete_manifest(repository, digest)
    return len(dead)
