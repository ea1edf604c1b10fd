"""A disk whose image still comes: what its status and its machine's say, and what may be lazy at all."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hyperd.controllers import usage
from hyperd.controllers.context import Context
from hyperd.controllers.disk import fetching
from hyperd.controllers.disk.storage_class import may_be_lazy
from hyperd.controllers.machine.held import serial_of
from hyperd.controllers.machine.unreadable import damaged, unreadable
from hyperd.hypervisor.state import DomainInfo
from hyperd.imagefile.handle import DiskFormat, FileHandle, Handle
from hyperd.imagefile.lazy import FetchState
from hyperd.resources.values.conditions import find_condition
from hyperd.settings import ImportSettings, Settings

MIB = 1 << 20
LAZY = "virtualdisk.virtualization.deckhouse.io/lazy"


def disk(**annotations: str) -> Any:
    return {
        "metadata": {"name": "root", "namespace": "ns", "generation": 1, "annotations": annotations},
        "spec": {},
        "status": {},
    }


def class_(**annotations: str) -> Any:
    return {"metadata": {"name": "local", "annotations": annotations}, "provisioner": "x"}


@pytest.mark.parametrize(
    ("state", "reason", "words"),
    [
        (FetchState(30 * MIB, 100 * MIB, speed=10 * MIB), "Fetching", "30.0%"),
        (FetchState(30 * MIB, 100 * MIB, trouble="It is away."), "WaitingForRegistry", "It is away. Guests"),
        (FetchState(30 * MIB, 100 * MIB, fault="It is wrong."), "ImageDamaged", "It is wrong."),
        (FetchState(30 * MIB, 100 * MIB, fault="It is wrong.", refused=True), "DamageRead", "It is wrong."),
    ],
)
def test_how_the_fetch_fares_stands_in_a_condition(state: FetchState, reason: str, words: str) -> None:
    found = disk()
    fetching._show(found, state)
    told = find_condition(found, "ImageFetched")
    assert told is not None
    assert (told["status"], told["reason"]) == ("False", reason)
    assert words in told["message"]
    assert found["status"]["progress"] == "30.0%"
    assert usage.is_being_fetched(found)
    fetching._end(found)
    assert found["status"]["progress"] == "100%"
    assert not usage.is_being_fetched(found)


def test_a_paused_machine_says_which_image_it_waits_for() -> None:
    machine: Any = {
        "metadata": {"namespace": "ns", "name": "vm"},
        "spec": {"blockDeviceRefs": [{"kind": "VirtualDisk", "name": "root"}]},
    }
    found = disk()
    informer = SimpleNamespace(get=lambda namespace, name: found if (namespace, name) == ("ns", "root") else None)
    context = cast(Context, SimpleNamespace(informer=lambda kind: informer))
    assert damaged(context, machine) == unreadable(context, machine) == ""
    fetching._show(found, FetchState(1, 2, fault="It is wrong."))
    assert damaged(context, machine) == ""
    assert "once its image is served again" in unreadable(context, machine)
    fetching._show(found, FetchState(1, 2, fault="It is wrong.", refused=True))
    assert damaged(context, machine) == unreadable(context, machine)
    assert damaged(context, machine).startswith('VirtualDisk "root" could not be read. It is wrong.')


@pytest.mark.parametrize(
    ("setting", "of_class", "of_disk", "lazy"),
    [
        (False, {}, {}, False),
        (True, {}, {}, True),
        (False, {LAZY: "true"}, {}, True),
        (True, {LAZY: "false"}, {}, False),
        (True, {}, {LAZY: "false"}, False),
        (False, {}, {LAZY: "true"}, False),
        (True, {LAZY: "yes"}, {}, False),
    ],
)
def test_the_administrator_says_what_may_be_lazy_and_a_disk_may_say_no(
    setting: bool, of_class: dict[str, str], of_disk: dict[str, str], lazy: bool
) -> None:
    settings = Settings(imports=ImportSettings(lazy=setting))
    assert may_be_lazy(settings, disk(**of_disk), class_(**of_class)) is lazy


def test_without_a_class_the_setting_decides() -> None:
    assert may_be_lazy(Settings(imports=ImportSettings(lazy=True)), disk(), None)


@pytest.mark.parametrize(
    ("uid", "opened", "waits"),
    [
        ("b", FileHandle(Path("/v/b.new"), DiskFormat.QCOW2), True),
        ("b", FileHandle(Path("/v/b"), DiskFormat.QCOW2), False),
        ("b", None, False),
        ("a", FileHandle(Path("/v/b.new"), DiskFormat.QCOW2), False),
    ],
    ids=["pivoted", "committed or not begun", "not its disk", "its own"],
)
async def test_a_guest_waits_while_another_disk_of_it_has_open_what_is_not_its_layer_yet(
    uid: str, opened: Handle | None, waits: bool
) -> None:
    async def sources(guest: str) -> dict[str, Handle]:
        return {} if opened is None else {serial_of(uid): opened}

    async def prepared(asked: str) -> Handle | None:
        return FileHandle(Path(f"/v/{asked}.new"), DiskFormat.QCOW2) if asked == "b" else opened

    context = SimpleNamespace(
        hypervisor=SimpleNamespace(sources=sources),
        volumes=SimpleNamespace(lazily=SimpleNamespace(prepared=prepared)),
    )
    other = disk()
    other["metadata"]["uid"] = uid
    fetching._show_settling(other, "Soon.")
    guest = cast(DomainInfo, SimpleNamespace(uid="guest"))
    assert await fetching.waits_for_layers(cast(Context, context), guest, [other], besides="a") is waits
    fetching._end(other)
    assert not await fetching.waits_for_layers(cast(Context, context), guest, [other], besides="a")
