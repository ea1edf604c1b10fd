"""Which slot each device of a machine gets.

What a device had it keeps, as long as the machine can have it there; what is new gets the lowest that is free. The
order of a list decides no more than which of two new devices comes first. A new machine's layout is the one that
libvirt gave machines before slots were assigned here, so that none of those changed.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, product

from hyperd.hypervisor.slots import Address, Slot, Slots, drive, pci, usb
from hyperd.hypervisor.xml.devices.controller import BRIDGE, ROOT_PORT, Controller
from hyperd.hypervisor.xml.devices.device import Board, Connector, Device

_TARGET = re.compile("(sd|vd|hd)([a-z]{1,2})")
_SCSI_TARGETS = 256
_SATA_PORTS = 6
_USB_PORTS = {Board.PC: 2}
_XHCI_PORTS = 4
"""libvirt's count of an xHCI that says nothing of its own."""
_PC_FIRST, _PCI_SLOTS = 3, 32
"""An older board's own devices and its screen have the slots before."""
_ROOT_SLOTS = range(1, 0x1F)
"""The last slot of PCIe's root bus has the board's own devices."""


def assign(devices: Sequence[Device], known: Slots, board: Board) -> dict[str, Slot]:
    """A slot for each device that needs one, by its key."""
    targets = _targets(devices, known)
    bus = _Buses(devices, board, targets)
    found: dict[str, Address] = {}
    waiting: list[Device] = []
    for device in devices:
        seat = device.seat(board)
        if isinstance(seat, Address):
            found[device.key] = bus.take(seat, seat)
        elif seat is not None:
            waiting.append(device)
    for device in list(waiting):
        had = known.get(device.key, Slot()).address
        if had is not None and bus.fits(device, had):
            found[device.key] = bus.take(device.seat(board), had)
            waiting.remove(device)
    for device in waiting:
        new = bus.next_free(device)
        if new is not None:
            found[device.key] = bus.take(device.seat(board), new)
    return {key: Slot(found.get(key), targets.get(key, "")) for key in (*targets, *found)}


class _Buses:
    """What is free on the buses of one machine."""

    def __init__(self, devices: Sequence[Device], board: Board, targets: dict[str, str]) -> None:
        self._board = board
        self._targets = targets
        controllers = [device for device in devices if isinstance(device, Controller)]
        self._ports = [one.index for one in controllers if one.model == ROOT_PORT]
        self._bridges = [one.index for one in controllers if one.model == BRIDGE]
        usb_ports = _USB_PORTS.get(board, _XHCI_PORTS)
        crowded = sum(device.seat(board) is Connector.USB for device in devices) > usb_ports
        # libvirt adds hubs where ports are too few, for which it needs a free one.
        self._usb = range(0) if crowded else range(1, usb_ports + 1)
        self._open: dict[tuple[Connector | Address | None, str], Iterator[Address]] = {}
        """What was looked through from the best on: what is taken stays taken."""
        self._taken: set[tuple[str, Address]] = set()
        self._whole: set[int] = set()
        """Slots of the root bus that one device has for itself."""

    def take(self, seat: Connector | Address | None, address: Address) -> Address:
        self._taken.add((_space(seat, address), address))
        if seat is not Connector.ROOT_PORT and address.numbers[:2] == (0, 0):
            self._whole.add(address.numbers[2])
        return address

    def fits(self, device: Device, address: Address) -> bool:
        """Whether the device may sit there, and nobody does."""
        seat = device.seat(self._board)
        free = (_space(seat, address), address) not in self._taken
        return free and address in self._places(seat, self._targets.get(device.key, ""))

    def next_free(self, device: Device) -> Address | None:
        """The best place that is left for the device."""
        seat = device.seat(self._board)
        target = self._targets.get(device.key, "")
        places = self._open.setdefault((seat, target), iter(self._places(seat, target)))
        return next((one for one in places if (_space(seat, one), one) not in self._taken), None)

    def _places(self, seat: Connector | Address | None, target: str) -> Iterable[Address]:
        number = _index(target)
        match seat:
            case Connector.SCSI:
                return (drive(target=one) for one in chain((number,), range(_SCSI_TARGETS)))
            case Connector.SATA:
                return (drive(controller=number // _SATA_PORTS, unit=number % _SATA_PORTS),)
            case Connector.IDE:
                return (drive(controller=number // 4, bus=number % 4 // 2, unit=number % 2),)
            case Connector.USB:
                return map(usb, self._usb)
            case Connector.ROOT_PORT | Connector.PCIE | Connector.PCI:
                return self._pci(seat)
        return ()

    def _pci(self, seat: Connector) -> Iterable[Address]:
        if self._board is Board.PC:
            return (pci(0, slot) for slot in range(_PC_FIRST, _PCI_SLOTS))
        if self._board is not Board.Q35:
            return ()
        if seat is Connector.PCIE:
            return (pci(port, 0) for port in self._ports)
        if seat is Connector.PCI:
            return (pci(bridge, slot) for bridge, slot in product(self._bridges, range(1, _PCI_SLOTS)))
        slots = (slot for slot in _ROOT_SLOTS if slot not in self._whole)
        return (pci(0, slot, function) for slot, function in product(slots, range(8)))


def _space(seat: Connector | Address | None, address: Address) -> str:
    """Two buses of drives have the same addresses; all of PCI is one space."""
    return seat if isinstance(seat, Connector) and address.type == "drive" else address.type


def _targets(devices: Sequence[Device], known: Slots) -> dict[str, str]:
    """The disks' names: unique in the machine, also among buses that share a prefix."""
    disks = [device for device in devices if device.target_prefix]
    targets: dict[str, str] = {}
    for disk in disks:
        had = _TARGET.fullmatch(known.get(disk.key, Slot()).target)
        if had and had[1] == disk.target_prefix and had[0] not in targets.values():
            targets[disk.key] = had[0]
    taken = set(targets.values())
    for disk in disks:
        if disk.key not in targets:
            names = (disk.target_prefix + _letters(number) for number in range(26 * 27))
            targets[disk.key] = next(name for name in names if name not in taken)
            taken.add(targets[disk.key])
    return targets


def _letters(index: int) -> str:
    """0 → a, 25 → z, 26 → aa."""
    name = ""
    while index >= 0:
        name = string.ascii_lowercase[index % 26] + name
        index = index // 26 - 1
    return name


def _index(target: str) -> int:
    """sda → 0, sdz → 25, sdaa → 26."""
    number = 0
    for letter in target[2:]:
        number = number * 26 + string.ascii_lowercase.index(letter) + 1
    return max(0, number - 1)
