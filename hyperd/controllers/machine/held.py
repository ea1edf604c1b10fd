"""Which devices an instance has, as its domain's metadata keeps it: whose each is, told by the source's uid.

A device is noted before it is plugged in and until it is out again: a crash leaves none in a guest of which nobody
knows any more whose it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NotRequired, TypedDict

from hyperd.resources.schema.kind import Object
from hyperd.resources.values.serials import serial_of as serial_of


class Held(TypedDict):
    """One device; ``kind`` and ``name`` are those by which it was asked for."""

    kind: str
    name: str
    uid: str
    attachment: NotRequired[str]
    """The VirtualMachineBlockDeviceAttachment that brought it; one of the spec has none."""
    hotplugged: NotRequired[bool]
    """It came while the guest ran."""


def seed_serial(uid: str) -> str:
    """The serial of the disk by which cloud-init configures the machine ``uid``."""
    return serial_of(f"{uid}/cloudinit")


def encode(devices: Iterable[Held]) -> list[Object]:
    """For a record in JSON."""
    return [{key: value for key, value in device.items() if value} for device in devices]


def decode(record: object) -> tuple[Held, ...]:
    """What ``encode`` made; what is not understood is left out."""
    found: list[Held] = []
    for one in record if isinstance(record, list) else ():
        if isinstance(one, dict) and one.get("kind") and one.get("name") and one.get("uid"):
            held: Held = {"kind": str(one["kind"]), "name": str(one["name"]), "uid": str(one["uid"])}
            if one.get("attachment"):
                held["attachment"] = str(one["attachment"])
            if one.get("hotplugged") is True:
                held["hotplugged"] = True
            found.append(held)
    return tuple(found)
