"""What a running guest keeps, whatever its spec asks for by now."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hyperd.controllers.context import Context
from hyperd.controllers.machine import applied, instance
from hyperd.controllers.machine.dependencies import Dependencies
from hyperd.controllers.machine.instance import Instances
from hyperd.controllers.machine.status import Observed, show_absence, show_instance
from hyperd.controllers.migration.interface import Movable
from hyperd.errors import PermanentError
from hyperd.hypervisor.facts.host import HostFacts
from hyperd.hypervisor.state import DomainInfo, DomainState
from hyperd.network.interface import Link
from hyperd.resources.kinds.virtual_machine_conditions import MigratableReason
from hyperd.resources.kinds.virtual_machine_status import VirtualMachinePhase
from hyperd.resources.values.conditions import find_condition
from hyperd.runtime.informer import Informer
from hyperd.settings import Settings
from hyperd.store.interface import Store
from tests.parts import Part
from tests.testdriver.network import NoNetwork
from tests.unit.controllers.test_plan import FACTS

UID = "0aa5b1b6-6e0c-4c44-a3a3-8f7e2a1d9c01"


def machine() -> Part:
    return {
        "metadata": {"uid": UID, "namespace": "default", "name": "web", "generation": 1},
        "spec": {"cpu": {"cores": 1}, "memory": {"size": "1Gi"}},
        "status": {},
    }


def domain(**carried: Any) -> DomainInfo:
    mark = applied.Applied(applied.configuration(machine()["spec"]), store="s", **carried)
    return DomainInfo(
        uid=UID, state=DomainState.RUNNING, reason="booted", persistent=True, namespace="default", vm_name="web",
        generation=1, applied=mark.encode(),
    )  # fmt: skip


async def test_a_lost_tap_comes_back_though_the_host_cannot_run_what_the_spec_asks_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    links: list[Link] = []

    class Network(NoNetwork):
        async def connect(self, link: Link, *, starting: bool = False) -> None:
            links.append(link)

    async def facts() -> HostFacts:
        return HostFacts(**FACTS)

    def cannot(*_: object, **__: object) -> Any:
        raise PermanentError("The processor model does not exist here.")

    monkeypatch.setattr(instance, "make_plan", cannot)
    context = SimpleNamespace(
        settings=Settings(),
        hypervisor=SimpleNamespace(facts=facts, assign=None),
        network=Network(),
        ownership=SimpleNamespace(binds=False),
        node_name="node",
        store_id=lambda: "s",
        informer=lambda kind: Informer(cast(Store, None), kind),
    )
    instances = Instances(cast(Context, context))
    await instances.keep(machine(), domain(address="10.66.10.14"), Dependencies())
    assert links == [Link(UID, "web", IPv4Address("10.66.10.14"))]


@pytest.mark.parametrize("binds", [False, True])
def test_the_status_tells_the_versions_that_run_and_why_it_cannot_migrate(binds: bool) -> None:
    shown = machine()
    observed = Observed(
        domain=domain(qemu="8.2.0"), found=Dependencies(), node_name="n", bound=binds, devices=[],
        libvirt_version="10.0.0",
    )  # fmt: skip
    show_instance(shown, observed)
    assert shown["status"]["versions"] == {"qemu": "8.2.0", "libvirt": "10.0.0"}
    said = (find_condition(shown, "Migratable") or {})["message"]
    assert ("needs a cluster" in said) is not binds


@pytest.mark.parametrize("bound", [False, True])
def test_where_it_may_be_waits_for_a_restart_only_if_it_cannot_go(bound: bool) -> None:
    shown = machine()
    shown["spec"] |= {"nodeSelector": {"zone": "b"}, "affinity": {"nodeAffinity": {}}, "osType": "Windows"}
    observed = Observed(domain=domain(), found=Dependencies(), node_name="n", bound=True, devices=[])
    why = "Its disk is this node's." if bound else ""
    show_instance(shown, observed, Movable(MigratableReason.NON_MIGRATABLE, why, bound=bound))
    waiting = [change["path"] for change in shown["status"]["restartAwaitingChanges"]]
    assert waiting == (["osType", "nodeSelector", "affinity"] if bound else ["osType"])


@pytest.mark.parametrize(
    ("reason", "can"),
    [("VirtualMachineWaitingForMigrationTarget", "True"), ("VirtualMachineNoMigrationTarget", "False")],
)
def test_a_guest_that_waits_for_a_node_can_go(reason: str, can: str) -> None:
    shown = machine()
    observed = Observed(domain=domain(), found=Dependencies(), node_name="n", bound=True, devices=[])
    show_instance(shown, observed, Movable(MigratableReason(reason), "No node."))
    said = find_condition(shown, "Migratable") or {}
    assert (said["status"], said["reason"], said["message"]) == (can, reason, "No node.")


def test_whether_it_can_migrate_is_said_only_while_there_is_an_instance() -> None:
    shown = machine()
    observed = Observed(
        domain=domain(), found=Dependencies(), node_name="n", bound=False, devices=[], libvirt_version="10.0.0"
    )
    show_instance(shown, observed)
    assert find_condition(shown, "Migratable")
    show_absence(shown, replace(observed, domain=None), VirtualMachinePhase.STOPPED)
    assert find_condition(shown, "Migratable") is None


def test_the_version_of_a_guest_that_was_started_by_an_older_daemon_is_not_guessed() -> None:
    shown = machine()
    observed = Observed(
        domain=domain(), found=Dependencies(), node_name="n", bound=False, devices=[], libvirt_version="10.0.0"
    )
    show_instance(shown, observed)
    assert shown["status"]["versions"] == {"libvirt": "10.0.0"}
