"""VirtualMachineIPAddressLease: the mark that an address is taken, one for the whole cluster."""

from __future__ import annotations

from enum import StrEnum
from ipaddress import IPv4Address
from typing import Annotated

from pydantic import Field

from hyperd.resources.kinds.base import Conditions, Int64, NonEmpty, Resource, Section, Timer
from hyperd.resources.kinds.virtual_image import AGE
from hyperd.resources.schema.applies import LIVE
from hyperd.resources.schema.kind import KINDS, Column, Kind
from hyperd.resources.values.names import CLUSTER_CATEGORY, GROUP, VERSION, VMIPL_CLEANUP


class LeasePhase(StrEnum):
    BOUND = "Bound"
    RELEASED = "Released"


class LeaseCondition(StrEnum):
    BOUND = "Bound"


class LeaseBoundReason(StrEnum):
    BOUND = "Bound"
    RELEASED = "Released"
    ADDRESS_NOT_FOUND = "VirtualMachineIPAddressNotFound"


_PREFIX = "ip-"


def lease_name(address: IPv4Address) -> str:
    """``ip-10-66-10-14`` for 10.66.10.14."""
    return _PREFIX + str(address).replace(".", "-")


def address_of_lease(name: str) -> IPv4Address | None:
    """The address that a lease is named for, or None when ``name`` is not a lease's."""
    if not name.startswith(_PREFIX):
        return None
    try:
        address = IPv4Address(name.removeprefix(_PREFIX).replace("-", "."))
    except ValueError:
        return None
    return address if lease_name(address) == name else None


class IPAddressReference(Section):
    """The VirtualMachineIPAddress that holds the lease."""

    name: str | None = None
    """Its name; empty once it is gone."""
    namespace: NonEmpty
    """Its namespace, which keeps the claim for some minutes."""


class VirtualMachineIPAddressLeaseSpec(Section):
    """Who holds the address."""

    virtual_machine_ip_address_ref: Annotated[
        IPAddressReference | None, Field(alias="virtualMachineIPAddressRef"), LIVE
    ] = None
    """The VirtualMachineIPAddress that holds the lease."""


class VirtualMachineIPAddressLeaseStatus(Section):
    """What became of the lease."""

    phase: LeasePhase | None = None
    """State of the lease in one word."""
    retention_timer: Timer | None = None
    """How long ago it was released."""
    conditions: Conditions = Field(default_factory=list)
    """Aspects of its state."""
    observed_generation: Int64 | None = None
    """Generation of the spec that this status is about."""


class VirtualMachineIPAddressLease(Resource):
    """An address of the virtual machines' network that is taken; its name spells the address."""

    spec: VirtualMachineIPAddressLeaseSpec
    """Who holds the address."""
    status: VirtualMachineIPAddressLeaseStatus = Field(default_factory=VirtualMachineIPAddressLeaseStatus)
    """What became of the lease."""


VIRTUAL_MACHINE_IP_ADDRESS_LEASE = KINDS.add(
    Kind(
        group=GROUP,
        version=VERSION,
        kind="VirtualMachineIPAddressLease",
        plural="virtualmachineipaddressleases",
        singular="virtualmachineipaddresslease",
        namespaced=False,
        model=VirtualMachineIPAddressLease,
        elsewhere=("spec.virtualMachineIPAddressRef",),
        finalizer=VMIPL_CLEANUP,
        held_from_birth=False,
        main_condition=LeaseCondition.BOUND,
        settled=("Bound", "Released"),
        short_names=("vmipl", "vmiplease"),
        categories=(CLUSTER_CATEGORY,),
        columns=(
            Column(
                "VirtualMachineIPAddress",
                ".spec.virtualMachineIPAddressRef",
                description="The address object that holds it",
            ),
            Column("Status", ".status.phase", description="State of the lease"),
            AGE,
        ),
        subresources=frozenset({"status"}),
    )
)
