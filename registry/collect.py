"""Garbage collection: removes what was deleted from the registry, and names what has no owner.

Manifests go through the registry's API, so that it works for an external one too. Blobs and empty repositories
have no API: of the embedded registry they are removed while its process is stopped. That an image's owner was
deleted stands in the registry itself, as a second tag, so that whoever collects knows it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Set

from hyperd.errors import NotFound
from registry import tree
from registry.client import RegistryClient
from registry.interface import Collected, Dead, Image, Live, Survey
from registry.server import EmbeddedRegistry

_DELETED = "deleted-"


async def mark_deleted(client: RegistryClient, repository: str, tag: str) -> None:
    """Note beside an image that its owner was deleted; nothing to do where there is no image."""
    try:
        body = await client.manifest_bytes(repository, tag)
    except NotFound:
        return
    await client.put_manifest(repository, _DELETED + tag, body)


async def survey(client: RegistryClient, server: EmbeddedRegistry | None, live: Live, *, dead: Dead) -> Survey:
    """What a collection would remove and spare; ``server`` None for an external registry."""
    found = await _tags(client)
    owned = await live()
    images = {(repository, tag) for repository, tags in found.items() for tag in tags if not _is_mark(tag)}
    spared = {image for each in found.items() for image in _spared(*each, owned, dead)}
    space = await asyncio.to_thread(server.space) if server is not None else None
    return Survey(len(images), tuple(sorted(images - owned - spared)), tuple(sorted(spared)), space)


async def garbage_collect(
    client: RegistryClient,
    server: EmbeddedRegistry | None,
    live: Live,
    *,
    dead: Dead | None = None,
) -> Collected:
    """Remove every image whose (repository, tag) is not in ``live``; ``server`` None for an external registry.

    With ``dead`` only those go of which it says so, or that are marked as deleted; the others are named.

    ``live`` reads what has an owner, imported or not. It is asked once the registry's content is known: what
    another node imports meanwhile is not looked at, and has an owner all the same. Raises TemporaryError (key
    ProvisioningPostponed) while an import runs; imports that come meanwhile are postponed the same way.
    """
    with client.gate.collecting():
        found = await _tags(client)
        owned = await live()
        kept: list[Image] = []
        manifests = 0
        for repository, tags in found.items():
            spared = _spared(repository, tags, owned, dead) if dead is not None else frozenset()
            kept += sorted(spared)
            manifests += await _delete_ownerless(client, repository, tags, owned | spared)
        if server is None:
            return Collected(manifests, 0, tuple(kept))
        async with server.stopped() as root:
            await asyncio.to_thread(tree.remove_uploads, root)
            repositories = await asyncio.to_thread(tree.remove_untagged, root)
            await server.sweep()
        return Collected(manifests, repositories, tuple(kept))


def _is_mark(tag: str) -> bool:
    return tag.startswith(_DELETED)


def _spared(repository: str, tags: Set[str], owned: Set[Image], dead: Dead) -> Set[Image]:
    return frozenset(
        (repository, tag)
        for tag in tags
        if (repository, tag) not in owned
        and not _is_mark(tag)
        and _DELETED + tag not in tags
        and not dead(repository, tag)
    )


async def _tags(client: RegistryClient) -> Mapping[str, frozenset[str]]:
    return {repository: frozenset(await client.tags(repository)) for repository in await client.catalog()}


async def _delete_ownerless(client: RegistryClient, repository: str, tags: Iterable[str], live: Set[Image]) -> int:
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
