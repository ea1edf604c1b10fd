"""Views of what ``hyperd.resources.kinds.virtual_machine_mac_address_lease`` declares.

Written by ``python -m hyperd.resources.view_source``; for type checking only.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict

from hyperd.resources.kinds.virtual_machine_mac_address_lease import MACLeasePhase
from hyperd.resources.views.base import Condition, Resource


class MACAddressReference(TypedDict):
    name: str
    namespace: str


class VirtualMachineMACAddressLeaseSpec(TypedDict):
    virtualMachineMACAddressRef: NotRequired[MACAddressReference]


class VirtualMachineMACAddressLeaseStatus(TypedDict):
    phase: NotRequired[MACLeasePhase]
    conditions: NotRequired[list[Condition]]
    observedGeneration: NotRequired[int]


class VirtualMachineMACAddressLease(Resource):
    spec: NotRequired[VirtualMachineMACAddressLeaseSpec]
    status: NotRequired[VirtualMachineMACAddressLeaseStatus]
