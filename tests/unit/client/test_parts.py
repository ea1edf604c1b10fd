"""What ``hv disk export`` finds beside its file: its own part, or what somebody else has put there."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import web

from hyperd.client.downloading import FilePart, Part, checksum
from hyperd.client.home import Home
from hyperd.errors import Conflict, InternalError
from tests.unit.cli.registry import served

VERSION = "0123456789abcdef" * 2


def left(folder: Path) -> Path:
    """What an ``hv`` leaves that was killed."""
    part = FilePart(str(folder / "vm.img"))
    part.begin(VERSION)
    part.write(b"begin")
    part.keep()
    part.close()
    return folder / f"vm.img.{VERSION}.part"


def test_its_own_part_is_gone_on_with(tmp_path: Path) -> None:
    kept = left(tmp_path)
    assert kept.stat().st_mode & 0o777 == 0o600
    part = FilePart(str(tmp_path / "vm.img"))
    part.take_up(lambda _: None)
    assert (part.version, part.done) == (VERSION, 5)
    with pytest.raises(Conflict, match="is being written by another hv"):
        FilePart(str(tmp_path / "vm.img"))
    part.publish()
    assert (tmp_path / "vm.img").read_bytes() == b"begin"


async def test_why_a_checksum_was_cut_is_told() -> None:
    async def broken(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"ETag": f'"{VERSION}"'})
        await response.prepare(request)
        await response.write(b"# 3 %\n# The volume cannot be read.\n")
        raise ConnectionAbortedError

    heard = list[str]()
    part = Part(None)
    part.begin(VERSION)
    async with served(broken) as host:
        home = Home(name="x", host="127.0.0.1", port=int(host.partition(":")[2]))
        with pytest.raises(InternalError) as caught:
            await asyncio.to_thread(checksum, home, "/export", part, told=heard.append)
    assert (heard, caught.value.message) == (["3 %"], "The volume cannot be read.")


def anybodys(kept: Path, _: pytest.MonkeyPatch) -> None:
    kept.chmod(0o666)


def read_by_others(kept: Path, _: pytest.MonkeyPatch) -> None:
    kept.chmod(0o640)


def named_elsewhere(kept: Path, _: pytest.MonkeyPatch) -> None:
    os.link(kept, kept.with_name("other"))


def leads_elsewhere(kept: Path, _: pytest.MonkeyPatch) -> None:
    kept.symlink_to(kept.rename(kept.with_name("other")))


def no_file(kept: Path, _: pytest.MonkeyPatch) -> None:
    kept.unlink()
    os.mkfifo(kept, 0o600)


def somebody_elses(_: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4242)


@pytest.mark.parametrize(
    "planted", [anybodys, read_by_others, named_elsewhere, leads_elsewhere, no_file, somebody_elses]
)
def test_what_others_may_have_is_neither_read_nor_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planted: Callable[[Path, pytest.MonkeyPatch], None]
) -> None:
    kept = left(tmp_path)
    planted(kept, monkeypatch)
    part = FilePart(str(tmp_path / "vm.img"))
    part.take_up(lambda _: None)
    assert (part.version, part.done) == ("", 0)
    with pytest.raises(Conflict) as caught:
        part.begin(VERSION)
    assert caught.value.message == f"{kept} is there, and is not what hv left for itself alone; remove it."
    part.keep()
    if kept.is_file():
        assert kept.read_bytes() == b"begin"
    part.begin(VERSION[::-1])
    part.write(b"other")
    part.publish()
    assert (tmp_path / "vm.img").read_bytes() == b"other"
