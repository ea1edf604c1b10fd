"""Where a network is made: a place is this host, or the network namespace of something that runs on it.

Its cgroup is ``launcher.sandbox``'s; its mounts come with what can use them, a machine's claims.
"""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Place:
    """``network`` is its namespace's file (``/proc/PID/ns/net``, ``/run/netns/NAME``), None the daemon's own.

    ``address`` is by which the daemon's own reaches it.
    """

    network: Path | None = None
    address: IPv4Address | None = None
    leads: bool = True
    """Whether what is sent to it comes here: not to a guest that has not arrived yet."""

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do blocking ``work`` in a thread that is in this place. Raises OSError where there is no such place.

        Sockets and processes made there stay there. A thread that entered a namespace is never used again: none
        of the daemon's own can be left in the wrong one.
        """
        if self.network is None:
            return await asyncio.to_thread(work, *args, **kwargs)
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        context = contextvars.copy_context()

        def tell(result: Callable[[], None]) -> None:
            if not done.done():
                result()

        def enter_and_work() -> None:
            try:
                self.enter()
                found = context.run(work, *args, **kwargs)
            except BaseException as error:  # noqa: BLE001  border of a thread: whoever waits gets it
                loop.call_soon_threadsafe(tell, lambda error=error: done.set_exception(error))
            else:
                loop.call_soon_threadsafe(tell, lambda: done.set_result(found))

        threading.Thread(target=enter_and_work, name=f"in {self.network}", daemon=True).start()
        return await done

    def enter(self) -> None:
        """Have the calling thread be in this place for the rest of its life. Raises OSError."""
        if self.network is None:
            return
        descriptor = os.open(str(self.network), os.O_RDONLY | os.O_CLOEXEC)
        try:
            if _LIBC.setns(descriptor, _CLONE_NEWNET):
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number), str(self.network))
        finally:
            os.close(descriptor)


THIS_HOST: Final = Place()
"""Where the daemon itself is."""
