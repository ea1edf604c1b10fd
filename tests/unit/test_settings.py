"""Settings are refused in one sentence that names them, wherever they come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hyperd import loading
from hyperd.errors import PermanentError
from hyperd.loading import load, overrides
from hyperd.settings import PoolKind, StorageSettings

NOWHERE: dict[str, str] = {"HYPERD_CONFIG": "/nonexistent/hyperd.toml"}


@pytest.mark.parametrize(
    "assignment",
    [
        "api.max_body_bytes=0", "api.port=65536", "store.watch_log_events=0", "hypervisor.resync_seconds=0",
        "hypervisor.resync_seconds=nan", "hypervisor.workers=0", "hypervisor.cpu_allocation_ratio=0",
        "hypervisor.reserved_memory_bytes=-1", "network.mtu=10", "network.gateway_mac=gateway",
        "network.lease_retention_seconds=-1", "imports.concurrent=0", "imports.read_timeout_seconds=0",
        "registry.presence_check_seconds=0", "storage.reserve_bytes=-1", "operations.keep_per_vm=-1",
        "operations.retention_seconds=inf", "api.no_such=1", "log.format=xml",
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_meant_is_refused_by_name(assignment: str) -> None:
    with pytest.raises(PermanentError, match=assignment.partition("=")[0].replace(".", r"\.")):
        load(environ=NOWHERE, overrides=overrides([assignment]))


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        ({"HYPERD_IMPORTS__ALLOWED": "[127.0.0.1]"}, "HYPERD_IMPORTS__ALLOWED is not a valid TOML list"),
        ({"HYPERD_API": "x", "HYPERD_API__PORT": "1"}, "api is given a value as a whole"),
        ({"HYPERD_NO_SUCH": "1"}, "no_such"),
    ],
)
def test_an_environment_that_makes_no_sense_is_refused(environ: dict[str, str], sentence: str) -> None:
    with pytest.raises(PermanentError, match=sentence):
        load(environ=NOWHERE | environ)


@pytest.mark.parametrize("content", [b"[api", b"port = \xff\xfe"])
def test_a_file_that_is_no_toml_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "hyperd.toml"
    file.write_bytes(content)
    with pytest.raises(PermanentError, match=f"Settings file {file} is not valid TOML"):
        load(file=file, environ={})


def test_a_section_and_its_field_cannot_both_be_set() -> None:
    with pytest.raises(PermanentError, match="api is given a value as a whole"):
        overrides(["api=1", "api.port=2"])


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "hyperd.toml"
    file.write_text('[api]\nhost = "192.0.2.1"\nport = 1\nmax_watchers = 1\n')
    environ = {
        "HYPERD_API__PORT": "2",
        "HYPERD_API__MAX_WATCHERS": "2",
        "HYPERD_IMPORTS__ALLOWED": '["10.0.0.0/8"]',
    }
    found = load(file=file, environ=environ, overrides=overrides(["api.max_watchers=3"]))
    assert (found.api.host, found.api.port, found.api.max_watchers) == ("192.0.2.1", 2, 3)
    assert found.imports.allowed == ("10.0.0.0/8",)


def test_what_may_be_zero_may_be(tmp_path: Path) -> None:
    nothing: dict[str, Any] = {}
    loading.put(nothing, ["operations", "keep_per_vm"], 0)
    loading.put(nothing, ["operations", "retention_seconds"], 0)
    loading.put(nothing, ["storage", "reserve_bytes"], 0)
    assert load(environ=NOWHERE, overrides=nothing).operations.keep_per_vm == 0


def test_a_place_is_one_pools() -> None:
    pools = [{"name": name, "kind": PoolKind.BLOCK, "path": "/dev/sdb"} for name in ("one", "two")]
    with pytest.raises(ValueError, match="two pools have the path /dev/sdb"):
        StorageSettings.model_validate({"pools": pools})
