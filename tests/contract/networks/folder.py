"""A second kind of network, as unlike routed taps as a folder allows: a file for each link."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from ipaddress import IPv4Address
from pathlib import Path
from typing import ClassVar

from hyperd.network.interface import Card, Link, NetworkKind
from hyperd.network.place import Place
from hyperd.resources.kinds.virtual_machine import NetworkType
from hyperd.settings import Settings


class FolderNetwork(NetworkKind):
    """``<uid>.<index>`` holds the network's name."""

    TYPES: ClassVar = frozenset({NetworkType.CLUSTER_NETWORK})

    def __init__(self, settings: Settings, _: Place) -> None:
        self.folder = settings.state_dir / "links"

    async def start(self) -> None:
        await asyncio.to_thread(self.folder.mkdir, exist_ok=True)

    async def close(self) -> None:
        return

    def card(self, link: Link) -> Card | None:
        return Card(f"tap{link.index}", link.mac, 1400) if link.mac else None

    async def lacks(self, link: Link) -> str:
        return f"{link.name} is not there." if link.name == "gone" else ""

    async def connect(self, link: Link, *, starting: bool = False) -> None:
        await asyncio.to_thread((self.folder / f"{link.uid}.{link.index}").write_text, link.name)

    async def disconnect(self, uid: str) -> None:
        for path in await self._links():
            if path.stem == uid:
                await asyncio.to_thread(path.unlink)

    async def inventory(self) -> list[str]:
        return sorted({path.stem for path in await self._links()})

    async def routed(self) -> Sequence[tuple[str, IPv4Address]]:
        return ()

    async def _links(self) -> list[Path]:
        return await asyncio.to_thread(lambda: sorted(self.folder.iterdir()))
