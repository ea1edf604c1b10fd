"""qemu-img, with the format always named and untrusted files always confined.

``info``, ``check`` and ``convert`` take bytes that came from outside and run in the sandbox on a descriptor.
``create`` and ``resize`` work on files that the daemon itself named by uid.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hyperd.errors import HyperdError, PermanentError, TemporaryError
from hyperd.imagefile import devices, sandbox
from hyperd.imagefile.detect import FAILED, ForeignFormat, ImageFormat
from hyperd.imagefile.growth import Growth, Target
from hyperd.imagefile.handle import DiskFormat
from hyperd.imagefile.sandbox import Limits
from hyperd.jsontypes import JsonObject
from hyperd.settings import Settings

_LIMITS = Limits()
_TRANSIENT = ("No space left", "Disk quota", "temporarily unavailable")
"""What the node lacks, not the image; memory is limited for each program, so only an image asks for too much."""
_CPU_SECONDS = 120
_CPU_SECONDS_A_GIB = 200
"""Of a file: what decompressing, reading and writing it takes, with room for a slow node."""
_WAIT_SECONDS, _WAIT_SECONDS_A_GIB = 600, 600
_INTO_FILE: Final = ("-t", "unsafe")
_INTO_DEVICE: Final = ("-t", "none", "-n", "--target-is-zero")
"""What counts as written is, and nothing of it stays in memory."""
OPEN_FILES: Final = 32
"""That a tool needs beside those of a volume."""
_CACHED_LAYERS, _TABLE_BYTES = 8, 1 << 20
"""Of more layers each gets so much for its tables: QEMU takes up to 32 MiB for one of a large disk."""
_OPENING = re.compile(
    r"(?:Failed to blk_new_open '.*?': )?(?:Could not open '[^']*': )?(?:Could not open backing file: )*"
)
_LOCKED = '"write" lock'
"""Of what qemu-img says where a guest has the file open."""
_FOREIGN_REFERENCES = ("backing-filename", "full-backing-filename", "data-file", "encrypted")


@dataclass(frozen=True)
class ImageInfo:
    """What qemu-img says of an image; its virtual size in bytes."""

    format: ImageFormat | ForeignFormat
    virtual_size: int


@dataclass(frozen=True)
class Layer:
    """One of the files that a volume of ours is made of, open for reading."""

    fd: int
    format: DiskFormat
    device: bool = False
    """Whether it is a block device."""


def allocated(fds: Iterable[int]) -> int:
    """Bytes on disk of files that are open; all of a device's, of which nobody knows what is used."""
    return sum(_allocated(fd) for fd in fds)


def _allocated(fd: int) -> int:
    return devices.size(fd) if devices.is_device(fd) else os.fstat(fd).st_blocks * 512


@contextmanager
def unwritten(layers: Sequence[Layer]) -> Iterator[None]:
    """TemporaryError where a device was written to meanwhile: no lock tells of a guest that has it open.

    QEMU locks what a path leads to, and each guest has device nodes of its own.
    """
    open_ = [layer.fd for layer in layers if layer.device]
    before = [devices.written(fd) for fd in open_]
    yield
    if [devices.written(fd) for fd in open_] != before:
        raise TemporaryError("The volume was written to while it was copied: a guest has it open.", key=FAILED)


def private(fds: Iterable[int]) -> list[int]:
    """Those that not everybody may read. They are lent to a tool, the rest others may lend at the same time."""
    return [fd for fd in fds if not os.fstat(fd).st_mode & stat.S_IROTH]


def cpu_limit(count: int) -> int:
    """That a tool may take to read so many bytes of a volume of ours."""
    return _CPU_SECONDS + _CPU_SECONDS_A_GIB * (count >> 30)


class QemuImg:
    """Asynchronous qemu-img."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def info(self, fd: int, format_: ImageFormat | ForeignFormat) -> ImageInfo:
        """Describe the untrusted image behind ``fd``; PermanentError if it is damaged or refers to other files."""
        driver = format_.value if isinstance(format_, ForeignFormat) else format_.driver
        done = await self._confined(["info", "-U", "--output=json", "-f", driver, "--", _path(fd)], fds=(fd,))
        if done.returncode:
            raise failure(f"The {format_} image cannot be read", done.stderr)
        try:
            answer: dict[str, Any] = json.loads(done.stdout)
        except ValueError as err:
            raise PermanentError(
                f"The {format_} image cannot be read: its description is longer than any image's should be.",
                key=FAILED,
            ) from err
        _refuse_references(answer, fd)
        return ImageInfo(format_, int(answer["virtual-size"]))

    async def check(self, fd: int, *, offset: int = 0, size: int | None = None) -> None:
        """PermanentError unless the qcow2 at ``offset`` behind ``fd``, ``size`` bytes long, is consistent.

        With a ``size``, zeros must follow up to the next multiple of 512: QEMU cuts files by whole sectors, while
        qemu-img itself makes images of any length.
        """
        options = ["driver=qcow2", "file.driver=raw", f"file.offset={offset}"]
        options += [] if size is None else [f"file.size={size + -size % 512}"]
        options += ["file.file.driver=file", f"file.file.filename={_path(fd)}"]
        done = await self._confined(
            ["check", "-U", "--output=json", "--image-opts", "--", ",".join(options)],
            fds=(fd,),
            timeout=600,
            limits=Limits(cpu_seconds=300),
        )
        if done.returncode in (0, 3):  # 3: leaked clusters only, harmless in a read-only image
            return
        raise failure("The qcow2 image is damaged or cut short", done.stderr or "qemu-img check finds errors")

    async def convert(self, source: int, source_format: ForeignFormat, target: int, *, growth: Growth) -> None:
        """Rewrite the untrusted image behind ``source`` as a qcow2 into ``target``, which ``growth`` watches."""
        cpu_seconds = _CPU_SECONDS + _CPU_SECONDS_A_GIB * os.fstat(source).st_size // (1 << 30)
        done = await self._confined(
            [
                "convert", "-U", "-f", source_format.value, "-O", "qcow2", "-t", "unsafe",
                "--", _path(source), _path(target),
            ],
            fds=(source, target),
            timeout=10 * cpu_seconds,
            limits=Limits(cpu_seconds=cpu_seconds, file_bytes=await asyncio.to_thread(growth.start)),
            watch=growth.check,
        )  # fmt: skip
        if not done.returncode:
            return
        if "File too large" in done.stderr:
            raise growth.refusal()
        if done.returncode in (-signal.SIGKILL, -signal.SIGXCPU) and not done.stderr:
            raise PermanentError(
                f"The {source_format} image takes longer to convert than an image of its size should; "
                "serve it as qcow2.",
                key=FAILED,
            )
        raise failure(f"The {source_format} image cannot be converted", done.stderr)

    async def flatten(
        self,
        layers: Sequence[Layer],
        target: int,
        *,
        output: DiskFormat = DiskFormat.QCOW2,
        growth: Target,
        written: Callable[[int], None] | None = None,
    ) -> None:
        """Write what ``layers`` hold together, the top first, as one plain image into ``target``.

        ``written`` hears all the while how many bytes that has. TemporaryError where a guest has a file of them
        open for writing, or writes to a device of them meanwhile.
        """
        loop = asyncio.get_running_loop()

        def watch() -> None:
            growth.check()
            if written is not None:
                loop.call_soon_threadsafe(written, growth.written())

        fds = [layer.fd for layer in layers]
        read = allocated(fds)
        limits = Limits(
            cpu_seconds=cpu_limit(read),
            file_bytes=await asyncio.to_thread(growth.start),
            open_files=OPEN_FILES + len(layers),
        )
        options = ["-O", output.value, *(_INTO_DEVICE if growth.is_device else _INTO_FILE)]
        with unwritten(layers):
            done = await self._confined(
                ["convert", *options, "--", chain(layers), _path(target)],
                fds=(*fds, target),
                lent=(*private(fds), target),
                timeout=_WAIT_SECONDS + _WAIT_SECONDS_A_GIB * (read >> 30),
                limits=limits,
                watch=watch,
            )
        if not done.returncode:
            return
        if "File too large" in done.stderr:
            raise growth.refusal()
        if _LOCKED in done.stderr:
            raise TemporaryError("The volume cannot be read now: a guest has it open.", key=FAILED)
        raise failure("The volume cannot be read", done.stderr)

    async def compare(self, layers: Sequence[Layer], copy: Layer) -> None:
        """TemporaryError unless ``copy`` holds what ``layers`` hold together, the top first."""
        fds = (*(layer.fd for layer in layers), copy.fd)
        read = allocated(fds)
        done = await self._confined(
            ["compare", "--", chain(layers), chain([copy])],
            fds=fds,
            lent=private(fds),
            timeout=_WAIT_SECONDS + _WAIT_SECONDS_A_GIB * (read >> 30),
            limits=Limits(cpu_seconds=cpu_limit(read), open_files=OPEN_FILES + len(fds)),
        )
        if done.returncode == 1:
            raise TemporaryError("The copy is not what was copied.", key=FAILED)
        if done.returncode:
            raise failure("The copy cannot be compared", done.stderr)

    async def create_blank(self, path: Path, size: int) -> None:
        """A new empty qcow2 of ``size`` bytes at ``path``."""
        await self._own("create", "-q", "-f", "qcow2", "--", _absolute(path), str(size))

    async def create_overlay(self, path: Path, *, base: Path, base_format: DiskFormat, size: int) -> None:
        """A new qcow2 whose unwritten clusters are read from ``base``, which is not opened here."""
        await self._own(
            "create", "-q", "-u", "-f", "qcow2", "-F", base_format, "-b", _absolute(base),
            "--", _absolute(path), str(size),
        )  # fmt: skip

    async def rebase(self, path: Path, *, base: Path | None, base_format: DiskFormat, timeout: float) -> None:
        """Have the qcow2 at ``path``, which nobody may have open, read ``base`` instead of what it reads now.

        What it reads of what lies between is copied into it first; ended at any time, it reads as before.
        """
        new = ["-b", ""] if base is None else ["-F", base_format, "-b", _absolute(base)]
        await self._own("rebase", "-q", "-f", "qcow2", *new, "--", _absolute(path), timeout=timeout)

    async def read_again(self, path: Path, *, base: Path, base_format: DiskFormat) -> bool:
        """Have the qcow2 at ``path`` read ``base``, as it did before; False where a guest has it open."""
        options = ["-u", "-q", "-f", "qcow2", "-F", base_format, "-b", _absolute(base)]
        done = await sandbox.run(["qemu-img", "rebase", *options, "--", _absolute(path)], timeout=120)
        if done.returncode and _LOCKED not in done.stderr:
            raise failure("qemu-img rebase failed", done.stderr)
        return not done.returncode

    async def copy(self, source: Path, target: Path) -> None:
        """The same bytes, and their holes, in a new file; it shares those of ``source`` if it can."""
        size = (await asyncio.to_thread(source.stat)).st_size
        vector = ["cp", "--reflink=auto", "--sparse=always", "--", _absolute(source), _absolute(target)]
        done = await sandbox.run(vector, timeout=_WAIT_SECONDS + _WAIT_SECONDS_A_GIB * (size >> 30))
        if done.returncode:
            raise failure("The volume cannot be copied", done.stderr)

    async def resize(self, path: Path, size: int) -> None:
        """Grow the qcow2 at ``path``, which nobody may have open."""
        await self._own("resize", "-q", "-f", "qcow2", "--", _absolute(path), str(size))

    async def _confined(
        self,
        arguments: list[str],
        *,
        fds: tuple[int, ...],
        lent: Sequence[int] | None = None,
        timeout: float = 60,
        limits: Limits = _LIMITS,
        watch: Callable[[], None] | None = None,
    ) -> sandbox.Finished:
        vector = sandbox.confine(["qemu-img", *arguments], settings=self._settings, limits=limits)
        with sandbox.lent(fds if lent is None else lent, self._settings):
            return await sandbox.run(vector, timeout=timeout, what="qemu-img", pass_fds=fds, watch=watch)

    async def _own(self, *arguments: str, timeout: float = 120) -> None:
        done = await sandbox.run(["qemu-img", *arguments], timeout=timeout)
        if done.returncode:
            raise failure(f"qemu-img {arguments[0]} failed", done.stderr)


def _absolute(path: Path) -> str:
    """An operand that QEMU takes for a file, whatever characters it has: no ``-`` or ``scheme:`` in front."""
    return f"{path}" if path.is_absolute() else f"./{path}"


def chain(layers: Sequence[Layer]) -> str:
    """An image that is read from ``layers`` alone, whatever their headers name."""
    chain: JsonObject | None = None
    for layer in reversed(layers):
        # Said, since QEMU looks for a kind of lock by /dev/null, which is not there.
        file: JsonObject = {
            "driver": "host_device" if layer.device else "file",
            "locking": "on",
            "filename": _path(layer.fd),
        }
        node: JsonObject = {"driver": layer.format.value, "file": file}
        if layer.format is DiskFormat.QCOW2:
            node["backing"] = chain
            if len(layers) > _CACHED_LAYERS:
                node["l2-cache-size"] = _TABLE_BYTES
        chain = node
    return f"json:{json.dumps(chain)}"


def _path(fd: int) -> str:
    return f"/proc/self/fd/{fd}"


def _reason(stderr: str) -> str:
    """The last line of QEMU's complaint, without the file name that means nothing to a user."""
    lines = [line for line in stderr.splitlines() if line.strip()] or ["no reason given"]
    return _OPENING.sub("", lines[-1].removeprefix("qemu-img: ").removeprefix("qemu-nbd: ")).rstrip(".")


def failure(what: str, stderr: str) -> HyperdError:
    """What to raise where a program complains so; ``what`` begins the sentence."""
    if why := sandbox.not_confined(stderr):
        return TemporaryError(f"{what} just now: image tools cannot be confined on this node ({why}).", key=FAILED)
    if any(sign in stderr for sign in _TRANSIENT):
        return TemporaryError(f"{what} just now: {_reason(stderr)}.", key=FAILED)
    return PermanentError(f"{what}: {_reason(stderr)}.", key=FAILED)


def _refuse_references(answer: dict[str, Any], fd: int) -> None:
    specific = answer.get("format-specific", {}).get("data", {})
    named = [key for key in _FOREIGN_REFERENCES if answer.get(key) or specific.get(key)]
    extents = [extent.get("filename") for extent in specific.get("extents", [])]
    if named or any(name != _path(fd) for name in extents):
        raise PermanentError(
            "The image refers to other files or is encrypted; export it as one plain standalone image.",
            key=FAILED,
        )
