"""VirtualMachineIPAddress: an address of the virtual machines' network that one namespace holds."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from hyperd.resources.kinds.base import Conditions, Int64, Resource, Section
from hyperd.resources.kinds.virtual_image import AGE
from hyperd.resources.schema.applies import NeverAfter
from hyperd.resources.schema.kind import KINDS, Column, Kind
from hyperd.resources.schema.rule import Rule
from hyperd.resources.values.names import CATEGORY, GROUP, VERSION, VMIP_CLEANUP


class IPAddressType(StrEnum):
    AUTO = "Auto"
    STATIC = "Static"


class IPAddressPhase(StrEnum):
    PENDING = "Pending"
    BOUND = "Bound"
    ATTACHED = "Attached"


class IPAddressCondition(StrEnum):
    BOUND = "Bound"
    ATTACHED = "Attached"


class IPAddressBoundReason(StrEnum):
    BOUND = "Bound"
    OUT_OF_RANGE = "VirtualMachineIPAddressIsOutOfTheValidRange"
    LEASE_ALREADY_EXISTS = "VirtualMachineIPAddressLeaseAlreadyExists"
    LEASE_LOST = "VirtualMachineIPAddressLeaseLost"
    LEASE_NOT_FOUND = "VirtualMachineIPAddressLeaseNotFound"
    LEASE_NOT_READY = "VirtualMachineIPAddressLeaseNotReady"


class IPAddressAttachedReason(StrEnum):
    ATTACHED = "Attached"
    VIRTUAL_MACHINE_NOT_FOUND = "VirtualMachineNotFound"


class VirtualMachineIPAddressSpec(Section):
    """Which address is wanted."""

    type: IPAddressType
    """Auto takes the lowest free address, Static the given one."""
    static_ip: Annotated[
        str | None, Field(alias="staticIP", json_schema_extra={"format": "ipv4", "maxLength": 15})
    ] = None
    """For Static: the IPv4 address."""


class VirtualMachineIPAddressStatus(Section):
    """What became of the address."""

    phase: IPAddressPhase | None = None
    """State of the address in one word."""
    address: str | None = None
    """The IPv4 address."""
    virtual_machine_name: str | None = None
    """The virtual machine that has it."""
    conditions: Conditions = Field(default_factory=list)
    """Aspects of its state."""
    observed_generation: Int64 | None = None
    """Generation of the spec that this status is about."""


def _is_pinned(spec: Mapping[str, Any], status: Mapping[str, Any]) -> bool:
    """A lease does not move: all that may change is to hold on to the address that came by itself."""
    return bool(spec["type"] == IPAddressType.STATIC and spec.get("staticIP") == status["address"])


class VirtualMachineIPAddress(Resource):
    """An address for a virtual machine, held by its namespace."""

    spec: Annotated[
        VirtualMachineIPAddressSpec,
        NeverAfter(
            "the address {address} is bound: only type Static with this very address can be set; "
            "delete the VirtualMachineIPAddress to give it back",
            once="address",
            unless=_is_pinned,
            but="to hold on to that address as a Static one",
        ),
    ]
    """Which address is wanted."""
    status: VirtualMachineIPAddressStatus = Field(default_factory=VirtualMachineIPAddressStatus)
    """What became of the address."""


VIRTUAL_MACHINE_IP_ADDRESS = KINDS.add(
    Kind(
        group=GROUP,
        version=VERSION,
        kind="VirtualMachineIPAddress",
        plural="virtualmachineipaddresses",
        singular="virtualmachineipaddress",
        namespaced=True,
        model=VirtualMachineIPAddress,
        finalizer=VMIP_CLEANUP,
        main_condition=IPAddressCondition.BOUND,
        settled=("Bound", "Attached"),
        short_names=("vmip",),
        categories=(CATEGORY,),
        columns=(
            Column("Address", ".status.address", description="The IPv4 address"),
            Column("Status", ".status.phase", description="State of the address"),
            Column("VM", ".status.virtualMachineName", description="The virtual machine that has it"),
            AGE,
        ),
        rules=(
            Rule(
                path="spec",
                message="type Static requires staticIP",
                cel="self.type != 'Static' || (has(self.staticIP) && size(self.staticIP) > 0)",
                holds=lambda spec, _: spec["type"] != IPAddressType.STATIC or bool(spec.get("staticIP")),
            ),
            Rule(
                path="spec",
                message="type Auto cannot have staticIP",
                cel="self.type != 'Auto' || !has(self.staticIP)",
                holds=lambda spec, _: spec["type"] != IPAddressType.AUTO or "staticIP" not in spec,
            ),
        ),
        subresources=frozenset({"status"}),
    )
)
