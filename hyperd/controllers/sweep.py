"""What the host holds of this instance without an owner in the store, and its removal.

Every thing carries its owner's uid: domains in their metadata, taps in ifalias, files in their names. A thing
is removed only when the store says so now, not when an informer has not seen the owner yet, and only while it is
this store's: domains and the pool carry the store's id. A store made anew, or restored from a backup, has another
one, so what it does not know stays until an administrator says otherwise, and a guest that runs stays even then.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from functools import partial
from pathlib import Path

from hyperd import clock
from hyperd.controllers import usage
from hyperd.controllers.context import Context
from hyperd.controllers.machine import applied
from hyperd.controllers.machine.instance import Instances
from hyperd.errors import HyperdError
from hyperd.hypervisor.state import DomainInfo
from hyperd.resources.all import VIRTUAL_DISK, VIRTUAL_MACHINE
from hyperd.resources.kind import Kind

PERIOD_SECONDS = 30.0
_log = logging.getLogger(__name__)


class Sweeper:
    """Runs at start and every ``PERIOD_SECONDS``."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._foreign: dict[str, DomainInfo] = {}
        """Domains of another store that this one does not know."""
        self._instances = Instances(context, context.informer(VIRTUAL_MACHINE))
        self._mark = context.settings.volumes_dir / ".store"
        self._wake = asyncio.Event()
        self._untouched = clock.Seen()
        """For how long nobody touched a cached image."""

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            try:
                await self.sweep()
            except HyperdError as err:
                _log.warning("The sweep was put off: %s", err.message)
            try:
                await asyncio.wait_for(self._wake.wait(), PERIOD_SECONDS)
            except TimeoutError:
                pass
            self._wake.clear()

    async def sweep(self, *, foreign: bool = False) -> None:
        """One round. ``foreign`` takes over what another store left here, unless a guest runs on it."""
        if foreign:
            await asyncio.to_thread(self._mark.write_text, f"{self._context.store_id()}\n")
        await self._machines(foreign)
        await self._disks()
        await self._cache()

    async def kept(self) -> list[str]:
        """What is left alone though no object owns it: a sentence for each."""
        sentences = [_about(domain) for domain in self._foreign.values()]
        if not await self.owns_pool():
            volumes = {volume.uid for volume in await self._context.pool.inventory()}
            strays = len(volumes - await self._uids(VIRTUAL_DISK))
            sentences.append(
                f"The images, and {strays} volumes without a disk, are another store's, such as the one before a "
                "restore; `hv gc --foreign` removes them."
            )
        return sentences

    async def owns_pool(self) -> bool:
        """Whether what lies here without an owner is garbage of this store."""
        return await asyncio.to_thread(self._pool_is_ours)

    async def _uids(self, kind: Kind) -> frozenset[str]:
        listing = await self._context.store.list(kind)
        return frozenset(item.uid for item in listing.items)

    async def _machines(self, take_foreign: bool) -> None:
        domains = await self._context.hypervisor.list_owned()
        held = frozenset(domains) | await self._held_beside_domains()
        foreign = {}
        for uid in held - await self._uids(VIRTUAL_MACHINE) if held else ():
            domain = domains.get(uid)
            if domain is not None and self._is_foreign(domain) and (domain.active or not take_foreign):
                foreign[uid] = domain
                continue
            _log.warning("Removing what is left of virtual machine %s, which the store does not know.", uid)
            if domain is not None and domain.active:
                await self._context.hypervisor.destroy(uid)
            await self._instances.remove(uid, defined=domain is not None)
        for uid in foreign.keys() - self._foreign.keys():
            _log.warning("%s", _about(foreign[uid]))
        self._foreign = foreign

    def _is_foreign(self, domain: DomainInfo) -> bool:
        return applied.decode(domain.spec_hash).store != self._context.store_id()

    async def _held_beside_domains(self) -> frozenset[str]:
        """uids of taps and files; none while the files may be another store's."""
        if not await asyncio.to_thread(self._pool_is_ours):
            return frozenset()
        taps = await self._context.network.inventory()
        seeds = await self._context.seeds.inventory()
        files = await asyncio.to_thread(self._machine_files)
        return frozenset(tap.uid for tap in taps) | frozenset(seeds) | files

    def _machine_files(self) -> frozenset[str]:
        settings = self._context.settings
        found: set[str] = set()
        for folder in (settings.nvram_dir, settings.console_dir, settings.console_log_dir):
            if folder.is_dir():
                found.update(path.name.partition(".")[0] for path in folder.iterdir())
        return frozenset(found)

    async def _disks(self) -> None:
        volumes = await self._context.pool.inventory()
        if not volumes:
            return
        if self._foreign or not await asyncio.to_thread(self._pool_is_ours):
            # What a foreign domain has open is not known here.
            return
        disks = await self._uids(VIRTUAL_DISK)
        for volume in volumes:
            if volume.uid not in disks:
                _log.warning("Removing volume %s, whose disk the store does not know.", volume.uid)
                await self._context.pool.delete(volume.uid)

    async def mark_pool(self) -> None:
        """At start: an empty pool that nobody marked becomes this store's; any other stays whose it is."""
        marked = await asyncio.to_thread(self._mark.exists)
        if not marked and not await self._context.pool.inventory():
            await asyncio.to_thread(self._mark.write_text, f"{self._context.store_id()}\n")
        for sentence in await self.kept():
            _log.warning("%s", sentence)

    def _pool_is_ours(self) -> bool:
        try:
            return self._mark.read_text().strip() == self._context.store_id()
        except FileNotFoundError:
            return False

    async def _cache(self) -> None:
        """Cached images that no volume overlays, no domain may read, and nobody touched for a while."""
        retention = self._context.settings.imports.cache_retention_seconds
        for cached in await self._context.cache.inventory():
            with contextlib.suppress(FileNotFoundError):
                touched = (await asyncio.to_thread(cached.path.stat)).st_mtime
                age = self._untouched.age(cached.path, touched, hint=clock.wall() - touched)
                if age >= retention:
                    await self._context.cache.evict(cached.layer_digest, partial(self._unused, cached.path))

    async def _unused(self, path: Path) -> bool:
        volumes = await self._context.pool.inventory()
        return all(volume.backing != path for volume in volumes) and not self._foreign and not self._in_domain()

    def _in_domain(self) -> bool:
        """Whether a machine that is not stopped names an image: then any cached image may be its."""
        for item in self._context.informer(VIRTUAL_MACHINE).items():
            machine = item.object()
            if (machine.get("status") or {}).get("phase") == "Stopped":
                continue
            if any(kind != VIRTUAL_DISK.kind for kind, _ in usage.references(machine)):
                return True
        return False


def _about(domain: DomainInfo) -> str:
    name = f"{domain.namespace}/{domain.vm_name}"
    if domain.active:
        return (
            f"Virtual machine {name} runs as domain {domain.uid}, but belongs to another store, such as the one "
            "before a restore. It is left alone; shut it down with virsh, then `hv gc --foreign` removes it."
        )
    return (
        f"Domain {domain.uid} of virtual machine {name} belongs to another store, such as the one before a "
        "restore. It is left alone; `hv gc --foreign` removes it."
    )
