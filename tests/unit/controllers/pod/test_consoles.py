"""Which machines' consoles are in their Pods' logs, and to whom what a guest says is handed."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import pytest

from hyperd.controllers.pod.consoles import PodConsoles, asks
from hyperd.errors import TemporaryError
from hyperd.resources.values.names import CONSOLE_LOG_ANNOTATION
from tests.parts import Part, part
from tests.unit.controllers.pod.machines import UID, machine


def annotated(said: str | None) -> Part:
    annotations = {} if said is None else {CONSOLE_LOG_ANNOTATION: said}
    return machine() | {"metadata": machine()["metadata"] | {"annotations": annotations}}


@pytest.mark.parametrize(
    ("own", "of_class", "expected"),
    [
        (None, None, False), ("true", None, True), (None, "true", True), ("false", "true", False),
        ("yes", "true", True), ("", None, False), ("true", "false", True),
    ],
)  # fmt: skip
def test_the_machines_word_counts_for_more_than_its_classs(
    own: str | None, of_class: str | None, expected: bool
) -> None:
    assert asks(annotated(own), annotated(of_class)) is expected
    assert asks(annotated(None), None) is False


class Launcher:
    def __init__(self) -> None:
        self.told: asyncio.Queue[bytes] = asyncio.Queue()
        self.gone = False

    async def tell_console(self, said: bytes) -> None:
        if self.gone:
            raise TemporaryError("It is gone.")
        self.told.put_nowait(said)

    async def hears(self) -> bytes:
        async with asyncio.timeout(10):
            return await self.told.get()


class Guests:
    """What guests say."""

    def __init__(self) -> None:
        self.heard: dict[str, list[asyncio.Queue[bytes]]] = defaultdict(list)

    async def said(self, uid: str) -> AsyncGenerator[bytes, None]:
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        self.heard[uid].append(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self.heard[uid].remove(queue)

    async def say(self, said: bytes, *, to: int = 1) -> None:
        async with asyncio.timeout(10):
            while len(self.heard[UID]) != to:
                await asyncio.sleep(0)
        for queue in self.heard[UID]:
            queue.put_nowait(said)

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[PodConsoles]:
        consoles = PodConsoles(self.said)
        yield consoles
        await consoles.close()
        assert self.heard[UID] == []


async def test_one_launcher_is_told_as_long_as_the_machine_asks() -> None:
    guests, first, second = Guests(), Launcher(), Launcher()
    async with guests.kept() as consoles:
        consoles.keep(annotated(None), None, part(first))
        for _ in range(3):
            consoles.keep(annotated("true"), None, part(first))
        await guests.say(b"\x1b[1mlogin: ")
        assert await first.hears() == b"\x1b[1mlogin: "
        await guests.say(b"x" * 10_000)
        assert [len(await first.hears()) for _ in range(3)] == [4096, 4096, 1808]
        before = guests.heard[UID][0]
        consoles.keep(annotated("true"), None, part(second))
        async with asyncio.timeout(10):
            while before in guests.heard[UID]:
                await asyncio.sleep(0)
        await guests.say(b"anew")
        assert await second.hears() == b"anew"
        consoles.keep(annotated("false"), None, part(second))
        await guests.say(b"nobody hears", to=0)
        assert first.told.empty()
        assert second.told.empty()


async def test_one_that_is_gone_is_followed_by_the_next() -> None:
    guests, first, second = Guests(), Launcher(), Launcher()
    async with guests.kept() as consoles:
        consoles.keep(annotated("true"), None, part(first))
        first.gone = True
        await guests.say(b"lost")
        await guests.say(b"", to=0)
        consoles.keep(annotated("true"), None, part(second))
        await guests.say(b"anew")
        assert await second.hears() == b"anew"
        consoles.keep(annotated("true"), None, None)
        await guests.say(b"", to=0)
