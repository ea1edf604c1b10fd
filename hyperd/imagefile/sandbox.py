"""Runs programs on bytes from outside: as a user of their own, without network, under limits.

The file they work on is handed over as a descriptor, and they see no other: their root holds programs, libraries
and their own processes, nothing else. This is the line of defence to rely on; the header guard before it only
gives better sentences. They end with the daemon.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import signal
from asyncio import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from hyperd.errors import PermanentError, TemporaryError
from hyperd.reaping import reap
from hyperd.settings import Settings

_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "MALLOC_ARENA_MAX": "2"}
"""Few arenas: each reserves address space, which is limited."""
_MAX_OUTPUT = 1 << 20
"""Of either stream; a crafted image makes its reader complain for gigabytes."""
_PIECE = 64 << 10
_WATCH_SECONDS = 0.1
DIE_WITH_PARENT = ["setpriv", "--pdeathsig=KILL", "--"]
"""Before a program that is not to go on once the daemon is killed."""
_CONFINERS = (
    "unshare: ",
    "mount: ",
    "umount: ",
    "pivot_root: ",
    "setpriv: ",
    "prlimit: ",
    "mkdir: ",
    "sh: ",
    "ln: ",
)
_ROOM = """set -e
mount -n -t tmpfs -o size=1m,mode=0755,nosuid,nodev none /tmp
for path in /usr /lib /lib32 /lib64 /bin /sbin /nix/store /etc/ld.so.cache /etc/alternatives; do
    [ -e "$path" ] || continue
    mkdir -p "/tmp${path%/*}"
    if [ -L "$path" ]; then ln -s "$(readlink "$path")" "/tmp$path"; continue; fi
    if [ -d "$path" ]; then mkdir "/tmp$path"; else : > "/tmp$path"; fi
    mount -n -o bind,ro,nosuid,nodev "$path" "/tmp$path"
done
mkdir /tmp/proc /tmp/old
mount -n -t proc -o nosuid,nodev,noexec proc /tmp/proc
cd /tmp
pivot_root . old
umount -n -l /old
exec "$@"
"""
"""Makes the root that a confined program sees, inside namespaces of its own, and goes there."""


@dataclass(frozen=True)
class Limits:
    """What a sandboxed program may use. ``file_bytes`` caps any file it writes."""

    memory_bytes: int = 2 << 30
    cpu_seconds: int = 60
    file_bytes: int = 0
    open_files: int = 32


@dataclass(frozen=True)
class Finished:
    """How a program ended: the beginning of what it said, and the end of what it complained of."""

    returncode: int
    stdout: bytes
    stderr: str


def environment() -> dict[str, str]:
    """The whole environment of a child: nothing of the daemon's own."""
    return dict(_ENVIRONMENT)


def confine(argv: Sequence[str], *, settings: Settings, limits: Limits) -> list[str]:
    """The argument vector that runs ``argv`` confined; without root only the limits remain."""
    limited = [
        "prlimit",
        f"--as={limits.memory_bytes}",
        f"--cpu={limits.cpu_seconds}",
        f"--fsize={limits.file_bytes}",
        f"--nofile={limits.open_files}",
        "--core=0",
        "--",
        *argv,
    ]
    if os.geteuid() != 0:
        return [*DIE_WITH_PARENT, *limited]
    user = tools_user(settings)
    return [
        *DIE_WITH_PARENT,
        "unshare", "--mount", "--net", "--ipc", "--pid", "--fork", "--",
        "sh", "-c", _ROOM, "sh",
        "setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups",
        "--no-new-privs", "--inh-caps=-all", "--pdeathsig=KILL", "--",
        *limited,
    ]  # fmt: skip


def not_confined(stderr: str) -> str:
    """Why a program was not even started, in words of what should have confined it; empty if it was."""
    last = stderr.strip().splitlines()[-1:] or [""]
    return last[0] if last[0].startswith(_CONFINERS) else ""


def tools_user(settings: Settings) -> pwd.struct_passwd:
    """The account of ``settings.imports.tools_user``."""
    try:
        return pwd.getpwnam(settings.imports.tools_user)
    except KeyError:
        raise PermanentError(
            f"User {settings.imports.tools_user!r} does not exist; set imports.tools_user to one that does."
        ) from None


@contextmanager
def lent(fds: Sequence[int], settings: Settings) -> Iterator[None]:
    """Let the confined user open the files behind ``fds`` again meanwhile, and nobody else but root.

    A file may be lent several times at once: whoever gives it back last gives it to whom it belonged, unless
    somebody has given it to another one meanwhile, as libvirt does when a guest starts.
    """
    if os.geteuid() != 0:
        yield
        return
    user = tools_user(settings)
    taken: list[int] = []
    try:
        for fd in fds:
            _lend(fd, user)
            taken.append(fd)
        yield
    finally:
        for fd in taken:
            _give_back(fd, user)


@dataclass
class _Loan:
    owner: tuple[int, int]
    count: int = 0


_loans: dict[tuple[int, int], _Loan] = {}
"""By device and inode."""


def _lend(fd: int, user: pwd.struct_passwd) -> None:
    found = os.fstat(fd)
    loan = _loans.setdefault((found.st_dev, found.st_ino), _Loan((found.st_uid, found.st_gid)))
    loan.count += 1
    os.fchown(fd, user.pw_uid, user.pw_gid)


def _give_back(fd: int, user: pwd.struct_passwd) -> None:
    found = os.fstat(fd)
    loan = _loans[found.st_dev, found.st_ino]
    loan.count -= 1
    if loan.count:
        return
    del _loans[found.st_dev, found.st_ino]
    if found.st_uid == user.pw_uid:
        os.fchown(fd, *loan.owner)


async def run(
    argv: Sequence[str],
    *,
    timeout: float,
    what: str = "",
    pass_fds: Sequence[int] = (),
    watch: Callable[[], None] | None = None,
) -> Finished:
    """Run to the end. TemporaryError when the program is missing or ``timeout`` seconds pass.

    ``what`` names it, where ``argv`` begins with what confines it. ``watch`` is called all the while, in a
    thread; the program is ended when it raises.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=tuple(pass_fds),
            env=environment(),
            start_new_session=True,
        )
    except FileNotFoundError:
        raise TemporaryError(f"The program {argv[0]} is not installed on this host.") from None
    output = asyncio.gather(_beginning(process.stdout), complaints(process.stderr))
    try:
        async with asyncio.timeout(timeout):
            while watch is not None and not output.done():
                await asyncio.wait({output}, timeout=_WATCH_SECONDS)
                await asyncio.to_thread(watch)
            stdout, stderr = await output
            await process.wait()
    except TimeoutError:
        raise TemporaryError(f"{what or argv[0]} did not finish within {timeout:.0f} seconds.") from None
    finally:
        output.cancel()
        await end(process)
    return Finished(process.returncode or 0, stdout, stderr.decode(errors="replace").strip())


async def end(process: subprocess.Process) -> None:
    """Kill what was started in a session of its own, with its children, unless it has ended; wait for it."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await reap(process)


async def _beginning(stream: asyncio.StreamReader | None) -> bytes:
    assert stream is not None  # noqa: S101  a pipe was asked for
    kept = bytearray()
    while piece := await stream.read(_PIECE):
        kept += piece[: _MAX_OUTPUT - len(kept)]
    return bytes(kept)


async def complaints(stream: asyncio.StreamReader | None) -> bytes:
    """The end of all that a program says there; read to its end, so that nothing keeps it from going on."""
    assert stream is not None  # noqa: S101  a pipe was asked for
    kept = bytearray()
    while piece := await stream.read(_PIECE):
        kept += piece
        del kept[:-_MAX_OUTPUT]
    return bytes(kept)
