"""Reading a volume of ours at any place, as the disk that a guest would see, without knowing its files' formats.

``qemu-nbd`` reads them: confined like all that looks into an image, with the files as descriptors and their order
said to it, so that what a header names is never opened. It serves one connection, which is made before it begins,
and ends with that or with the daemon.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import tempfile
from asyncio import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from hyperd.background import to_the_end
from hyperd.errors import HyperdError, PermanentError, TemporaryError
from hyperd.imagefile import sandbox
from hyperd.imagefile.handle import DiskFormat
from hyperd.imagefile.nbd import STREAM_BYTES, Extent, NbdClient, NbdError
from hyperd.imagefile.qemuimg import OPEN_FILES, Layer, allocated, chain, cpu_limit, failure, private
from hyperd.imagefile.sandbox import Limits
from hyperd.settings import Settings

_START_SECONDS: Final = 60.0
_READ_SECONDS: Final = 60.0
"""Of one request, which is at most some MiB: a disk that is slower hangs."""
_ACTIVATED: Final = 'export LISTEN_PID=$$ LISTEN_FDS=1; exec "$@" 3<&0'
"""Gives ``qemu-nbd`` the socket that it listens on, as systemd would; it comes as standard input."""
_GONE = (OSError, EOFError, NbdError)


class VolumeReader:
    """An open volume. One request at a time; raises PermanentError where it is damaged."""

    def __init__(self, client: NbdClient, size: int) -> None:
        self._client = client
        self.size = size
        """Bytes of the disk."""

    async def read(self, offset: int, length: int) -> bytearray:
        """``length`` bytes at ``offset``, all of them within the disk."""
        try:
            async with asyncio.timeout(_READ_SECONDS):
                return await self._client.read(offset, length)
        except TimeoutError:
            raise TemporaryError(
                f"The volume was not read within {_READ_SECONDS:.0f} s at byte {offset}."
            ) from None
        except _GONE as err:
            raise PermanentError(f"The volume cannot be read at byte {offset}: {_why(err)}.") from err

    async def extents(self, offset: int, length: int) -> Sequence[Extent]:
        """Where the disk reads as zeros, from ``offset`` on: for ``length`` bytes or fewer, but at least one."""
        try:
            async with asyncio.timeout(_READ_SECONDS):
                return await self._client.extents(offset, length)
        except TimeoutError:
            raise TemporaryError(f"Nobody told within {_READ_SECONDS:.0f} s where the volume has holes.") from None
        except _GONE as err:
            raise PermanentError(f"The volume cannot be read at byte {offset}: {_why(err)}.") from err


@asynccontextmanager
async def reading(layers: Sequence[Layer], settings: Settings) -> AsyncIterator[VolumeReader]:
    """The disk that ``layers`` are, the top first. PermanentError where they are damaged.

    TemporaryError where a guest has one of them open for writing.
    """
    ours, listening = await to_the_end(_connected, settings.run_dir)
    with ours, listening:
        with sandbox.lent(private(layer.fd for layer in layers), settings):
            process = await _start(layers, listening, settings)
            said = asyncio.create_task(sandbox.complaints(process.stderr), name="qemu-nbd's complaints")
            try:
                listening.close()
                client = await _agreed(ours, process, said)
            except BaseException:
                await sandbox.end(process)
                said.cancel()
                raise
        try:
            yield VolumeReader(client, _size(layers[0], client))
        finally:
            client.close()
            await sandbox.end(process)
            said.cancel()


async def _start(layers: Sequence[Layer], listening: socket.socket, settings: Settings) -> subprocess.Process:
    read = allocated(layer.fd for layer in layers)
    vector = sandbox.confine(
        ["sh", "-c", _ACTIVATED, "sh", "qemu-nbd", "--read-only", chain(layers)],
        settings=settings,
        limits=Limits(cpu_seconds=cpu_limit(read), open_files=OPEN_FILES + 2 * len(layers)),
    )
    try:
        return await asyncio.create_subprocess_exec(
            *vector,
            stdin=listening.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=tuple(layer.fd for layer in layers),
            env=sandbox.environment(),
            start_new_session=True,
        )
    except FileNotFoundError:
        raise TemporaryError(f"The program {vector[0]} is not installed on this host.") from None


async def _agreed(ours: socket.socket, process: subprocess.Process, said: asyncio.Task[bytes]) -> NbdClient:
    """Raises what ``process`` complains of where it opens nothing."""
    client = NbdClient(*await asyncio.open_connection(sock=ours.dup(), limit=STREAM_BYTES))
    try:
        async with asyncio.timeout(_START_SECONDS):
            await client.start()
            return client
    except BaseException as err:
        client.close()
        if isinstance(err, TimeoutError):
            raise TemporaryError(f"The volume was not opened within {_START_SECONDS:.0f} s.") from None
        if not isinstance(err, _GONE):
            raise
        await sandbox.end(process)
        raise _refusal((await said).decode(errors="replace").strip() or f"qemu-nbd: {_why(err)}") from err


def _refusal(said: str) -> HyperdError:
    if '"write" lock' in said or 'shared "' in said:
        return TemporaryError("The volume cannot be read now: a guest has it open.")
    return failure("The volume cannot be read", said)


def _connected(folder: Path) -> tuple[socket.socket, socket.socket]:
    """A connection, and the socket on which it waits to be accepted. No name of it is left."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    ours = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    place = tempfile.mkdtemp(prefix="x", dir=folder)
    try:
        listening.bind(f"{place}/s")
        listening.listen(1)
        ours.connect(f"{place}/s")
        ours.setblocking(False)
    except BaseException:
        listening.close()
        ours.close()
        raise
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return ours, listening


def _size(top: Layer, client: NbdClient) -> int:
    """QEMU knows whole sectors alone, and a file of raw bytes may end within one."""
    if top.format is DiskFormat.RAW and not top.device:
        return min(client.size, os.fstat(top.fd).st_size)
    return client.size


def _why(err: BaseException) -> str:
    return str(err) if isinstance(err, NbdError) else "the program that reads it has ended"
