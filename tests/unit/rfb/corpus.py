"""The cases of ``tests/corpus/screens`` as bytes; its README says how they are written."""

from __future__ import annotations

import struct
import tomllib
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "corpus" / "screens"
GREETING = (
    b"RFB 003.008\n"
    + b"\x01\x01"
    + bytes(4)
    + struct.pack(">HH", 640, 480)
    + bytes(16)
    + struct.pack(">I", 4)
    + b"QEMU"
)


@dataclass(frozen=True)
class Case:
    name: str
    data: bytes
    says: str


def cases() -> list[Case]:
    """All of them."""
    found = [case for path in sorted(FOLDER.glob("*.toml")) for case in tomllib.loads(path.read_text())["case"]]
    return [Case(case["name"], _bytes(case), case["says"]) for case in found]


def _bytes(case: dict[str, Any]) -> bytes:
    packer = zlib.compressobj()
    head = GREETING if case.get("greets", True) else b""
    return head + b"".join(_part(part, packer) * part.get("times", 1) for part in case["parts"])


def _part(part: dict[str, Any], packer: Any) -> bytes:
    if "hex" in part:
        return bytes.fromhex(part["hex"])
    if "text" in part:
        return str(part["text"]).encode()
    if "update" in part:
        return struct.pack(">BxH", 0, part["update"])
    if "rectangle" in part:
        return struct.pack(">HHHHi", *part["rectangle"])
    if "zeros" in part:
        return bytes(part["zeros"])
    packed = packer.compress(bytes(part["zlib"])) + packer.flush(zlib.Z_SYNC_FLUSH)
    return struct.pack(">I", len(packed)) + bytes(packed)
