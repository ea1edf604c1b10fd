"""A node tells what runs short, once, and until there is clearly enough again."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from hyperd.controllers.node import pressure
from hyperd.resources.core.node import NodeConditionType
from hyperd.settings import Settings, StorageSettings

GIB = 1 << 30


def disk(settings: Settings, *, before: bool = False) -> pressure.Pressure:
    type_ = NodeConditionType.DISK_PRESSURE
    (found,) = [one for one in pressure.look(settings, {type_: before}) if one.type == type_]
    return found


def space(monkeypatch: pytest.MonkeyPatch, *, size: int, free: int, inodes: int = 0, free_inodes: int = 0) -> None:
    told = SimpleNamespace(f_blocks=size, f_frsize=1, f_bavail=free, f_files=inodes, f_favail=free_inodes)
    monkeypatch.setattr(os, "statvfs", lambda _: told)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state_dir=tmp_path, storage=StorageSettings(reserve_bytes=GIB))


@pytest.mark.parametrize(
    ("size", "free", "short"),
    [
        (100 * GIB, 11 * GIB, ""),
        (100 * GIB, 9 * GIB, "Less than 10Gi of 100Gi are free at "),
        (8000 * GIB, 11 * GIB, ""),
        (5 * GIB, GIB - 1, "Less than 1Gi of 5Gi are free at "),
    ],
)
def test_a_tenth_should_be_free_but_no_more_than_ten_gibibytes_nor_less_than_the_reserve(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, size: int, free: int, short: str
) -> None:
    space(monkeypatch, size=size, free=free)
    found = disk(settings)
    assert found.shortage.startswith(short)
    assert bool(found.shortage) == bool(short)
    assert (found.status, found.reason) == (
        ("True", "KubeletHasDiskPressure") if short else ("False", "KubeletHasNoDiskPressure")
    )


def test_pressure_ends_only_when_there_is_clearly_more(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    space(monkeypatch, size=100 * GIB, free=int(10.5 * GIB))
    assert disk(settings).status == "False"
    assert disk(settings, before=True).status == "True"
    space(monkeypatch, size=100 * GIB, free=int(11.5 * GIB))
    assert disk(settings, before=True).status == "False"


def test_a_file_system_without_inodes_left_is_full_too(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    space(monkeypatch, size=100 * GIB, free=50 * GIB, inodes=1000, free_inodes=40)
    assert disk(settings).shortage.startswith("Less than one in 20 inodes is free at ")


def test_each_of_the_kubelets_conditions_is_looked_at(settings: Settings) -> None:
    assert tuple(one.type for one in pressure.look(settings, {})) == pressure.TYPES
    assert all(one.message for one in pressure.look(settings, {}))
