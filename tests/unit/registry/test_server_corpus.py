"""Every server of ``tests/corpus/servers``, played in a thread, as the source of a real import."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from hyperd.errors import HyperdError, PermanentError
from hyperd.settings import ImportSettings
from registry.importer import Importer
from tests.unit.registry.corpus import MIB, cases
from tests.unit.registry.test_image_corpus import watched
from tests.unit.registry.world import World

_WITHIN = 4.0
_MEMORY_MIB = 32


def _text(text: str) -> bytes:
    def date(match: re.Match[str]) -> str:
        return format_datetime(datetime.now(UTC) + timedelta(seconds=int(match[1])), usegmt=True)

    return re.sub(r"\{date\+(\d+)\}", date, text).encode("latin-1")


def _play(steps: list[dict[str, Any]], connection: socket.socket, over: threading.Event) -> None:
    with connection, suppress(OSError):
        connection.settimeout(30)
        connection.recv(65536)
        for step in steps:
            if "wait" in step:
                over.wait(step["wait"])
            elif "hang" in step:
                over.wait()
            elif "forever" in step:
                every, data = step["every"], _text(step["forever"])
                if not every:
                    data *= max(1, 65536 // len(data))
                while not over.wait(every):
                    connection.sendall(data)
            else:
                data = bytes.fromhex(step["hex"]) if "hex" in step else _text(step["text"])
                connection.sendall(data * step.get("times", 1))


@contextmanager
def server(steps: list[dict[str, Any]]) -> Iterator[int]:
    """Its port; it plays ``steps`` to whoever connects."""
    over = threading.Event()
    listening = socket.create_server(("127.0.0.1", 0))
    threads = []

    def accept() -> None:
        with suppress(OSError):
            while not over.is_set():
                connection, _ = listening.accept()
                threads.append(threading.Thread(target=_play, args=(steps, connection, over), daemon=True))
                threads[-1].start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield listening.getsockname()[1]
    finally:
        over.set()
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        for thread in [accepting, *threads]:
            thread.join(5)


def _kind(error: HyperdError | None) -> str:
    if error is None:
        return "served"
    return "permanent" if isinstance(error, PermanentError) else "temporary"


@pytest.mark.parametrize("case", cases("servers"), ids=lambda case: case["name"])
async def test_a_server_of_the_corpus(world: World, tmp_path: Path, case: dict[str, Any]) -> None:
    error: HyperdError | None = None
    with server(case["steps"]) as port:
        limits = ImportSettings(
            allowed=(f"127.0.0.1/32:{port}",), connect_timeout_seconds=1, read_timeout_seconds=1
        )
        importer = Importer(world.settings.model_copy(update={"imports": limits}), world.client)
        async with watched(world.settings.state_dir) as seen:
            try:
                await importer.run(world.request(f"http://127.0.0.1:{port}/a"))
            except HyperdError as err:
                error = err
    assert _kind(error) in case["ends"].split("|"), error
    assert re.search(case.get("says", ""), str(error))
    assert str(error).isprintable()
    if "delay" in case:
        assert getattr(error, "delay", None) == pytest.approx(case["delay"], abs=2)
    if error is not None:
        assert await world.leftovers() == []
    assert seen.seconds <= case.get("within", _WITHIN)
    assert seen.memory <= _MEMORY_MIB * MIB
