"""What tests of quotas share: a namespace, its limits, and what asks for room in it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from hyperd.resources.all import (
    KINDS,
    RESOURCE_QUOTA,
    VIRTUAL_DISK,
)
from hyperd.resources.schema.kind import Object
from hyperd.settings import StoreSettings
from hyperd.store.embedded.store import EmbeddedStore
from hyperd.store.interface import PatchType, User, Write

NS = "shop"
ALICE = Write(user=User("alice"))
WORDS = " is forbidden: exceeded quota: q, requested: {0}, used: {1}, limited: {2}"


def settings(**fields: Any) -> StoreSettings:
    return StoreSettings(**fields)


async def opened(path: Path, **fields: Any) -> EmbeddedStore:
    return EmbeddedStore(path / "store.db", settings=settings(**fields), admit=None, kinds=KINDS)


async def limit(store: EmbeddedStore, **hard: str) -> None:
    spec = {"hard": {name.replace("__", "/").replace("_", "."): value for name, value in hard.items()}}
    await store.create(RESOURCE_QUOTA, NS, {"metadata": {"name": "q"}, "spec": spec})


async def used(store: EmbeddedStore, **wanted: str) -> None:
    """Wait until the quota's status says so."""
    expected = {name.replace("__", "/").replace("_", "."): value for name, value in wanted.items()}
    async with asyncio.timeout(10), store.watch(RESOURCE_QUOTA, NS) as watch:
        async for event in watch:
            status = event.item.object().get("status") or {}
            if status.get("used") == expected:
                return


def disk(name: str, size: str = "", **claim: str) -> Object:
    spec = {"persistentVolumeClaim": {**({"size": size} if size else {}), **claim}}
    return {"metadata": {"name": name}, "spec": spec}


async def take(
    store: EmbeddedStore, name: str, size: str, class_: str = "local", *, there: bool = False, **status: Any
) -> None:
    """A disk and its claim, as the disk's controller makes both."""
    if not there:
        await store.create(VIRTUAL_DISK, NS, disk(name, size), write=ALICE)
    told = {"storageClassName": class_, "target": {"persistentVolumeClaimName": f"c-{name}", "size": size}}
    body: Object = {"status": {**told, **status}}
    await store.patch(VIRTUAL_DISK, NS, name, PatchType.MERGE, body, subresource="status")


def instance(phase: str, cores: int = 2, fraction: str = "50%", size: str = "1Gi") -> Object:
    resources = {"cpu": {"cores": cores, "coreFraction": fraction}, "memory": {"size": size}}
    return {"status": {"phase": phase, "resources": resources}}
