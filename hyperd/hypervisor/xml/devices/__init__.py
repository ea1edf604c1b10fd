"""The devices of a domain: a file for each type, and the list of them."""

from __future__ import annotations

from hyperd.hypervisor.xml.devices.agent_channel import AgentChannel
from hyperd.hypervisor.xml.devices.controller import Controller
from hyperd.hypervisor.xml.devices.debug_port import DebugPort
from hyperd.hypervisor.xml.devices.device import Device
from hyperd.hypervisor.xml.devices.disk import Disk
from hyperd.hypervisor.xml.devices.graphics import Graphics
from hyperd.hypervisor.xml.devices.interface import Interface
from hyperd.hypervisor.xml.devices.memory_balloon import MemoryBalloon
from hyperd.hypervisor.xml.devices.panic import Panic
from hyperd.hypervisor.xml.devices.rng import Rng
from hyperd.hypervisor.xml.devices.serial_port import SerialPort
from hyperd.hypervisor.xml.devices.tablet import Tablet
from hyperd.hypervisor.xml.devices.tpm import Tpm
from hyperd.hypervisor.xml.devices.video import Video

TYPES: tuple[type[Device], ...] = (
    Interface,
    Controller,
    Disk,
    SerialPort,
    DebugPort,
    AgentChannel,
    Tablet,
    Tpm,
    Graphics,
    Video,
    MemoryBalloon,
    Rng,
    Panic,
)
"""In the order in which a new machine's devices get slots, which is libvirt's own; new types come last."""
