"""Addresses that were given out and that the informer has not shown yet."""

from __future__ import annotations

from ipaddress import IPv4Address
from types import SimpleNamespace
from typing import cast

import pytest

from hyperd.controllers.address.controller import AddressController
from hyperd.controllers.address.lease import LeaseController
from hyperd.errors import AlreadyExists, HyperdError, ServiceUnavailable
from hyperd.resources.views.virtual_machine_ip_address import VirtualMachineIPAddress
from hyperd.runtime.workqueue import WorkQueue
from hyperd.store.interface import EventType, Item

ADDRESS = IPv4Address("10.66.10.14")
HOLDER = (
    Item[VirtualMachineIPAddress]
    .of({"metadata": {"namespace": "default", "name": "web-abcde", "uid": "u1"}})
    .object()
)


def allocator(outcome: HyperdError | None = None, seen: LeaseController | None = None) -> AddressController:
    made = AddressController.__new__(AddressController)
    made._granted = {}

    async def create(*_: object) -> None:
        if seen is not None:
            tell(seen)
        if outcome is not None:
            raise outcome

    made._context = cast("object", SimpleNamespace(store=SimpleNamespace(create=create)))  # type: ignore[assignment]
    return made


def leases(of: AddressController) -> LeaseController:
    made = LeaseController.__new__(LeaseController)
    made.queue, made._allocator = WorkQueue(), of
    return made


def tell(controller: LeaseController) -> None:
    item = cast(Item, SimpleNamespace(namespace="", name="ip-10-66-10-14"))
    controller.on_own(EventType.ADDED, None, item)


async def test_a_grant_ends_when_the_informer_shows_the_lease_whoever_leads() -> None:
    granting = allocator()
    assert await granting._write_lease(HOLDER, ADDRESS)
    assert granting._granted.keys() == {ADDRESS}
    tell(leases(granting))
    assert granting._granted == {}


async def test_a_lease_that_the_informer_shows_before_its_writer_hears_of_it_leaves_no_grant() -> None:
    granting = allocator()
    watching = allocator(seen=leases(granting))
    granting._context = watching._context
    assert await granting._write_lease(HOLDER, ADDRESS)
    assert granting._granted == {}


async def test_a_lease_that_was_not_written_leaves_no_grant() -> None:
    taken = allocator(AlreadyExists("taken"))
    assert not await taken._write_lease(HOLDER, ADDRESS)
    assert taken._granted == {}
    failing = allocator(ServiceUnavailable("no store"))
    with pytest.raises(ServiceUnavailable):
        await failing._write_lease(HOLDER, ADDRESS)
    assert failing._granted == {}


async def test_who_leads_no_more_forgets_what_it_granted() -> None:
    granting = allocator()
    await granting._write_lease(HOLDER, ADDRESS)
    await granting.stand_down()
    assert granting._granted == {}
