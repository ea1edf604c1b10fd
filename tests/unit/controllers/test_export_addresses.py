"""Addresses at which one export is read: once, by whoever knows them, for as long as their maker may."""

from __future__ import annotations

import asyncio
import hashlib

import aiohttp
import pytest

from hyperd import clock
from hyperd.api.access import tokens
from hyperd.api.sessions import lending
from hyperd.resources.all import SECRET, VIRTUAL_DISK
from hyperd.resources.values.names import SYSTEM_NAMESPACE
from hyperd.roles import Role
from hyperd.store.interface import BY_SYSTEM
from tests.unit.controllers.exporting import DISK, EXPECTED, MIB, Exporting, address, lab

__all__ = ["lab"]


async def told(lab: Exporting, url: str, **headers: str) -> tuple[int, bytes]:
    async with lab.client.get(url, headers=headers) as answer:
        return answer.status, await answer.read()


@pytest.mark.loop_seconds(1, "all of the disk is read into one answer here")
async def test_an_address_is_good_for_one_whole_read_by_whoever_knows_it(lab: Exporting) -> None:
    await lab.disk()
    url = await address(lab)
    await lab.free()
    # A login that is none: the address alone counts.
    nobody = {"Authorization": "Bearer nobody"}
    assert await told(lab, url, **nobody, Range="bytes=0-9") == (206, b"\5" * 10)
    assert await told(lab, url, **nobody) == (200, EXPECTED)
    used = (404, b"All was read at this address already. Ask for another one.\n")
    assert await told(lab, url) == used
    digest = hashlib.sha256(EXPECTED).hexdigest()
    assert await told(lab, f"{url}?checksum=sha256") == (200, f"{digest}  vm.img\n".encode())
    assert (await told(lab, f"{url}?address=true"))[0] == 400
    assert (await told(lab, url[:-1] + ("0" if url[-1] != "0" else "1")))[0] == 404
    async with lab.client.post(url) as answer:
        assert answer.status == 405
    logs = [path.read_text() for path in lab.world._settings.log_dir.rglob("*") if path.is_file()]
    assert any("system:export:" in text for text in logs)
    assert not any(url.rpartition("/")[2] in text for text in logs), "an address is a secret"


async def test_an_address_is_for_one_format_of_one_object(lab: Exporting) -> None:
    await lab.disk()
    url = await address(lab, f"{DISK}?format=qcow2")
    assert (await told(lab, f"{url}?format=raw"))[0] == 400
    assert (await told(lab, url))[1].startswith(b"QFI\xfb")
    url = await address(lab)
    await lab.free()
    await lab.world.store.delete(VIRTUAL_DISK, "default", "vm")
    await lab.world.gone(VIRTUAL_DISK)
    await lab.world.give_disk()
    assert await told(lab, url) == (404, b"VirtualDisk default/vm is another one than this address is for.\n")


async def test_an_address_that_nobody_uses_ends(lab: Exporting, monkeypatch: pytest.MonkeyPatch) -> None:
    await lab.disk()
    url = await address(lab)
    assert (await told(lab, url, Range="bytes=0-0"))[0] == 206
    monkeypatch.setattr(lending, "LENT_SECONDS", -1.0)
    assert (await told(lab, url))[1].endswith(b"it was used or has expired. Ask for another one.\n")


async def test_an_address_that_is_used_again_and_again_ends_after_a_day(
    lab: Exporting, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lab.disk()
    url = await address(lab)
    now = clock.elapsed()
    for minutes in (9, 18):
        monkeypatch.setattr(clock, "elapsed", lambda minutes=minutes: now + minutes * 60)
        assert (await told(lab, url, Range="bytes=0-0"))[0] == 206
    monkeypatch.setattr(lending, "_LONGEST_SECONDS", 20 * 60)
    monkeypatch.setattr(clock, "elapsed", lambda: now + 21 * 60)
    assert (await told(lab, url, Range="bytes=0-0"))[0] == 404


async def test_an_address_and_what_it_has_begun_end_with_its_makers_token(
    lab: Exporting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "_CHECK_SECONDS", 0.05)
    await lab.disk()
    made, _ = await tokens.Tokens(lab.world.store).create(
        "editor", tokens.Grant(Role.EDITOR, (), 4e9), write=BY_SYSTEM
    )
    url = await address(lab, Authorization=f"Bearer {made}")
    async with lab.client.get(url) as answer:
        await answer.content.readexactly(MIB)
        fairness = lab.world._daemon._api.fairness
        assert fairness.sessions.held("token:editor") == 1, "it counts with all else of its maker"
        await lab.world.store.delete(SECRET, SYSTEM_NAMESPACE, "editor")
        async with asyncio.timeout(10):  # who reads on meanwhile may have all of it first
            while fairness.sessions.held("token:editor"):
                await asyncio.sleep(0.01)
        with pytest.raises(aiohttp.ClientError):
            await asyncio.wait_for(answer.read(), 10)
    assert await told(lab, url) == (
        404,
        b"The token of who has made this address has ended. Ask for another one.\n",
    )


@pytest.mark.loop_seconds(1, "all of the disk is read into one answer here")
async def test_an_address_is_given_to_nobody_who_asks_as_somebody_else(lab: Exporting) -> None:
    await lab.disk()
    as_eve = {"Impersonate-User": "eve", "Impersonate-Group": "hyperd:editor"}
    assert (await lab.refusal(f"{DISK}?address=true", **as_eve))[0] == 400
    assert (await lab.read(**as_eve))[0] == 200
