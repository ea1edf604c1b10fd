"""The console's log, through rotation and truncation, of a guest that runs or is off."""

# ruff: noqa: ASYNC240  the files are a few bytes of the test's own

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from hyperd.hypervisor.console.log import read_log, tail_bytes


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "vm.log"


async def whole(path: Path, lines: int | None = None) -> bytes:
    return b"".join([piece async for piece in read_log(path, lines=lines)])


async def until(reader: AsyncGenerator[bytes, None], end: bytes) -> bytes:
    data = b""
    async with asyncio.timeout(10):
        while not data.endswith(end):
            data += await anext(reader)
    return data


async def test_a_log_that_never_was_is_empty(log: Path) -> None:
    assert await whole(log) == b""
    assert tail_bytes(log, 100) == b""


async def test_rotated_files_come_first_oldest_first(log: Path) -> None:
    log.write_bytes(b"five\nsix\n")
    log.with_name("vm.log.0").write_bytes(b"three\nfour\n")
    log.with_name("vm.log.1").write_bytes(b"one\ntwo\n")
    assert await whole(log) == b"one\ntwo\nthree\nfour\nfive\nsix\n"
    assert await whole(log, 1) == b"six\n"
    assert await whole(log, 2) == b"five\nsix\n"
    assert await whole(log, 3) == b"four\nfive\nsix\n"
    assert await whole(log, 5) == b"two\nthree\nfour\nfive\nsix\n"
    assert await whole(log, 100) == b"one\ntwo\nthree\nfour\nfive\nsix\n"
    assert await whole(log, 0) == b""


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.lists(st.binary(max_size=30), max_size=12), st.integers(1, 15))
def test_the_last_lines_are_those_of_tail(tmp_path: Path, pieces: list[bytes], lines: int) -> None:
    log = tmp_path / "vm.log"
    data = b"\n".join(pieces)
    log.write_bytes(data)
    expected = b"".join(_lines(data)[-lines:])
    assert asyncio.run(whole(log, lines)) == expected


def _lines(data: bytes) -> list[bytes]:
    parts = data.split(b"\n")
    whole_lines = [part + b"\n" for part in parts[:-1]]
    return [*whole_lines, parts[-1]] if parts[-1] else whole_lines


async def test_following_goes_on_through_rotation_and_truncation(log: Path) -> None:
    log.write_bytes(b"one\n")
    reader = read_log(log, follow=True)
    assert await until(reader, b"one\n") == b"one\n"
    with log.open("ab") as writer:
        writer.write(b"two\n")
        writer.flush()
        assert await until(reader, b"two\n") == b"two\n"
        log.rename(log.with_name("vm.log.0"))
        writer.write(b"three\n")
    log.write_bytes(b"four\n")
    assert await until(reader, b"four\n") == b"three\nfour\n"
    log.write_bytes(b"")
    await asyncio.sleep(0.5)  # a reader polls; it must have seen the truncation before the file grows past it
    log.write_bytes(b"5\n")
    assert await until(reader, b"5\n") == b"5\n"
    await reader.aclose()


async def test_following_waits_for_a_log_and_ends_when_it_is_removed(log: Path) -> None:
    reader = read_log(log, follow=True)
    first = asyncio.create_task(anext(reader))
    await asyncio.sleep(0.3)
    log.write_bytes(b"booting\n")
    assert await asyncio.wait_for(first, 5) == b"booting\n"
    log.unlink()
    with pytest.raises(StopAsyncIteration):
        await asyncio.wait_for(anext(reader), 10)


async def test_a_link_in_the_logs_place_is_not_followed(log: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    log.symlink_to(secret)
    assert await whole(log) == b""
    assert tail_bytes(log, 100) == b""


async def test_a_large_log_comes_in_pieces(log: Path) -> None:
    data = bytes(range(256)) * 2000
    log.write_bytes(data)
    pieces = [piece async for piece in read_log(log)]
    assert b"".join(pieces) == data
    assert max(map(len, pieces)) <= 64 << 10
