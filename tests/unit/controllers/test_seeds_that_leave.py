"""The disk of cloud-init in a guest whose spec has nothing for cloud-init any more."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

from hyperd.controllers.context import Context
from hyperd.controllers.machine import applied
from hyperd.controllers.machine.dependencies import Dependencies
from hyperd.controllers.machine.held import seed_serial
from hyperd.controllers.machine.hotplug import HotPlug
from hyperd.controllers.machine.instance import Instances
from hyperd.hypervisor.state import DomainDisk, DomainInfo, DomainState
from hyperd.resources.schema.kind import Kind
from hyperd.runtime.informer import Informer
from hyperd.store.interface import Store
from tests.parts import Part

_DATA = {"type": "UserData", "userData": "#cloud-config"}


def _informer(kind: Kind) -> Informer[Any]:
    return Informer(cast(Store, None), kind)


class _Host:
    """A guest, its seed and what was done to both."""

    def __init__(self) -> None:
        configuration = applied.configuration({"provisioning": _DATA, "osType": "Generic"})
        self.domain = DomainInfo(
            uid="vm", namespace="default", vm_name="vm", generation=1, state=DomainState.RUNNING, reason="booted",
            persistent=True, disks=(DomainDisk("sda", seed_serial("vm")),),
            applied=applied.Applied(configuration).encode(),
        )  # fmt: skip
        self.releases = False
        self.removed: list[str] = []
        self.told: list[str] = []
        context = SimpleNamespace(
            hypervisor=self, seeds=self, witness=SimpleNamespace(waits=False), informer=_informer, events=self
        )
        self.plugs = HotPlug(cast(Context, context), cast(Instances, self))

    async def facts(self) -> Any:
        return SimpleNamespace(hot_plug=True)

    async def detach_disk(self, _: str, serial: str) -> bool:
        if self.releases:
            kept = tuple(disk for disk in self.domain.disks if disk.serial != serial)
            self.domain = replace(self.domain, disks=kept)
        return self.releases

    async def info(self, _: str) -> DomainInfo:
        return self.domain

    async def mark(self, domain: DomainInfo) -> None:
        self.domain = domain

    def event(self, _: object, __: str, ___: str, message: str) -> None:
        self.told.append(message)

    async def remove(self, uid: str) -> None:
        self.removed.append(uid)

    async def settle(self, **spec: object) -> Part:
        machine: Any = {
            "metadata": {"namespace": "default", "name": "vm", "uid": "vm", "generation": 2},
            "spec": {"blockDeviceRefs": [], **spec},
        }
        await self.plugs.settle(machine, self.domain, Dependencies())
        return applied.decode(self.domain.applied).configuration


async def test_it_stays_while_the_spec_has_something_for_it() -> None:
    host = _Host()
    host.releases = True
    assert "provisioning" in await host.settle(provisioning={**_DATA, "userData": "another"})
    assert host.domain.disks
    assert not host.removed


async def test_it_is_there_and_known_until_the_guest_releases_it() -> None:
    host = _Host()
    for _ in range(2):
        assert "provisioning" in await host.settle()
        assert host.plugs.troubled("vm"), "it is tried again"
    assert len(host.told) == 1, "once"
    assert not host.removed
    host.releases = True
    assert "provisioning" not in await host.settle()
    assert not host.plugs.troubled("vm")
    assert host.removed == ["vm"]


async def test_what_a_crash_left_of_it_goes_with_the_next_look() -> None:
    host = _Host()
    host.domain = replace(host.domain, disks=())
    assert "provisioning" not in await host.settle()
    assert host.removed == ["vm"]
