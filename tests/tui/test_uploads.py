"""A file of the user's into an image that waits for it, from the list, against a whole daemon."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hyperd.client.home import local
from tests.tui.conftest import Ui, looking_at
from tests.unit.controllers.uploading import READY, Uploading, uploading
from tests.unit.registry.world import qcow2_bytes

SIZES = [(80, 24), (100, 30), (160, 45)]


@pytest.fixture
async def up() -> AsyncIterator[Uploading]:
    async with uploading() as running:
        yield running


async def _waiting(ui: Ui) -> None:
    await ui.press("3")
    await ui.shows("WaitForUser")
    await ui.row("up")


@pytest.mark.parametrize("size", SIZES)
async def test_a_file_is_sent_into_what_waits_for_it(up: Uploading, tmp_path: Path, size: tuple[int, int]) -> None:
    (tmp_path / "a.qcow2").write_bytes(await qcow2_bytes(tmp_path))
    await up.make()
    async with looking_at(local(str(up.world._settings.socket_path)), size=size) as ui:
        await _waiting(ui)
        await ui.press("U")
        await ui.shows("Send a file into up")
        await ui.type(f"{tmp_path}/absent.qcow2")
        await ui.press("enter")
        await ui.shows("✖ No such file")
        await ui.press("U")
        await ui.shows("Send a file into up")
        await ui.type(f"{tmp_path}/a.qcow2")
        await ui.press("enter")
        await up.phase(READY)
        await ui.press("a")
        await ui.shows("a.qcow2 is being sent", "up: Uploaded qcow2")
        await ui.press("escape", "U")
        await ui.shows("up is Ready: only what has the source Upload")


async def test_an_upload_is_shown_with_how_far_it_is_and_cancelled(up: Uploading, tmp_path: Path) -> None:
    await up.make()
    async with looking_at(local(str(up.world._settings.socket_path))) as ui:
        await _waiting(ui)
        with (tmp_path / "big.raw").open("wb") as file:
            file.truncate(20 << 30)
        await ui.press("U")
        await ui.type(f"{tmp_path}/big.raw")
        await ui.press("enter")
        await ui.until(lambda: any(work.done for work in ui.app.main.works.running), "bytes")
        await ui.press("a")
        await ui.shows("upload big.raw → up", "0%")
        await ui.press("x")
        await ui.shows("Cancel upload big.raw")
        await ui.pilot.pause(0.6)
        await ui.press("y")
        await ui.shows("the upload to up is cancelled")
