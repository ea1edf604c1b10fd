"""What another node's libvirtd may ask of this one's while a guest comes from there: that guest, and nothing else.

libvirt's protocol is packets: a length, six numbers that say what is asked, arguments as XDR has them. Of all its
calls a migration from peer to peer needs these few. One brings the guest's XML, and whoever writes that says which
program is started, as whom, and with which files: so it may name no file but those that are here for this guest,
and no device that no guest of this house has.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import PurePosixPath
from typing import Final
from xml.etree import ElementTree as ET

from hyperd.errors import PermanentError

_HEADER: Final = struct.Struct(">7I")
_REMOTE: Final = 0x20008086
_KEEPALIVE: Final = 0x6B656570
_CALL: Final = 0
_MARKS: Final = "urn:hyperd:domain:v1"
"""The namespace of our marks in a guest's metadata."""
_LONGEST: Final = 4 << 20
_MOST_PARAMETERS: Final = 64
_URIS: Final = ("qemu:///system", "qemu:///session")
_XML: Final = "destination_xml"
_NAMES: Final = ("destination_name",)


class _Call(IntEnum):
    """Numbers of the remote protocol, which never change."""

    OPEN = 1
    CLOSE = 2
    SUPPORTS_FEATURE = 60
    AUTH_LIST = 66
    PREPARE = 303
    FINISH = 306
    REGISTER_CLOSE = 360
    UNREGISTER_CLOSE = 361


_CALLS: Final = frozenset(_Call)
_PARTS: Final = frozenset({
    "name", "uuid", "genid", "title", "description", "metadata", "maxMemory", "memory", "currentMemory", "vcpu",
    "vcpus", "iothreads", "cputune", "resource", "sysinfo", "os", "features", "cpu", "clock", "on_poweroff",
    "on_reboot", "on_crash", "pm", "devices", "seclabel",
})  # fmt: skip
_ONCE: Final = ("name", "uuid", "devices", "os", "devices/emulator")
_OS: Final = frozenset({"type", "loader", "nvram", "firmware", "feature", "smbios", "boot"})
_ANY: Final = frozenset({"address", "alias"})
_DEVICES: Final = {
    "emulator": frozenset[str](),
    "disk": frozenset({"backingStore", "boot", "driver", "readonly", "serial", "source", "target"}),
    "controller": frozenset({"driver", "model", "target"}),
    "interface": frozenset({"mac", "model", "mtu", "rom", "target", "boot", "driver", "link"}),
    "serial": frozenset({"log", "model", "source", "target"}),
    "console": frozenset({"log", "model", "source", "target"}),
    "channel": frozenset({"target"}),
    "input": frozenset[str](),
    "tpm": frozenset({"backend"}),
    "graphics": frozenset({"listen"}),
    "video": frozenset({"model"}),
    "audio": frozenset[str](),
    "memballoon": frozenset[str](),
    "rng": frozenset({"backend"}),
    "panic": frozenset[str](),
}
"""What our guests have, and what is in each: all that libvirt knows besides is refused."""
_TYPES: Final = {
    "disk": ("file", "block"),
    "interface": ("ethernet",),
    "serial": ("unix", "file"),
    "console": ("unix", "file"),
    "channel": ("unix",),
    "graphics": ("vnc",),
    "listen": ("none",),
    "audio": ("none",),
    "seclabel": ("dynamic",),
}
_DISK: Final = frozenset({"type", "device", "model", "snapshot"})
_DRIVES: Final = ("disk", "cdrom")
_RAW: Final = "raw"
_ANYWHERE: Final = ("listen", "seclabel")
"""Parts whose types are judged wherever they are; those of others are where they are devices."""
_FREE: Final = ("/dev/urandom", "/machine")
"""What any guest may have; the last is libvirt's own group of processes."""
_FIRMWARE: Final = "/usr/share/"
_PATHS: Final = frozenset({"file", "path", "dir", "socket", "tap", "vhost"})
_PATH_TEXTS: Final = frozenset({"kernel", "initrd", "dtb", "table", "backend", "emulator"})
_FLAGS: Final = 0x336B
"""Of libvirt: live, peer to peer, kept there, arriving stopped, disks copied or shared, slowed down."""
_STOPPED: Final = 0x20
_SOCKETS: Final = ("migrate_uri", "disks_uri")
_REFUSED: Final = ("listen_address", "graphics_uri", "tls.destination", "persistent_xml")
_MANY: Final = "migrate_disks"
"""The one parameter that is there for each of several."""
_COOKIE: Final = "<qemu-migration"


@dataclass(frozen=True)
class Guest:
    """One that may come: what starts it, its files with their formats, and folders of those that its uid is in."""

    uid: str
    emulator: str
    files: Mapping[str, str]
    folders: Collection[str]
    listens: Collection[str]
    """URIs at which its QEMU may listen for it."""


class Calls:
    """Of one connection: lets through whole packets, each once it is seen to be of ``guest``."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest
        self._held = bytearray()

    def feed(self, piece: bytes) -> bytes:
        """What may go on by now. Raises PermanentError, after which nothing may."""
        self._held += piece
        passed = bytearray()
        while len(self._held) >= _HEADER.size:
            length = int.from_bytes(self._held[:4], "big")
            if not _HEADER.size <= length <= _LONGEST:
                raise PermanentError(f"A packet of {length} bytes is none that a migration needs.")
            if len(self._held) < length:
                break
            packet = bytes(self._held[:length])
            del self._held[:length]
            self._judge(packet)
            passed += packet
        return bytes(passed)

    def _judge(self, packet: bytes) -> None:
        _, program, _, call, type_, _, _ = _HEADER.unpack_from(packet)
        if program == _KEEPALIVE:
            return
        if program != _REMOTE or type_ != _CALL or call not in _CALLS:
            raise PermanentError(f"Call {call} of libvirt's program {program:#x} is none that a migration needs.")
        arguments = _Reader(packet, _HEADER.size)
        if call == _Call.OPEN:
            uri = arguments.text() if arguments.number() else ""
            if uri not in _URIS:
                raise PermanentError(f'The hypervisor "{uri[:64]}" is none that guests of this node run on.')
        elif call in (_Call.PREPARE, _Call.FINISH):
            said = dict(arguments.parameters())
            self._named(said)
            if call == _Call.PREPARE:
                self._reached(said)
                self._described(said.get(_XML, ""))
            self._remembered(arguments.text())
            if (flags := arguments.number()) & ~_FLAGS or not flags & _STOPPED:
                raise PermanentError(f"A guest comes stopped, and not with the flags {flags:#x}.")
            if call == _Call.FINISH:
                arguments.number()
            arguments.end()

    def _named(self, said: dict[str, str]) -> None:
        for name in _NAMES:
            if name in said and not said[name].endswith(f"-{self._guest.uid}"):
                raise PermanentError(f'"{said[name][:64]}" is another guest.')

    def _reached(self, said: dict[str, str]) -> None:
        """How the guest's QEMU is: by the sockets that were made ready for it, and not else."""
        for name in _SOCKETS:
            if name in said and said[name] not in self._guest.listens:
                raise PermanentError(f'The guest would come by "{said[name][:256]}".')
        if refused := [name for name in _REFUSED if name in said]:
            raise PermanentError(f'No migration of ours has the parameter "{refused[0]}".')

    def _remembered(self, cookie: str) -> None:
        """What libvirt tells itself, in which is what is kept of the guest for when it is off."""
        if text := cookie.removesuffix("\0"):
            for domain in _parsed(text, _COOKIE).iter("domain"):
                self._domain(domain)

    def _described(self, xml: str) -> None:
        """The XML of another one, or with anything else in it than the guest has, is refused."""
        self._domain(_parsed(xml, "<domain"))

    def _domain(self, domain: ET.Element) -> None:
        for once in _ONCE:
            if len(domain.findall(once)) != 1:
                raise PermanentError(f"The guest does not have one {once}.")
        if domain.findtext("uuid") != self._guest.uid:
            raise PermanentError(f"The domain {(domain.findtext('uuid') or '')[:64]} is another guest.")
        if domain.findtext("devices/emulator") != self._guest.emulator:
            raise PermanentError("The guest would be started by another program than this node's.")
        self._named({_NAMES[0]: domain.findtext("name") or ""})
        devices = domain.find("devices")
        for part in domain:
            if part.tag not in _PARTS or (part.tag == "seclabel" and part.find("baselabel") is not None):
                raise _foreign(part.tag)
        for part in domain.iterfind("os//*"):
            if part.tag not in _OS:
                raise _foreign(part.tag)
        for device in () if devices is None else devices:
            if (has := _DEVICES.get(device.tag)) is None:
                raise _foreign(device.tag)
            _require_type(device)
            for element in device.iter():
                if element is not device and element.tag not in has | _ANY:
                    raise _foreign(element.tag)
            if device.tag == "disk":
                self._disk(device)
            if device.tag == "graphics" and [one.tag for one in device if one.tag not in _ANY] != ["listen"]:
                raise _foreign(device.tag)
            if device.tag == "tpm" and any(one.get("type") != "emulator" for one in device.iter("backend")):
                raise _foreign(device.tag)
        for element in domain.iter():
            self._one(element)

    def _disk(self, disk: ET.Element) -> None:
        """Opened as what it is here: by another format its content would say which files belong to it."""
        drivers, sources = disk.findall("driver"), disk.findall("source")
        known = _DISK.issuperset(disk.keys()) and disk.get("device", _DRIVES[0]) in _DRIVES
        if not known or len(drivers) > 1 or len(sources) > 1:
            raise _foreign(disk.tag)
        format_ = drivers[0].get("type", _RAW) if drivers else _RAW
        for source in sources:
            path = source.get("file") or source.get("dev") or ""
            if format_ != (wanted := self._guest.files.get(path, _RAW)):
                raise PermanentError(f"The guest would have {path[:256]} as {format_[:64]}, which is {wanted}.")

    def _one(self, element: ET.Element) -> None:
        tag = element.tag
        if tag.startswith("{") and not tag.startswith(f"{{{_MARKS}}}"):
            raise _foreign(tag)
        empty = tag != "backingStore" or not (element.attrib or len(element))
        random = tag != "backend" or element.get("model", "random") == "random"
        if not empty or not random:
            raise _foreign(tag)
        if tag in _ANYWHERE:
            _require_type(element)
        if tag in ("loader", "nvram"):
            self._firmware(element)
            return
        for value in _paths(element):
            if not self._may_have(value):
                raise PermanentError(f"The guest would have {value[:256]}, which is not its own.")

    def _firmware(self, element: ET.Element) -> None:
        if element.tag == "nvram" and element.get("format", _RAW) != _RAW:
            raise _foreign(element.tag)
        for value in ((element.text or "").strip(), element.get("template", "")):
            plain = str(PurePosixPath(value)) == value and ".." not in PurePosixPath(value).parts
            if value and not (plain and value.startswith(_FIRMWARE)) and not self._may_have(value):
                raise PermanentError(f"The guest would have {value[:256]}, which is not its own.")

    def _may_have(self, path: str) -> bool:
        guest = self._guest
        if path in guest.files or path == guest.emulator or path in _FREE:
            return True
        if str(PurePosixPath(path)) != path or ".." in PurePosixPath(path).parts:
            return False
        return guest.uid in path and any(path.startswith(f"{folder}/") for folder in guest.folders)


def _paths(element: ET.Element) -> Iterator[str]:
    """What names files: all that begins like a path, and what is one however it begins, as QEMU runs in ``/``."""
    text = (element.text or "").strip()
    if text and (text.startswith("/") or element.tag in _PATH_TEXTS):
        yield text
    for name, value in element.attrib.items():
        path = name in _PATHS or (name == "dev" and element.tag == "source")
        if value and (path or value.startswith("/")):
            yield value


def _require_type(element: ET.Element) -> None:
    tag, type_ = element.tag, element.get("type", "")
    if tag in _TYPES and type_ not in _TYPES[tag]:
        raise PermanentError(f'The guest has a {tag} of type "{type_[:64]}", which none may have that comes.')


def _parsed(xml: str, begin: str) -> ET.Element:
    if "<!" in xml or not xml.lstrip().startswith(begin):
        raise PermanentError("The guest is not described by plain XML.")
    try:
        return ET.fromstring(xml)  # noqa: S314  without a document type, see above
    except ET.ParseError as err:
        raise PermanentError(f"The guest is not described by XML: {err}.") from err


def _foreign(tag: str) -> PermanentError:
    return PermanentError(f'The guest has a part "{tag[:64]}", which none may have that comes.')


class _Reader:
    """XDR. Raises PermanentError for what is none."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self._at = at

    def number(self) -> int:
        return int.from_bytes(self._take(4), "big")

    def text(self) -> str:
        length = self.number()
        text = self._take(length)
        self._take(-length % 4)
        try:
            return text.decode()
        except UnicodeDecodeError as err:
            raise PermanentError("A text of another node's libvirtd is none.") from err

    def parameters(self) -> Iterator[tuple[str, str]]:
        """Those that are texts; one that is named twice is refused, as who reads it may mean the other."""
        count = self.number()
        if count > _MOST_PARAMETERS:
            raise PermanentError(f"{count} parameters are more than a migration has.")
        seen = set()
        for _ in range(count):
            name, type_ = self.text(), self.number()
            if name in seen and name != _MANY:
                raise PermanentError(f'The parameter "{name}" is there twice.')
            seen.add(name)
            if type_ == 7:
                yield name, self.text()
            elif type_ in _SIZES:
                self._take(_SIZES[type_])
            else:
                raise PermanentError(f"Parameters of type {type_} are none that a migration has.")

    def end(self) -> None:
        if self._at != len(self._data):
            raise PermanentError("A packet of another node's libvirtd goes on behind its end.")

    def _take(self, length: int) -> bytes:
        found = self._data[self._at : self._at + length]
        if len(found) != length:
            raise PermanentError("A packet of another node's libvirtd ends too early.")
        self._at += length
        return found


_SIZES: Final = {1: 4, 2: 4, 3: 8, 4: 8, 5: 8, 6: 4}
"""Of numbers, by their types."""
