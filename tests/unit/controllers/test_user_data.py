"""User data on its way from a Secret to the guest: bytes that nobody changes."""

from __future__ import annotations

import base64
import subprocess
import tracemalloc
from pathlib import Path
from typing import cast

import pytest

from hyperd.admission import cloud_init
from hyperd.controllers.machine.dependencies import Dependencies
from hyperd.controllers.machine.provisioning import check_provisioning
from hyperd.errors import ServiceUnavailable
from hyperd.resources.schema.kind import Kind
from hyperd.resources.values import names
from hyperd.resources.values.conditions import find_condition
from hyperd.settings import Settings
from hyperd.storage.seed import SeedStore
from hyperd.store.interface import Store
from tests.parts import Part
from tests.unit.admission.world import World

CORPUS = Path(__file__).parents[2] / "corpus" / "userdata"
CASES = sorted(CORPUS.glob("*.bin"))


REFERENCE = {"kind": "Secret", "name": "init"}
USER_DATA = {"type": "UserDataRef", "userDataRef": REFERENCE}
SYSPREP = {"type": "SysprepRef", "sysprepRef": REFERENCE}


def secret(key: str, data: bytes, type_: str = names.CLOUD_INIT_SECRET_TYPE) -> Part:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "init", "namespace": "default"},
        "type": type_,
        "data": {key: base64.b64encode(data).decode()},
    }


async def resolved(store: World, provisioning: Part = USER_DATA) -> tuple[Part, Dependencies]:
    """A machine that names the Secret ``init``, and what was found for it."""
    machine: Part = {
        "metadata": {"namespace": "default", "name": "web"},
        "spec": {"provisioning": provisioning},
    }
    found = Dependencies()
    await check_provisioning(cast("Store", store), machine, found)
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


@pytest.mark.parametrize("provisioning", [USER_DATA, SYSPREP])
async def test_a_machine_waits_for_a_secret_that_cannot_be_read_and_what_runs_keeps_its_seed(
    provisioning: Part,
) -> None:
    class Down(World):
        async def find(self, kind: Kind, namespace: str, name: str) -> Part | None:
            raise ServiceUnavailable("The Kubernetes API server cannot be reached.")

    machine, found = await resolved(Down(), provisioning)
    assert "cannot be reached" in found.blocked
    assert (found.user_data, found.answers) != (None, None)
    assert find_condition(machine, "ProvisioningReady") is None, "nobody knows"


async def test_a_machine_waits_for_a_secret_of_the_right_type_and_key() -> None:
    wrong_type = {**secret("userData", b"a"), "type": "Opaque"}
    for data, problem in ((wrong_type, "is not of type"), (secret("user_data", b"a"), "has no key userData")):
        machine, found = await resolved(World([data]))
        assert problem in found.blocked
        assert (find_condition(machine, "ProvisioningReady") or {})["reason"] == "ProvisioningNotReady"


async def test_all_that_a_secret_for_sysprep_holds_is_given_to_the_guest() -> None:
    answers = secret("unattend.xml", b"<unattend/>", names.SYSPREP_SECRET_TYPE)
    answers["data"]["first-logon.ps1"] = base64.b64encode(b"\xff").decode()
    machine, found = await resolved(World([answers]), SYSPREP)
    assert (found.blocked, found.user_data) == ("", None)
    assert found.answers == {"unattend.xml": b"<unattend/>", "first-logon.ps1": b"\xff"}
    assert (find_condition(machine, "ProvisioningReady") or {})["reason"] == "ProvisioningReady"


async def test_empty_answers_are_warned_of() -> None:
    machine, found = await resolved(World([secret("unattend.xml", b"", names.SYSPREP_SECRET_TYPE)]), SYSPREP)
    condition = find_condition(machine, "ProvisioningReady") or {}
    assert (condition["reason"], found.blocked) == ("ProvisioningReadyWithWarnings", "")
    assert "unattend.xml is empty" in condition["message"]


@pytest.mark.parametrize(
    ("secrets", "problem"),
    [
        ([], 'Secret "init" does not exist.'),
        ([secret("unattend.xml", b"a")], f'Secret "init" is not of type {names.SYSPREP_SECRET_TYPE}.'),
        (
            [secret("Unattend.xml", b"a", names.SYSPREP_SECRET_TYPE)],
            'Secret "init" has no key autounattend.xml or unattend.xml.',
        ),
        (
            [{**secret("x", b"", names.SYSPREP_SECRET_TYPE), "data": {"unattend.xml": "?"}}],
            'Key unattend.xml of Secret "init" is not base64.',
        ),
    ],
)
async def test_a_machine_waits_for_answers(secrets: list[Part], problem: str) -> None:
    machine, found = await resolved(World(secrets), SYSPREP)
    condition = find_condition(machine, "ProvisioningReady") or {}
    assert (condition["status"], condition["reason"]) == ("False", "ProvisioningNotReady")
    assert condition["message"] == found.blocked == problem
    assert found.answers is None
