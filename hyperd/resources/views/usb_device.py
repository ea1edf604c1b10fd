"""Views of what ``hyperd.resources.kinds.usb_device`` declares.

Written by ``python -m hyperd.resources.view_source``; for type checking only.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict

from hyperd.resources.views.base import Condition, Resource


class NodeUSBDeviceSpec(TypedDict):
    assignedNamespace: str


class USBAttributes(TypedDict):
    vendorID: NotRequired[str]
    productID: NotRequired[str]
    bus: NotRequired[str]
    deviceNumber: NotRequired[str]
    devicePath: NotRequired[str]
    serial: NotRequired[str]
    manufacturer: NotRequired[str]
    product: NotRequired[str]
    name: NotRequired[str]
    nodeName: NotRequired[str]
    bcd: NotRequired[str]
    major: NotRequired[int]
    minor: NotRequired[int]
    speed: NotRequired[int]


class NodeUSBDeviceStatus(TypedDict):
    attributes: NotRequired[USBAttributes]
    nodeName: NotRequired[str]
    conditions: NotRequired[list[Condition]]
    observedGeneration: NotRequired[int]


class NodeUSBDevice(Resource):
    spec: NodeUSBDeviceSpec
    status: NotRequired[NodeUSBDeviceStatus]


class USBDeviceStatus(TypedDict):
    attributes: NotRequired[USBAttributes]
    nodeName: NotRequired[str]
    conditions: NotRequired[list[Condition]]
    observedGeneration: NotRequired[int]


class USBDevice(Resource):
    status: NotRequired[USBDeviceStatus]
