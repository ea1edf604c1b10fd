"""Builds the cases of ``tests/corpus/images``; its README.md has the keys."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import struct
import subprocess
import tarfile
import tomllib
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.unit.registry.world import qemu_img

FOLDER = Path(__file__).parents[2] / "corpus"
MIB = 1 << 20
_COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "xz": lzma.compress,
    "bz2": bz2.compress,
}
_NUMBERS = {"u16le": "<H", "u32le": "<I", "u64le": "<Q", "u32be": ">I", "u64be": ">Q"}


def cases(topic: str) -> list[dict[str, Any]]:
    """All cases of a folder of the corpus."""
    found = []
    for path in sorted((FOLDER / topic).glob("*.toml")):
        found += tomllib.loads(path.read_text())["case"]
    return found


def build(case: Mapping[str, Any], folder: Path) -> tuple[bytes, bytes]:
    """What is served, and what is inside of the outermost wrapping."""
    path = folder / "case"
    fifo = folder / "fifo"
    os.mkfifo(fifo)
    fifo.chmod(0o666)
    with path.open("wb") as file:
        file.write(_base(case.get("base", ""), folder)[: case.get("cut")])
        for part in case.get("put", ()):
            file.seek(part["at"])
            file.write(_bytes(part, fifo))
    wrappings = case.get("pack", [])
    inside = data = b""
    if wrappings == ["zst"]:  # which may be too large for memory
        data = subprocess.run(["zstd", "-qc", path], check=True, capture_output=True).stdout
    else:
        data = path.read_bytes()
        for wrapping in wrappings:
            inside, data = data, _pack(wrapping, data)
    return data + b"".join(_bytes(part, fifo) for part in case.get("append", ())), inside


def _base(spec: str, folder: Path) -> bytes:
    if not spec:
        return b""
    made = folder / "base"
    first, second = spec.split()
    if first == "filled":
        raw = folder / "raw"
        raw.write_bytes(os.urandom(MIB) + bytes(3 * MIB))
        format_, _, options = second.partition(":")
        arguments = ["-o", options] if options else []
        qemu_img("convert", "-f", "raw", "-O", format_, *arguments, raw, made)
    else:
        qemu_img("create", "-q", "-f", first, made, second)
    return made.read_bytes()


def _bytes(part: Mapping[str, Any], fifo: Path) -> bytes:
    times = part.get("times", 1)
    if "hex" in part:
        return bytes.fromhex(part["hex"]) * int(times)
    if "text" in part:
        return str(part["text"]).replace("{fifo}", str(fifo)).encode() * int(times)
    (kind,) = set(_NUMBERS) & set(part)
    return struct.pack(_NUMBERS[kind], part[kind]) * int(times)


def _pack(wrapping: str, data: bytes) -> bytes:
    if wrapping == "zst":
        return subprocess.run(["zstd", "-qc"], input=data, check=True, capture_output=True).stdout
    if wrapping in _COMPRESSORS:
        return _COMPRESSORS[wrapping](data)
    out = io.BytesIO()
    if wrapping == "zip":
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr("disk.qcow2", data)
    else:
        with tarfile.open(fileobj=out, mode="w") as tar:
            entry = tarfile.TarInfo("disk.qcow2")
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()
