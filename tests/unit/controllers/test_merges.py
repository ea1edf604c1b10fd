"""What guests' QEMUs are asked to merge, over a pool of its own and a hypervisor that only answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from hyperd.controllers.context import Context
from hyperd.controllers.host.merges import LAST_SECONDS, Merges
from hyperd.controllers.machine.held import serial_of
from hyperd.errors import HyperdError, NotFound, TemporaryError
from hyperd.hypervisor.state import DomainDisk, DomainInfo, DomainState
from hyperd.imagefile.handle import DiskFormat, FileHandle
from hyperd.storage.interface import Merge, MergeKind, Volume

UPPER, LOWER = (FileHandle(Path(f"/pool/{name}.qcow2"), DiskFormat.QCOW2) for name in ("v.s", "v"))


class Here:
    """A guest that has the volume ``v`` open, the merges that are offered, and what was asked of all."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *kinds: MergeKind) -> None:
        self.offered: Sequence[Merge] = [Merge("v", kind, UPPER, LOWER, None) for kind in kinds]
        self.asked: list[str] = []
        self.answer: bool | HyperdError = True
        self.now = 100.0
        monkeypatch.setattr("hyperd.clock.elapsed", lambda: self.now)
        disks = (DomainDisk("sda", serial_of("v")),)
        guest = DomainInfo("g", "default", "vm", 1, "", DomainState.RUNNING, "booted", True, disks=disks)
        self.connected, self.last_known = True, {"g": guest}
        context = SimpleNamespace(hypervisor=self, volumes=self, informer=lambda _: self)
        self.rounds = Merges(cast(Context, context))

    def add_handler(self, handler: object) -> None:
        """Nothing changes here."""

    def by_index(self, index: str, value: str) -> Sequence[object]:
        """No disk is moved."""
        return ()

    async def inventory(self) -> Sequence[Volume]:
        return [Volume("v", "p", 1, 1)]

    async def merges(self, in_use: object) -> Sequence[Merge]:
        return self.offered

    async def merged(self, merge: Merge) -> None:
        self.asked.append("merged")

    async def pull(self, guest: str, serial: str, *, base: object) -> bool:
        return self._answer("pull")

    async def settle(self, guest: str, serial: str) -> bool:
        return self._answer("settle")

    def _answer(self, call: str) -> bool:
        self.asked.append(call)
        if isinstance(self.answer, HyperdError):
            raise self.answer
        return self.answer


async def test_a_pull_is_merged_once_it_is_sure(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Here(monkeypatch, MergeKind.PULL)
    here.answer = False
    assert await here.rounds.merge()
    assert await here.rounds.merge(), "it goes on, and is looked at soon"
    here.answer = True
    await here.rounds.merge()
    assert here.asked == ["pull", "pull", "pull", "merged"]


@pytest.mark.parametrize("answer", [False, NotFound("Domain g does not run any more.")])
async def test_what_ended_before_it_was_sure_is_not_merged(
    monkeypatch: pytest.MonkeyPatch, answer: bool | HyperdError
) -> None:
    here = Here(monkeypatch, MergeKind.SETTLE)
    here.answer = answer
    await here.rounds.merge()
    assert here.asked == ["settle"]


@pytest.mark.parametrize("answer", [True, TemporaryError("No space left on device.")])
async def test_a_merge_that_fails_again_and_again_is_tried_ever_more_seldom(
    monkeypatch: pytest.MonkeyPatch, answer: bool | HyperdError
) -> None:
    here = Here(monkeypatch, MergeKind.PULL)
    here.answer = answer
    for _ in range(3600):
        await here.rounds.merge()
        here.now += 1
    assert 5 < here.asked.count("pull") < 20
    here.offered = []
    await here.rounds.merge()
    here.offered = [Merge("v", MergeKind.PULL, UPPER, LOWER, None)]
    before = len(here.asked)
    await here.rounds.merge()
    assert len(here.asked) > before, "it is another one"
    here.now += LAST_SECONDS
    await here.rounds.merge()
