"""Whether a pool can be used, asked in a thread of its own: one that hangs takes none that others need."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import Final, Protocol

from hyperd import clock
from hyperd.errors import TemporaryError

_LIMIT_SECONDS: Final = 10.0


class Pool(Protocol):
    """What is asked."""

    name: str

    def require(self) -> None:
        """TemporaryError unless it can be used. Blocks, for ever where the storage below hangs."""
        ...

    def refusal(self, why: str) -> TemporaryError:
        """What is told where it cannot be used."""
        ...


class Asking:
    """One look at a time, which all wait for that ask meanwhile; one that hangs is waited for only once."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._look: asyncio.Future[None] | None = None
        self._since = 0.0

    async def require(self) -> None:
        """Raises what ``Pool.require`` does, and TemporaryError where it does not answer."""
        look = self._look
        if look is None or look.done():
            look = self._look = asyncio.get_running_loop().create_future()
            self._since = clock.elapsed()
            threading.Thread(target=self._ask, args=(look,), name=f"pool {self._pool.name}", daemon=True).start()
        left = max(0.0, self._since + _LIMIT_SECONDS - clock.elapsed())
        await asyncio.wait([look], timeout=left)
        if not look.done():
            raise self._pool.refusal(f"it has not answered for {_LIMIT_SECONDS:.0f} s")
        look.result()

    async def usable(self) -> bool:
        """Whether ``require`` raises nothing."""
        try:
            await self.require()
        except TemporaryError:
            return False
        return True

    def _ask(self, look: asyncio.Future[None]) -> None:
        error: Exception | None = None
        try:
            self._pool.require()
        except Exception as err:  # noqa: BLE001  border: whoever waits is told
            error = err
        with suppress(RuntimeError):  # the daemon has ended
            look.get_loop().call_soon_threadsafe(_tell, look, error)


def _tell(look: asyncio.Future[None], error: Exception | None) -> None:
    if error is None:
        look.set_result(None)
    else:
        look.set_exception(error)
        look.exception()  # told: nobody may wait for it any more
