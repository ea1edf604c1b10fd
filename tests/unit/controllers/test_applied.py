"""Which spec changes wait for a restart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from hyperd.controllers.machine import applied
from hyperd.controllers.machine.held import Held

GOLDEN = Path(__file__).parents[2] / "golden" / "applied"


def spec(**over: Any) -> dict[str, Any]:
    return {
        "virtualMachineClassName": "generic",
        "cpu": {"cores": 1, "coreFraction": "100%"},
        "memory": {"size": "1Gi"},
        "blockDeviceRefs": [{"kind": "VirtualDisk", "name": "root"}],
        "runPolicy": "Manual",
        **over,
    }


def test_nothing_waits_when_nothing_changed() -> None:
    text = applied.Applied(applied.configuration(spec()), "op-1").encode()
    read = applied.decode(text)
    assert read.operation == "op-1"
    assert applied.changes(read.configuration, spec()) == []


def test_user_data_is_compared_but_not_carried() -> None:
    with_data = spec(provisioning={"type": "UserData", "userData": "password: hunter2"})
    assert "hunter2" not in applied.Applied(applied.configuration(with_data)).encode()


@pytest.mark.parametrize("text", ["", "{}", "[]", "abc", "null"])
def test_a_foreign_mark_reads_as_nothing(text: str) -> None:
    assert applied.decode(text) == applied.Applied()


def test_more_cores_wait_for_a_restart() -> None:
    found = applied.changes(applied.configuration(spec()), spec(cpu={"cores": 2, "coreFraction": "100%"}))
    assert found == [{"operation": "replace", "path": "cpu.cores", "currentValue": 1, "desiredValue": 2}]


SELECTOR = {"matchLabels": {"zone": "a"}}


def test_where_the_class_puts_machines_waits_for_a_restart() -> None:
    text = applied.record_of(spec(), {"cpu": {"type": "Host"}, "nodeSelector": SELECTOR}).encode()
    read = applied.decode(text)

    def found(class_spec: Any, **over: Any) -> list[Any]:
        return applied.changes(read.configuration, spec(**over), read.compared, class_spec)

    assert found({"nodeSelector": SELECTOR, "tolerations": [], "sizingPolicies": [{"cores": {"min": 1}}]}) == []
    assert found({"nodeSelector": {}, "tolerations": [{"key": "a"}]}) == [
        {"operation": "remove", "path": "VirtualMachineClass:spec.nodeSelector", "currentValue": SELECTOR},
        {"operation": "add", "path": "VirtualMachineClass:spec.tolerations", "desiredValue": [{"key": "a"}]},
    ]
    assert found(None) == [], "a class that is gone says nothing"
    other = found({"nodeSelector": {}}, virtualMachineClassName="other")
    assert [one["path"] for one in other] == ["virtualMachineClassName"]


def test_of_a_machine_that_an_earlier_version_started_the_class_is_not_compared() -> None:
    before = applied.decode(applied.Applied(applied.configuration(spec())).encode())
    assert applied.changes(before.configuration, spec(), before.compared, {"nodeSelector": SELECTOR}) == []


def test_run_policy_is_taken_live() -> None:
    assert applied.changes(applied.configuration(spec()), spec(runPolicy="AlwaysOn")) == []


def test_boot_order_alone_is_not_compared() -> None:
    changed = spec(blockDeviceRefs=[{"kind": "VirtualDisk", "name": "root", "bootOrder": 2}])
    assert applied.changes(applied.configuration(spec()), changed) == []


def refs(*names: str) -> list[dict[str, str]]:
    return [{"kind": "VirtualDisk", "name": name} for name in names]


@pytest.mark.parametrize("over", [{"osType": "Legacy"}, {"enableParavirtualization": False}])
def test_an_added_disk_that_cannot_be_plugged_in_is_named_by_its_place(over: dict[str, Any]) -> None:
    running = applied.configuration(spec(**over))
    found = applied.changes(running, spec(**over, blockDeviceRefs=refs("root", "data")))
    assert found == [
        {
            "operation": "add",
            "path": "blockDeviceRefs.1",
            "desiredValue": {"kind": "VirtualDisk", "name": "data"},
        }
    ]


def test_a_disk_that_is_added_or_removed_live_waits_for_no_restart_and_another_order_does() -> None:
    running = applied.configuration(spec(blockDeviceRefs=refs("root", "data")))
    for other in (refs("root"), refs("root", "more", "data"), refs("more")):
        assert applied.changes(running, spec(blockDeviceRefs=other)) == []
    first, second = applied.changes(running, spec(blockDeviceRefs=refs("data", "root")))
    assert (first["path"], second["path"]) == ("blockDeviceRefs.0", "blockDeviceRefs.1")
    assert (first["currentValue"], first["desiredValue"]) == (refs("root")[0], refs("data")[0])


@pytest.mark.parametrize(
    ("before", "wanted", "plugged", "after"),
    [
        (["root"], ["root", "data"], ["root", "data"], ["root", "data"]),
        (["root", "data"], ["root", "new", "data"], ["root", "data", "new"], ["root", "new", "data"]),
        (["root", "data"], ["root"], ["root"], ["root"]),
        (["root", "data"], ["root"], ["root", "data"], ["root", "data"]),
        (["root", "data"], ["data", "new", "root"], ["root", "data", "new"], ["root", "data", "new"]),
    ],
)
def test_the_record_follows_what_is_plugged_in_and_keeps_the_order_that_booted(
    before: list[str], wanted: list[str], plugged: list[str], after: list[str]
) -> None:
    record = applied.Applied(applied.configuration(spec(blockDeviceRefs=refs(*before))))
    devices: list[Held] = [{"kind": "VirtualDisk", "name": name, "uid": name} for name in plugged]
    now = applied.with_devices(record, spec(blockDeviceRefs=refs(*wanted)), devices)
    assert now.configuration["blockDeviceRefs"] == refs(*after)


def test_the_devices_of_a_record_are_read_as_they_were_written() -> None:
    devices: tuple[Held, ...] = (
        {"kind": "VirtualDisk", "name": "root", "uid": "u1"},
        {"kind": "VirtualImage", "name": "iso", "uid": "u2", "attachment": "a", "hotplugged": True},
    )
    record = applied.Applied({"osType": "Generic"}, devices=devices)
    assert applied.decode(record.encode()) == record
    broken = orjson.loads(record.encode()) | {"devices": [1, {"kind": "VirtualDisk"}, None]}
    assert applied.decode(orjson.dumps(broken).decode()).devices == ()


def test_provisioning_waits_for_a_restart_and_what_cloud_init_has_is_left_out_at_once() -> None:
    with_data = spec(provisioning={"type": "UserData", "userData": "#cloud-config"})
    other = spec(provisioning={"type": "UserData", "userData": "#!/bin/sh"})
    for before, after, operation in ((spec(), with_data, "add"), (with_data, other, "replace")):
        (change,) = applied.changes(applied.configuration(before), after)
        assert (change["path"], change["operation"]) == ("provisioning", operation)
    assert applied.changes(applied.configuration(with_data), spec()) == []
    answers = spec(provisioning={"type": "SysprepRef", "sysprepRef": {"kind": "Secret", "name": "answers"}})
    rigid: dict[str, Any] = {"enableParavirtualization": False}
    with_fixed_data = spec(provisioning={"type": "UserData", "userData": "#cloud-config"}, **rigid)
    for before, after in ((answers, spec()), (with_fixed_data, spec(**rigid))):
        (change,) = applied.changes(applied.configuration(before), after)
        assert (change["path"], change["operation"]) == ("provisioning", "remove")


@pytest.mark.parametrize(
    ("kind", "machine", "goes"),
    [
        ("UserData", {}, True),
        ("UserDataRef", {}, True),
        ("SysprepRef", {}, False),
        ("UserData", {"enableParavirtualization": False}, False),
    ],
)
def test_only_a_disk_of_cloud_init_on_a_bus_that_can_lose_one_goes_while_it_runs(
    kind: str, machine: dict[str, Any], goes: bool
) -> None:
    record = applied.Applied(applied.configuration(spec(provisioning={"type": kind}, **machine)))
    assert applied.has_live_seed(record.configuration) is goes
    assert applied.has_live_seed(applied.without_seed(record).configuration) is False


AFFINITY: dict[str, Any] = {
    "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}
}


def test_affinity_waits_for_a_restart_as_other_placement_does() -> None:
    (change,) = applied.changes(applied.configuration(spec()), spec(affinity=AFFINITY))
    assert (change["path"], change["operation"]) == ("affinity", "add")


def test_what_was_not_compared_when_a_machine_was_started_does_not_wait() -> None:
    """A machine whose record knows nothing of affinity may have been started with it."""
    read = applied.decode((GOLDEN / "version-1.json").read_text())
    assert "affinity" not in read.compared
    assert set(read.compared) == {*applied.RESTART_PATHS} - {"affinity"}
    assert applied.changes({}, {"affinity": AFFINITY}, read.compared) == []
    assert applied.decode(applied.Applied().encode()).compared == applied.RESTART_PATHS


def test_cores_and_fraction_that_change_together_are_one_change() -> None:
    changed = spec(cpu={"cores": 2, "coreFraction": "50%"}, memory={"size": "2Gi"})
    first, second = applied.changes(applied.configuration(spec()), changed)
    assert first == {
        "operation": "replace",
        "path": "cpu",
        "currentValue": {"cores": 1, "coreFraction": "100%"},
        "desiredValue": {"cores": 2, "coreFraction": "50%"},
    }
    assert second["path"] == "memory.size"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"memory": {"size": "1024Mi"}}),
        ({}, {"nodeSelector": {}}),
        ({"nodeSelector": {}}, {}),
        ({}, {"networks": [{"type": "Main", "id": 1}]}),
        ({"networks": [{"type": "Main"}]}, {"networks": []}),
    ],
)
def test_another_way_to_say_the_same_waits_for_nothing(before: Any, after: Any) -> None:
    assert applied.changes(applied.configuration(spec(**before)), spec(**after)) == []


def test_a_record_of_the_version_before_is_read_in_full() -> None:
    """The sample was written by the last commit whose records did not name their version."""
    read = applied.decode((GOLDEN / "version-1.json").read_text())
    assert read == applied.Applied(
        configuration=read.configuration,
        operation="0a1b2c3d-0000-4000-8000-00000000000f",
        store="store-1",
        address="10.66.10.14",
        address_name="web-1-ip",
        qemu="7.2.19",
        restarting=True,
        compared=read.compared,
    )
    assert read.configuration["blockDeviceRefs"][1] == {"kind": "VirtualImage", "name": "debian"}
    assert applied.decode(read.encode()) == read


def test_a_record_of_a_later_version_is_read_as_far_as_it_is_known() -> None:
    written = orjson.loads(applied.Applied({"osType": "Generic"}, "op-1").encode())
    assert written["version"] == applied.VERSION
    later = orjson.dumps(written | {"version": applied.VERSION + 1, "colour": "red"}).decode()
    assert applied.decode(later) == applied.Applied({"osType": "Generic"}, "op-1")
