"""VirtualMachineMACAddressLease: the mark that a hardware address is taken, one for the whole cluster."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from hyperd.resources.kinds.base import Conditions, Int64, NonEmpty, Resource, Section
from hyperd.resources.kinds.virtual_image import AGE
from hyperd.resources.schema.applies import LIVE
from hyperd.resources.schema.kind import KINDS, Column, Kind
from hyperd.resources.values.names import CLUSTER_CATEGORY, GROUP, VERSION, VMMACL_CLEANUP

_PREFIX = "mac-"


class MACLeasePhase(StrEnum):
    BOUND = "Bound"


class MACLeaseCondition(StrEnum):
    BOUND = "Bound"


class MACLeaseBoundReason(StrEnum):
    BOUND = "Bound"
    ADDRESS_NOT_FOUND = "VirtualMachineMACAddressNotFound"


def mac_lease_name(address: str) -> str:
    """``mac-5e-e6-19-22-0f-d8`` for 5e:e6:19:22:0f:d8, in any case."""
    return _PREFIX + address.lower().replace(":", "-")


class MACAddressReference(Section):
    """The VirtualMachineMACAddress that holds the lease."""

    name: NonEmpty
    """Its name."""
    namespace: NonEmpty
    """Its namespace."""


class VirtualMachineMACAddressLeaseSpec(Section):
    """Who holds the address."""

    virtual_machine_mac_address_ref: Annotated[
        MACAddressReference | None, Field(alias="virtualMachineMACAddressRef"), LIVE
    ] = None
    """The VirtualMachineMACAddress that holds the lease."""


class VirtualMachineMACAddressLeaseStatus(Section):
    """What became of the lease."""

    phase: MACLeasePhase | None = None
    """State of the lease in one word."""
    conditions: Conditions = Field(default_factory=list)
    """Aspects of its state."""
    observed_generation: Int64 | None = None
    """Generation of the spec that this status is about."""


class VirtualMachineMACAddressLease(Resource):
    """Marks a hardware address as taken; it goes with the VirtualMachineMACAddress."""

    spec: VirtualMachineMACAddressLeaseSpec = Field(default_factory=VirtualMachineMACAddressLeaseSpec)
    """Who holds the address."""
    status: VirtualMachineMACAddressLeaseStatus = Field(default_factory=VirtualMachineMACAddressLeaseStatus)
    """What became of the lease."""


VIRTUAL_MACHINE_MAC_ADDRESS_LEASE = KINDS.add(
    Kind(
        group=GROUP,
        version=VERSION,
        kind="VirtualMachineMACAddressLease",
        plural="virtualmachinemacaddressleases",
        singular="virtualmachinemacaddresslease",
        namespaced=False,
        model=VirtualMachineMACAddressLease,
        finalizer=VMMACL_CLEANUP,
        elsewhere=("spec.virtualMachineMACAddressRef",),
        main_condition=MACLeaseCondition.BOUND,
        short_names=("vmmacl", "vmmaclease"),
        categories=(CLUSTER_CATEGORY,),
        columns=(
            Column(
                "VirtualMachineMACAddress",
                ".spec.virtualMachineMACAddressRef",
                description="The VirtualMachineMACAddress that holds it",
            ),
            Column("Status", ".status.phase", description="State of the lease"),
            AGE,
        ),
        subresources=frozenset({"status"}),
    )
)
