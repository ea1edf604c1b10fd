"""What a namespace may take, on a real node: machines wait for their quota, disks for theirs, and both go on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.host.machine.test_placement import fresh, new
from tests.host.running import Hyperd, Object, condition, disk, machine


@pytest.fixture
def made(hyperd: Hyperd) -> Iterator[list[tuple[str, str]]]:
    """(word, name) of what the test makes, removed afterwards, the first made last."""
    found: list[tuple[str, str]] = []
    yield found
    for word, name in reversed(found):
        if hyperd.find(word, name) is not None:
            hyperd.delete(word, name)
            hyperd.wait_gone(word, name)


def quota(**hard: str) -> Object:
    limits = {name.replace("_", "."): value for name, value in hard.items()}
    return {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": fresh("q"), "namespace": "default"},
        "spec": {"hard": limits},
    }


def test_a_machine_waits_for_its_quota_and_starts_when_there_is_room(
    hyperd: Hyperd, made: list[tuple[str, str]]
) -> None:
    limit = new(hyperd, made, "resourcequotas", quota(requests_cpu="1", pods="5"))
    first, second = (new(hyperd, made, "vd", disk(fresh("d"), size="8Mi")) for _ in range(2))
    for name in (first, second):
        spec = {"terminationGracePeriodSeconds": 0, "cpu": {"cores": 1, "coreFraction": "100%"}}
        new(hyperd, made, "vm", machine(name, name, runPolicy="AlwaysOn", **spec))
        if name == first:
            hyperd.wait_phase("vm", first, "Running")
    waits = hyperd.wait("vm", second, lambda o: condition(o, "Running").get("reason") == "QuotaExceeded")
    assert waits["status"]["phase"] == "Pending"
    told = f"exceeded quota: {limit}, requested: requests.cpu=1, used: requests.cpu=1, limited: requests.cpu=1"
    assert told in condition(waits, "Running")["message"]
    assert hyperd.get("vm", first)["status"]["phase"] == "Running"
    hyperd.wait("resourcequotas", limit, lambda o: o["status"]["used"] == {"pods": "1", "requests.cpu": "1"})
    hyperd.patch("vm", first, {"spec": {"runPolicy": "AlwaysOff"}})
    hyperd.wait_phase("vm", second, "Running")
    hyperd.wait("resourcequotas", limit, lambda o: o["status"]["used"] == {"pods": "1", "requests.cpu": "1"})


def test_a_disk_waits_for_the_quota_whether_it_names_its_size_or_its_image_does(
    hyperd: Hyperd, made: list[tuple[str, str]]
) -> None:
    limit = new(hyperd, made, "resourcequotas", quota(requests_storage="1Mi"))
    blank = new(hyperd, made, "vd", disk(fresh("d"), size="8Mi"))
    name = new(hyperd, made, "vd", disk(fresh("d"), image="guest"))
    for one in (blank, name):
        waits = hyperd.wait("vd", one, lambda o: condition(o, "Ready").get("reason") == "QuotaExceeded")
        assert waits["status"]["phase"] == "Pending"
        assert f"exceeded quota: {limit}, requested: requests.storage=" in condition(waits, "Ready")["message"]
    hyperd.delete("vd", blank)
    hyperd.wait_gone("vd", blank)
    hyperd.patch("resourcequotas", limit, {"spec": {"hard": {"requests.storage": "10Gi"}}})
    ready = hyperd.wait_phase("vd", name, "Ready")
    hyperd.wait(
        "resourcequotas", limit, lambda o: o["status"]["used"]["requests.storage"] == ready["status"]["capacity"]
    )
    claim = ready["status"]["target"]["persistentVolumeClaimName"]
    assert hyperd.get("pvc", claim)["status"]["phase"] == "Bound"


def test_a_disk_larger_than_could_ever_be_is_refused(hyperd: Hyperd, made: list[tuple[str, str]]) -> None:
    name = new(hyperd, made, "vd", disk(fresh("d"), size="4000Ti"))
    failed = hyperd.wait_phase("vd", name, "Failed")
    assert "storage.overcommit_ratio" in condition(failed, "Ready")["message"]
