"""Volumes that are claims: the cluster's storage makes them, and the disk in each is made where that is."""

from __future__ import annotations

import asyncio

from hyperd.settings import Settings
from hyperd.storage.backends.claims import volume
from hyperd.storage.backends.claims.attacher import ClaimAttacher
from hyperd.storage.backends.claims.holding import Holding
from hyperd.storage.backends.claims.provisioner import ClaimProvisioner
from hyperd.storage.claims import CLAIMS, Claims


class ClaimBackend:
    """Of the node. Nothing is there before ``lead``."""

    name = CLAIMS

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.claims_dir
        self._holding = Holding(self._folder)
        self.provisioner = ClaimProvisioner(settings, self._holding)
        self.attacher = ClaimAttacher(self._holding)

    def lead(self, claims: Claims) -> None:
        """From now on ask ``claims`` which there are."""
        self._holding.claims = claims

    def awaited(self, uid: str) -> str:
        """What the volume waits for to be on this node, as a sentence; empty where it is, and for what is none."""
        return self._holding.claims.awaited(uid)

    async def start(self) -> None:
        """What guests have stays where it is; names that lead nowhere any more go."""
        await asyncio.to_thread(volume.clean, self._folder)
