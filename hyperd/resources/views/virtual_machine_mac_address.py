"""Views of what ``hyperd.resources.kinds.virtual_machine_mac_address`` declares.

Written by ``python -m hyperd.resources.view_source``; for type checking only.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict

from hyperd.resources.kinds.virtual_machine_mac_address import MACAddressPhase
from hyperd.resources.views.base import Condition, Resource


class VirtualMachineMACAddressSpec(TypedDict):
    address: NotRequired[str]


class VirtualMachineMACAddressStatus(TypedDict):
    phase: NotRequired[MACAddressPhase]
    address: NotRequired[str]
    virtualMachineName: NotRequired[str]
    conditions: NotRequired[list[Condition]]
    observedGeneration: NotRequired[int]


class VirtualMachineMACAddress(Resource):
    spec: NotRequired[VirtualMachineMACAddressSpec]
    status: NotRequired[VirtualMachineMACAddressStatus]
