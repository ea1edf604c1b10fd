"""What a guest and its hypervisor do to a volume that they have by its handle; QEMU's tools do it."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from hyperd.imagefile.handle import BlockHandle, DiskFormat, FileHandle, Handle


def image(path: Path, format_: DiskFormat, content: bytes) -> FileHandle:
    """An image with ``content``."""
    raw = path.with_suffix(".made")
    raw.write_bytes(content)
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", format_, raw, path], check=True)
    return FileHandle(path, format_)


def read(handle: Handle) -> bytes:
    """All that the guest sees."""
    file = _file(handle)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "read"
        subprocess.run(["qemu-img", "convert", "-f", file.format, "-O", "raw", file.path, target], check=True)
        return target.read_bytes()


def fill(handle: Handle, pattern: int, size: int) -> None:
    """Write ``size`` bytes of ``pattern`` to the begin."""
    file = _file(handle)
    write = f"write -q -P {pattern} 0 {size}"
    subprocess.run(["qemu-io", "-f", file.format, "-c", write, file.path], check=True)


def resize(handle: Handle, size: int) -> None:
    """As the hypervisor does."""
    file = _file(handle)
    subprocess.run(["qemu-img", "resize", "-q", "-f", file.format, file.path, str(size)], check=True)


def _file(handle: Handle) -> FileHandle | BlockHandle:
    assert isinstance(handle, FileHandle | BlockHandle)  # no backend has others
    return handle
