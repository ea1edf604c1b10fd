"""The process beside the daemon that reads large bodies: ``python -m hyperd.offloaded MEMORY_BYTES``.

It works on bytes of strangers, so it keeps no privilege: it cannot open a file or a socket, write to disk, or use
more memory than it is given. It answers on the socket that it was started with, and ends when that closes.
"""

from __future__ import annotations

import gc
import importlib
import json
import logging
import os
import resource
import signal
import socket
import struct
import sys
from collections.abc import Callable

from hyperd.errors import HyperdError, RequestEntityTooLarge
from hyperd.offload import MODULES, Answer, Options, record

_COUNT = struct.Struct(">I")
_LENGTH = struct.Struct(">Q")
_PIECE = 1 << 20
_NOBODY = 65534
_TIRED_KIB = 384 << 10
"""A process that once took so much memory is not kept."""
_TOO_MUCH_MEMORY = "the request is too large to work off: it takes too much memory; send less at once"


class Peak:
    """The most memory that this process has had, asked of a file that was opened before it could open none.

    ``ru_maxrss`` will not do: after a fork it begins with what the daemon has had.
    """

    def __init__(self) -> None:
        self._file = os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC)

    def kibibytes(self) -> int:
        """Since the start of the program."""
        return int(os.pread(self._file, 1 << 14, 0).partition(b"VmHWM:")[2].split()[0])


def _confine(memory_bytes: int) -> None:
    with open("/proc/self/statm", "rb") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(_NOBODY)
        os.setuid(_NOBODY)
    os.nice(5)
    resource.setrlimit(resource.RLIMIT_AS, (used + memory_bytes,) * 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Those that are open, and no others.
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))


def _read(channel: socket.socket, size: int) -> bytes:
    """Exactly ``size`` bytes. Raises EOFError."""
    content = bytearray(size)
    view = memoryview(content)
    while view:
        got = channel.recv_into(view)
        if not got:
            raise EOFError
        view = view[got:]
    return bytes(content)


def _receive(channel: socket.socket) -> list[bytes]:
    count = _COUNT.unpack(_read(channel, _COUNT.size))[0]
    return [_read(channel, _LENGTH.unpack(_read(channel, _LENGTH.size))[0]) for _ in range(count)]


def _send(channel: socket.socket, *parts: bytes) -> None:
    channel.sendall(_COUNT.pack(len(parts)))
    for part in parts:
        channel.sendall(_LENGTH.pack(len(part)))
        channel.sendall(part)


def _answer(functions: dict[str, Callable[..., Answer]], request: list[bytes]) -> tuple[Options, list[bytes]]:
    function, options, cpu_seconds = json.loads(request[0])
    # At its end the signal ends this process: nothing in it can get in the way.
    signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
    try:
        words, parts = functions[function](options, *request[1:])
    except HyperdError as err:
        return {"answer": {}, "error": record(err)}, []
    except MemoryError:
        del request[:]
        return {"answer": {}, "error": record(RequestEntityTooLarge(_TOO_MUCH_MEMORY))}, []
    except Exception as err:  # noqa: BLE001  border: the daemon logs the defect, and the process goes on
        defect = {"type": "InternalError", "message": f"Internal error ({type(err).__name__}: {str(err)[:500]})"}
        return {"answer": {}, "error": {**defect, "causes": [], "about": {}}}, []
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return {"answer": words, "error": None}, list(parts)


def main() -> None:
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.disable()
    channel = socket.socket(fileno=0)
    functions: dict[str, Callable[..., Answer]] = {}
    for name in MODULES:
        module = importlib.import_module(name)
        module.warm()
        for function in module.OFFLOADED:
            functions[f"{name}:{function.__name__}"] = function
    # What bodies become has no cycles, and looking for them among a million values takes seconds.
    gc.disable()
    peak = Peak()
    _confine(int(sys.argv[1]))
    while True:
        try:
            request = _receive(channel)
        except (EOFError, OSError):
            return
        words, parts = _answer(functions, request)
        words["stays"] = peak.kibibytes() < _TIRED_KIB
        try:
            _send(channel, json.dumps(words).encode(), *parts)
        except OSError:
            return


if __name__ == "__main__":
    main()
