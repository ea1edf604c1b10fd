"""Views of what ``hyperd.resources.kinds.virtual_machine_ip_address`` declares.

Written by ``python -m hyperd.resources.view_source``; for type checking only.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict

from hyperd.resources.kinds.virtual_machine_ip_address import IPAddressPhase, IPAddressType
from hyperd.resources.views.base import Condition, Resource


class VirtualMachineIPAddressSpec(TypedDict):
    type: IPAddressType
    staticIP: NotRequired[str]


class VirtualMachineIPAddressStatus(TypedDict):
    phase: NotRequired[IPAddressPhase]
    address: NotRequired[str]
    virtualMachineName: NotRequired[str]
    conditions: NotRequired[list[Condition]]
    observedGeneration: NotRequired[int]


class VirtualMachineIPAddress(Resource):
    spec: VirtualMachineIPAddressSpec
    status: NotRequired[VirtualMachineIPAddressStatus]
