"""Whose store this node has seen, and how far: what says that it was restored."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from hyperd.controllers.witness import Witness


def witness(path: Path, store: str = "a") -> Witness:
    return Witness(path / "seen.json", lambda: store)


async def test_an_empty_node_takes_the_store_for_its_own_and_remembers_it(tmp_path: Path) -> None:
    first = witness(tmp_path)
    await first.begin(empty=True, marked="")
    await first.look("100")
    assert not first.waits
    again = witness(tmp_path)
    await again.begin(empty=False, marked="")
    await again.look("100")
    assert not again.waits
    await again.look("99")
    assert again.waits
    assert "behind 100" in again.sentence()


@pytest.mark.parametrize(("marked", "waits"), [("a", False), ("b", True), ("", True)])
async def test_a_node_that_holds_something_and_noted_nothing(tmp_path: Path, marked: str, waits: bool) -> None:
    """An earlier version noted the store's id beside the volumes."""
    first = witness(tmp_path)
    await first.begin(empty=False, marked=marked)
    assert first.waits is waits


async def test_only_an_administrator_ends_the_waiting(tmp_path: Path) -> None:
    await witness(tmp_path).begin(empty=True, marked="")
    other = witness(tmp_path, "b")
    await other.begin(empty=True, marked="")
    assert other.waits
    since = other.since
    await other.look("5")
    other = witness(tmp_path, "b")
    await other.begin(empty=True, marked="")
    assert (other.waits, other.since) == (True, since)
    await other.accept("5")
    other = witness(tmp_path, "b")
    await other.begin(empty=True, marked="")
    await other.look("6")
    assert not other.waits
    await other.look("4")
    assert other.waits


@pytest.mark.parametrize("odd", ["empty", "text", "list", "folder", "fifo", "nowhere", "null"])
async def test_a_note_that_cannot_be_read_makes_the_node_wait_and_start(tmp_path: Path, odd: str) -> None:
    path = tmp_path / "seen.json"
    texts = {"empty": b"", "text": b"\xff\xfe", "list": b"[1]", "null": b'{"store":null,"resourceVersion":null}'}
    if odd == "folder":
        path.mkdir()
    elif odd == "fifo":
        os.mkfifo(path)
    elif odd == "nowhere":
        path.symlink_to(path)
    else:
        path.write_bytes(texts[odd])
    seen = witness(tmp_path)
    await seen.begin(empty=True, marked="")
    assert seen.waits
    await seen.look("7")
    if odd != "folder":
        await seen.accept("7")
        again = witness(tmp_path)
        await again.begin(empty=False, marked="")
        assert not again.waits


async def test_a_lease_that_carries_an_earlier_word_tells_of_a_restore_that_no_version_shows(
    tmp_path: Path,
) -> None:
    node = witness(tmp_path)
    await node.begin(empty=True, marked="")
    first = await node.renew("")
    second = await node.renew(first)
    assert len({first, second}) == 2
    # The word did not reach the Lease, or this node died before it knew that it had.
    await node.renew(first)
    third = await node.renew(first)
    again = witness(tmp_path)
    await again.begin(empty=False, marked="")
    await again.renew(third)
    assert not node.waits
    assert not again.waits
    # Deleted by somebody: that is no restore.
    fifth = await again.renew("")
    await again.renew(fifth)
    await again.renew(second)
    assert again.waits
    assert "an earlier Lease of this node" in again.sentence()
    await again.accept("5")
    sixth = await again.renew(second)
    await again.renew(sixth)
    assert not again.waits


async def test_a_store_that_is_accepted_before_its_lease_was_read_is_accepted_with_it(tmp_path: Path) -> None:
    node = witness(tmp_path)
    await node.begin(empty=True, marked="")
    first = await node.renew("")
    second = await node.renew(first)
    await node.renew(second)
    await node.look("10")
    await node.look("5")
    assert node.waits
    await node.accept("5")
    later = await node.renew(first)
    assert not node.waits
    await node.renew(later)
    await node.renew(first)
    assert node.waits, "it was restored once more"


async def test_a_word_that_cannot_be_noted_is_not_sent(tmp_path: Path) -> None:
    node = witness(tmp_path)
    await node.begin(empty=True, marked="")
    word = await node.renew("")
    (tmp_path / "seen.json").unlink()
    (tmp_path / "seen.json").mkdir()
    (tmp_path / "seen.json" / "x").touch()
    assert await node.renew(word) == word
    assert not node.waits


async def test_what_is_noted_at_once_is_noted_whole(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The sweep looks while the Lease is renewed and an administrator accepts."""
    node = witness(tmp_path)
    await node.begin(empty=True, marked="")
    for turn in range(4):
        renewed = asyncio.create_task(node.renew(""))
        await asyncio.gather(*(node.look(str(turn * 10 + number)) for number in range(5)), node.accept(str(turn)))
        word = await renewed
    assert not caplog.records
    again = witness(tmp_path)
    await again.begin(empty=False, marked="")
    await again.renew(word)
    assert not again.waits
