"""Serial consoles in ``kubectl logs``, of machines that ask for it: viewers may read Pods' logs, and no console.

What the guest says is read from the log that virtlogd keeps, and handed to the launcher, whose output kubelet has.
Nobody waits for anybody: a launcher drops what is not taken from it, and what comes faster than may be is read
later, as far as virtlogd still has it. What was said while no hyperd ran is not among it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from hyperd.background import Background
from hyperd.errors import TemporaryError
from hyperd.launcher.connection import Launcher
from hyperd.resources.schema.kind import AnyObject
from hyperd.resources.values import meta, names

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine import VirtualMachine
    from hyperd.resources.views.virtual_machine_class import VirtualMachineClass

Said = Callable[[str], AsyncGenerator[bytes, None]]
"""What the guest of a machine, by its uid, says on its console from now on."""

_log = logging.getLogger(__name__)
_PIECE_BYTES: Final = 4 << 10
_BYTES_PER_SECOND: Final = 256 << 10
"""Of one guest: more than any serial port says, and less than a node's disk minds."""


def asks(machine: AnyObject, class_: AnyObject | None) -> bool:
    """Whether the machine's console is to be in its Pod's log: the machine's word counts for more."""
    for one in (machine, class_):
        said = "" if one is None else meta.annotations(one).get(names.CONSOLE_LOG_ANNOTATION, "")
        if said in ("true", "false"):
            return said == "true"
    return False


class PodConsoles:
    """Of one node."""

    def __init__(self, said: Said) -> None:
        self._said = said
        self._background = Background()
        self._telling: dict[str, tuple[Launcher, asyncio.Event]] = {}
        """By the machine's uid: to whom, and what ends it."""

    def keep(self, machine: VirtualMachine, class_: VirtualMachineClass | None, launcher: Launcher | None) -> None:
        """Have ``launcher`` be told what the guest says from now on, or not; None: nobody. May be repeated."""
        self.prune()
        uid = machine["metadata"]["uid"]
        wanted = launcher if launcher is not None and asks(machine, class_) else None
        known = self._telling.get(uid)
        if known is not None and known[0] is not wanted:
            known[1].set()
            del self._telling[uid]
        if wanted is not None and uid not in self._telling:
            ended = asyncio.Event()
            self._telling[uid] = wanted, ended
            self._background.spawn(partial(self._tell, uid, wanted, ended), f"console of {uid}")

    def prune(self) -> None:
        """Follow no guest for a launcher that is gone."""
        for uid, (launcher, ended) in list(self._telling.items()):
            if launcher.gone:
                ended.set()
                del self._telling[uid]

    async def close(self) -> None:
        """Tell nobody any more."""
        await self._background.stop()
        self._telling.clear()

    async def _tell(self, uid: str, launcher: Launcher, ended: asyncio.Event) -> None:
        telling = asyncio.create_task(self._hand_on(uid, launcher))
        ending = asyncio.create_task(ended.wait())
        try:
            await asyncio.wait({telling, ending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (telling, ending):
                task.cancel()
            await asyncio.gather(telling, ending, return_exceptions=True)
            if self._telling.get(uid) == (launcher, ended):
                del self._telling[uid]

    async def _hand_on(self, uid: str, launcher: Launcher) -> None:
        pieces = self._said(uid)
        try:
            async for piece in pieces:
                for begin in range(0, len(piece), _PIECE_BYTES):
                    part = piece[begin : begin + _PIECE_BYTES]
                    await launcher.tell_console(part)
                    await asyncio.sleep(len(part) / _BYTES_PER_SECOND)
        except TemporaryError as error:
            _log.info("%s", error)  # it is gone; the next one is told
        finally:
            await pieces.aclose()
