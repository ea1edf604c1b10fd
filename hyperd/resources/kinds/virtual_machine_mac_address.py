"""VirtualMachineMACAddress: a hardware address that one namespace holds, for an additional network."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from hyperd.resources.kinds.base import Conditions, Int64, Resource, Section
from hyperd.resources.kinds.virtual_image import AGE
from hyperd.resources.schema.applies import NeverAfter
from hyperd.resources.schema.kind import KINDS, Column, Kind
from hyperd.resources.values.names import CATEGORY, GROUP, VERSION, VMMAC_CLEANUP

MAC_PATTERN = "^([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}$"


class MACAddressPhase(StrEnum):
    PENDING = "Pending"
    BOUND = "Bound"
    ATTACHED = "Attached"


class MACAddressCondition(StrEnum):
    BOUND = "Bound"
    ATTACHED = "Attached"


class MACAddressBoundReason(StrEnum):
    BOUND = "Bound"
    LEASE_ALREADY_EXISTS = "VirtualMachineMACAddressLeaseAlreadyExists"
    LEASE_LOST = "VirtualMachineMACAddressLeaseLost"
    LEASE_NOT_FOUND = "VirtualMachineMACAddressLeaseNotFound"
    LEASE_NOT_READY = "VirtualMachineMACAddressLeaseNotReady"


class MACAddressAttachedReason(StrEnum):
    ATTACHED = "Attached"
    VIRTUAL_MACHINE_NOT_FOUND = "VirtualMachineNotFound"


class VirtualMachineMACAddressSpec(Section):
    """Which address is wanted."""

    address: (
        Annotated[
            str,
            Field(pattern=MAC_PATTERN, max_length=17),
            NeverAfter(
                "the address {address} is bound: delete the VirtualMachineMACAddress to give it back",
                once="address",
            ),
        ]
        | None
    ) = None
    """The address, such as 5e:e6:19:22:0f:d8; one is made when empty."""


class VirtualMachineMACAddressStatus(Section):
    """What became of the address."""

    phase: MACAddressPhase | None = None
    """State of the address in one word."""
    address: str | None = None
    """The hardware address."""
    virtual_machine_name: str | None = None
    """The virtual machine that has it."""
    conditions: Conditions = Field(default_factory=list)
    """Aspects of its state."""
    observed_generation: Int64 | None = None
    """Generation of the spec that this status is about."""


class VirtualMachineMACAddress(Resource):
    """A hardware address for a card on an additional network, held by its namespace."""

    spec: VirtualMachineMACAddressSpec = Field(default_factory=VirtualMachineMACAddressSpec)
    """Which address is wanted."""
    status: VirtualMachineMACAddressStatus = Field(default_factory=VirtualMachineMACAddressStatus)
    """What became of the address."""


VIRTUAL_MACHINE_MAC_ADDRESS = KINDS.add(
    Kind(
        group=GROUP,
        version=VERSION,
        kind="VirtualMachineMACAddress",
        plural="virtualmachinemacaddresses",
        singular="virtualmachinemacaddress",
        namespaced=True,
        model=VirtualMachineMACAddress,
        finalizer=VMMAC_CLEANUP,
        main_condition=MACAddressCondition.BOUND,
        short_names=("vmmac",),
        categories=(CATEGORY,),
        columns=(
            Column("Address", ".status.address", description="The hardware address"),
            Column("Status", ".status.phase", description="State of the address"),
            Column("VM", ".status.virtualMachineName", description="The virtual machine that has it"),
            AGE,
        ),
        subresources=frozenset({"status"}),
    )
)
