"""What a daemon may be made of."""

from __future__ import annotations

from pathlib import Path

import pytest

from hyperd import daemon, logs
from hyperd.settings import LogSettings
from tests.testdriver.world import TEST_DRIVER


@pytest.fixture(autouse=True)
def no_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log of the tests stays theirs."""

    def unchanged(_: LogSettings) -> None:
        return

    monkeypatch.setattr(logs, "setup", unchanged)


@pytest.mark.parametrize("uri", ["test:///default", "lxc:///system", "vbox:///session", ""])
def test_a_driver_that_is_not_qemu_s_is_refused_in_a_sentence(
    uri: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folders = (f"{name}={tmp_path}" for name in ("state_dir", "run_dir", "log_dir", "config_dir"))
    arguments = [part for one in (*folders, f"hypervisor.uri={uri}") for part in ("--set", one)]
    assert daemon.main(arguments) == 1
    assert capfd.readouterr().err == (
        f'hyperd: Setting hypervisor.uri: "{uri}" is not supported: hyperd runs guests by libvirt\'s QEMU driver, '
        "such as qemu:///system.\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_host_is_left_by_a_command(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folders = (f"{name}={tmp_path}" for name in ("state_dir", "run_dir", "log_dir", "config_dir"))
    arguments = [part for one in folders for part in ("--set", one)]
    assert daemon.main([*arguments, "leave"], world=TEST_DRIVER) == 0
    assert capfd.readouterr().out == "Nothing of hyperd's network is left on this host.\n"
    assert list(tmp_path.iterdir()) == []
