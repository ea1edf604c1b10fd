"""The steps of taking snapshots, whatever object asks for them."""

from __future__ import annotations

import contextlib
from typing import ClassVar

from hyperd.controllers.snapshot.taking import Taking
from hyperd.errors import HyperdError
from hyperd.progress import Report
from hyperd.runtime.operations.operation import Step


class Prepare(Step):
    """The volumes' new tops."""

    name: ClassVar = "prepare"

    def __init__(self, taking: Taking) -> None:
        self._taking = taking

    async def done(self) -> bool:
        return await self._taking.prepared()

    async def run(self, report: Report) -> None:
        await self._taking.prepare()

    async def undo(self) -> None:
        await self._taking.undo()


class Pivot(Step):
    """The guest writes to them, held meanwhile."""

    name: ClassVar = "pivot"

    def __init__(self, taking: Taking) -> None:
        self._taking = taking

    async def done(self) -> bool:
        """Whether the guest was held then, only this process knows: what is not committed is looked at again."""
        return await self._taking.committed()

    async def run(self, report: Report) -> None:
        await self._taking.pivot()

    async def undo(self) -> None:
        with contextlib.suppress(HyperdError):
            await self._taking.thaw()


class Commit(Step):
    """What was written until then is the snapshots'."""

    name: ClassVar = "commit"

    def __init__(self, taking: Taking) -> None:
        self._taking = taking

    async def done(self) -> bool:
        return await self._taking.committed()

    async def run(self, report: Report) -> None:
        await self._taking.commit()

    async def undo(self) -> None:
        """The first step's does that."""
