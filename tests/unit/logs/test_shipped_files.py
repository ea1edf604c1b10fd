"""The files that the wheel carries for a server: the settings that they show are the real ones."""

from __future__ import annotations

import re
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

from hyperd.settings import Settings
from hyperd.storage.backends.block.table import Type

DATA = Path(str(files("hyperd") / "data"))


def shown_defaults() -> dict[str, Any]:
    """The file with its example lines switched on."""
    text = re.sub(r"^# (\w+ = )", r"\1", (DATA / "hyperd.toml").read_text(), flags=re.MULTILINE)
    return tomllib.loads(text)


def test_the_shipped_file_changes_nothing() -> None:
    assert Settings.model_validate(tomllib.loads((DATA / "hyperd.toml").read_text())) == Settings()


def test_every_default_shown_is_the_default() -> None:
    shown = shown_defaults()
    for name in ("password_file", "ca_file"):
        assert shown["registry"].pop(name).startswith("/etc/hyperd/")
    assert shown["front_proxy"].pop("ca_file").startswith("/etc/hyperd/")
    assert shown["kubernetes"].pop("kubeconfig").startswith("/etc/hyperd/")
    assert Settings.model_validate(shown) == Settings()


def test_the_unit_leaves_guests_running_when_the_daemon_ends() -> None:
    unit = (DATA / "hyperd.service").read_text()
    assert "KillMode=process" in unit
    assert "RuntimeDirectoryPreserve=yes" in unit
    assert f"--config {Settings().config_dir}/hyperd.toml" in unit


def test_udev_leaves_the_disks_of_guests_alone() -> None:
    rules = (DATA / "59-hyperd.rules").read_text()
    (pattern,) = re.findall(r'ID_PART_ENTRY_TYPE}!="([^"]+)"', rules)
    for type_ in (Type.VOLUME, Type.UNFINISHED):
        assert re.fullmatch(pattern, type_.lower())
    assert not re.fullmatch(pattern, Type.MARK.lower())
