"""What this host has of each machine, by the machine's uid."""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hyperd.controllers.context import Context
from hyperd.controllers.host.quarantine import UID
from hyperd.hypervisor.state import DomainInfo
from hyperd.imagefile import files
from hyperd.settings import Settings

_NVRAM = re.compile(UID.pattern + r"(?:\.secure)?\.fd")
_SOCKET = UID
_LOG = re.compile(UID.pattern + r"\.(?:bios|log)(?:\.\d{1,3})?")


@dataclass
class Remains:
    """Of one machine. ``things`` are what a user would miss; links and sockets count for nothing."""

    domain: DomainInfo | None = None
    things: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """``namespace/name`` of the machine, where the domain says so."""
        return f"{self.domain.namespace}/{self.domain.vm_name}" if self.domain is not None else ""


async def look(context: Context) -> Mapping[str, Remains]:
    """Raises ServiceUnavailable where libvirt has lost sight of a QEMU: its first lists may be short."""
    found: defaultdict[str, Remains] = defaultdict(Remains)
    listed = await context.hypervisor.list_owned()
    taps = {uid for uid in await context.network.inventory() if UID.fullmatch(uid)}
    for uid in sorted({*listed, *context.hypervisor.last_known, *taps}):
        domain = listed.get(uid) or await context.hypervisor.info(uid)
        remains = Remains(domain)
        if domain is not None:
            remains.things.append("running guest" if domain.active else "definition")
        if domain is not None or uid in taps:
            found[uid] = remains
    for uid in await context.seeds.inventory():
        found[uid].things.append("provisioning seed")
    for uid, thing in await asyncio.to_thread(_files, context.settings):
        things = found[uid].things
        if thing and thing not in things:
            things.append(thing)
    return found


def _files(settings: Settings) -> list[tuple[str, str]]:
    found = []
    for folder, name, thing in (
        (settings.nvram_dir, _NVRAM, "firmware variables"),
        (settings.console_log_dir, _LOG, "console log"),
    ):
        found += [(path.name.partition(".")[0], thing) for path in files.named(folder, name)]
    found += [(path.name, "") for path in files.named(settings.console_dir, _SOCKET, sockets=True)]
    return found


def mark_of(path: Path) -> str:
    """The id of the store that earlier versions noted beside the volumes; empty when it cannot be read."""
    try:
        with files.open_regular(path) as file:
            return file.read(256).decode("ascii").strip()
    except (OSError, ValueError):
        return ""
