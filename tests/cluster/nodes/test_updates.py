"""What has guests move by themselves: another QEMU of their node's, and where their machines may be by now."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.cluster.nodes.bed import Bed
from tests.cluster.nodes.hyperds import Hyperds
from tests.cluster.nodes.machines import get, make, until
from tests.cluster.nodes.movers import SECONDS, count, running_on, where
from tests.cluster.nodes.node import Node

pytestmark = [pytest.mark.cluster, pytest.mark.nodes, pytest.mark.slow, pytest.mark.timeout(600)]

_OUTDATED = '{.status.conditions[?(@.type=="FirmwareUpToDate")].message}'
_REASON = '{.status.phase} {.status.conditions[?(@.type=="Completed")].reason}'
_MIGRATABLE = (
    '{.status.conditions[?(@.type=="Migratable")].status} {.status.conditions[?(@.type=="Migratable")].reason}'
)
_MIGRATING = '{.status.conditions[?(@.type=="Migrating")].message}'
_QUOTA = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few", "namespace": "default"}}
_UPDATE = """
set -e
real=$(readlink -f "$(command -v qemu-system-x86_64)")
cp "$real" /var/tmp/qemu
echo >>/var/tmp/qemu
mount --bind /var/tmp/qemu "$real"
"""
"""Another build of the same version, as a security update is."""
_UNDO = 'umount -l "$(readlink -f "$(command -v qemu-system-x86_64)")"; rm -f /var/tmp/qemu'


def test_a_guest_goes_where_its_machine_says_by_now_once_a_quota_lets_it(hyperds: Hyperds, mover: str) -> None:
    bed, source = hyperds.bed, where(hyperds, "mover")
    (target,) = (node for node in hyperds.nodes if node is not source)
    before = count(source, mover)
    select(bed, source.name)
    until(lambda: get(bed, "vm/mover", _MIGRATABLE) == "False VirtualMachineNoMigrationTarget", 60)
    bed.plane.apply({**_QUOTA, "spec": {"hard": {"pods": "1"}}})
    try:
        select(bed, target.name)
        until(lambda: reasons(bed) == ["Pending QuotaExceeded"], 60)
        assert "exceeded quota: few" in get(bed, "vm/mover", _MIGRATING)
        assert running_on(hyperds) == [source.name]
        bed.plane.apply({**_QUOTA, "spec": {"hard": {"pods": "3"}}})
        until(lambda: reasons(bed) == ["Completed OperationCompleted"], SECONDS)
    finally:
        bed.plane.kubectl("delete", "quota/few")
    assert where(hyperds, "mover") is target
    until(lambda: count(target, mover) > before, 30)
    assert not get(bed, "vm/mover", "{.status.restartAwaitingChanges}")
    select(bed, None)
    until(lambda: get(bed, "vm/mover", _MIGRATABLE) == "True VirtualMachineMigratable", 60)
    assert len(reasons(bed)) == 1


def select(bed: Bed, node: str | None) -> None:
    """Have the machine be on that node; on any with None."""
    selector = None if node is None else {"kubernetes.io/hostname": node}
    bed.plane.kubectl("patch", "vm/mover", "--type=merge", "-p", json.dumps({"spec": {"nodeSelector": selector}}))


def reasons(bed: Bed) -> list[str]:
    """Phases and reasons of the operations that changes of the machine led to."""
    return [get(bed, f"vmop/{name}", _REASON) for name, _ in operations(bed, "nodeplacement-update-")]


@pytest.fixture
def update(hyperds: Hyperds, mover: str) -> Iterator[None]:
    """Undone, and the guest begun anew with what is there then."""
    yield
    for node in hyperds.nodes:
        node.run("sh", "-c", _UNDO, rc=None)
    make(hyperds.bed, "VirtualMachineOperation", "updated", type="Restart", virtualMachineName="mover", force=True)
    until(lambda: get(hyperds.bed, "vmop/updated", "{.status.phase}") == "Completed", SECONDS)
    until(lambda: count(where(hyperds, "mover"), mover), SECONDS)


def test_a_guest_moves_to_the_qemu_that_its_node_has_by_now(hyperds: Hyperds, mover: str, update: None) -> None:
    bed, source = hyperds.bed, where(hyperds, "mover")
    (target,) = (node for node in hyperds.nodes if node is not source)
    before = count(source, mover)
    assert not get(bed, "vm/mover", _OUTDATED)
    source.run("sh", "-c", _UPDATE)
    until(lambda: get(bed, "vm/mover", _OUTDATED).startswith("The guest runs another build of QEMU"), 60)
    assert updates(bed) == [], "no other node has what this one has by now"
    target.run("sh", "-c", _UPDATE)
    until(lambda: updates(bed) == ["Completed"], SECONDS)
    until(lambda: count(target, mover) > before, 60)
    assert running_on(hyperds) == [target.name]
    until(lambda: not get(bed, "vm/mover", _OUTDATED), 60)
    assert digest_of(bed, target) == digest_of(bed, source)
    assert updates(bed) == ["Completed"]


def digest_of(bed: Bed, node: Node) -> str:
    return get(bed, f"node/{node.name}", r"{.metadata.labels.qemu\.node\.virtualization\.deckhouse\.io/digest}")


def updates(bed: Bed) -> list[str]:
    return [phase for _, phase in operations(bed, "firmware-update-")]


def operations(bed: Bed, prefix: str) -> list[tuple[str, str]]:
    """Names and phases."""
    listed = bed.plane.kubectl(
        "get", "vmop", "--no-headers", "-o", "custom-columns=:.metadata.name,:.status.phase"
    )
    found = sorted(line.split() for line in listed.splitlines())
    return [(name, phase) for name, phase in found if name.startswith(prefix)]
