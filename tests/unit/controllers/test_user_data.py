"""User data on its way from a Secret to the guest: bytes that nobody changes."""

from __future__ import annotations

import base64
import subprocess
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from hyperd.admission import cloud_init
from hyperd.controllers.context import Context
from hyperd.controllers.machine.dependencies import Dependencies, Resolver
from hyperd.errors import ServiceUnavailable
from hyperd.resources.schema.kind import Kind
from hyperd.resources.values import names
from hyperd.resources.values.conditions import find_condition
from hyperd.settings import Settings
from hyperd.storage.seed import SeedStore
from tests.parts import Part
from tests.unit.admission.world import World

CORPUS = Path(__file__).parents[2] / "corpus" / "userdata"
CASES = sorted(CORPUS.glob("*.bin"))


def secret(key: str, data: bytes) -> Part:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "init", "namespace": "default"},
        "type": names.CLOUD_INIT_SECRET_TYPE,
        "data": {key: base64.b64encode(data).decode()},
    }


async def resolved(store: World) -> tuple[Part, Dependencies]:
    """A machine that names the Secret ``init``, and what was found for it."""
    resolver = Resolver.__new__(Resolver)
    resolver._context = cast("Context", SimpleNamespace(store=store))
    machine: Part = {
        "metadata": {"namespace": "default", "name": "web"},
        "spec": {"provisioning": {"type": "UserDataRef", "userDataRef": {"kind": "Secret", "name": "init"}}},
    }
    found = Dependencies()
    await resolver._provisioning(machine, found)
    return machine, found


def read_case(case: Path) -> tuple[bytes, str]:
    odd = case.with_suffix(".odd")
    return case.read_bytes(), odd.read_text().strip() if odd.exists() else ""


def read_back(seed: Path) -> bytes:
    return subprocess.run(["mtype", "-i", seed, "::user-data"], check=True, capture_output=True).stdout


@pytest.mark.parametrize("key", names.CLOUD_INIT_SECRET_KEYS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
async def test_user_data_reaches_the_seed_byte_for_byte(case: Path, key: str, tmp_path: Path) -> None:
    data, odd = read_case(case)

    machine, found = await resolved(World([secret(key, data)]))
    assert found.blocked == ""
    assert found.user_data is not None
    path = (
        await SeedStore(Settings(state_dir=tmp_path)).write("u1", hostname="web", user_data=found.user_data)
    ).path
    assert read_back(path) == data

    condition = find_condition(machine, "ProvisioningReady") or {}
    assert condition["status"] == "True"
    assert condition["reason"] == ("ProvisioningReadyWithWarnings" if odd else "ProvisioningReady")
    assert condition["message"].startswith(f"User data: {odd}" if odd else "")
    warnings = (await World().create(secret(key, data))).warnings
    assert [warning.startswith(f"data[{key}]: {odd}") for warning in warnings] == ([True] if odd else [])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_judging_user_data_costs_little_memory(case: Path) -> None:
    data = case.read_bytes()
    cloud_init.oddities(b"#cloud-config\n")
    tracemalloc.start()
    cloud_init.oddities(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 << 20


async def test_a_machine_waits_for_a_secret_that_cannot_be_read_and_what_runs_keeps_its_seed() -> None:
    class Down(World):
        async def find(self, kind: Kind, namespace: str, name: str) -> Part | None:
            raise ServiceUnavailable("The Kubernetes API server cannot be reached.")

    machine, found = await resolved(Down())
    assert "cannot be reached" in found.blocked
    assert found.user_data is not None
    assert find_condition(machine, "ProvisioningReady") is None, "nobody knows"


async def test_a_machine_waits_for_a_secret_of_the_right_type_and_key() -> None:
    wrong_type = {**secret("userData", b"a"), "type": "Opaque"}
    for data, problem in ((wrong_type, "is not of type"), (secret("user_data", b"a"), "has no key userData")):
        machine, found = await resolved(World([data]))
        assert problem in found.blocked
        assert (find_condition(machine, "ProvisioningReady") or {})["reason"] == "ProvisioningNotReady"
