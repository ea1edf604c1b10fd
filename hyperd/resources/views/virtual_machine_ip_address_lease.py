"""Views of what ``hyperd.resources.kinds.virtual_machine_ip_address_lease`` declares.

Written by ``python -m hyperd.resources.view_source``; for type checking only.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict

from hyperd.resources.kinds.virtual_machine_ip_address_lease import LeasePhase
from hyperd.resources.views.base import Condition, Resource, Timer


class IPAddressReference(TypedDict):
    name: NotRequired[str]
    namespace: str


class VirtualMachineIPAddressLeaseSpec(TypedDict):
    virtualMachineIPAddressRef: NotRequired[IPAddressReference]


class VirtualMachineIPAddressLeaseStatus(TypedDict):
    phase: NotRequired[LeasePhase]
    retentionTimer: NotRequired[Timer]
    conditions: NotRequired[list[Condition]]
    observedGeneration: NotRequired[int]


class VirtualMachineIPAddressLease(Resource):
    spec: VirtualMachineIPAddressLeaseSpec
    status: NotRequired[VirtualMachineIPAddressLeaseStatus]
