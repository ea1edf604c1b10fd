"""What ``hv doctor`` asks a host: files, sockets, programs. One seam, so checks run on made-up hosts."""

from __future__ import annotations

import ctypes
import grp
import os
import pwd
import shutil
import socket
import stat
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

TIME_ERROR = 5
_ANSWER_SECONDS = 5.0
"""adjtimex(2): the clock is not synchronized."""


@dataclass(frozen=True)
class FileFacts:
    """Permissions of a file; ``mode`` holds the permission bits only."""

    mode: int
    group: str


class Host(Protocol):
    """A host as seen by a check. Nothing here changes it."""

    def is_root(self) -> bool: ...

    def read(self, path: str) -> str | None:
        """A text file's content, None where it cannot be read."""

    def facts(self, path: str) -> FileFacts | None:
        """None where the file does not exist."""

    def which(self, program: str) -> str | None: ...

    def output(self, *argv: str) -> str | None:
        """What a command prints, None when it fails or takes longer than ten seconds."""

    def answers(self, socket_path: str) -> bool:
        """Whether something listens on a unix socket."""

    def is_live(self, socket_path: str) -> bool:
        """Whether what listens there is a daemon that answers HTTP, and does not hang."""

    def in_group(self, user: str, group: str) -> bool: ...

    def has_user(self, user: str) -> bool: ...

    def free_bytes(self, path: Path) -> int:
        """Space for root on the file system of ``path``, or of its nearest parent that exists."""

    def package_version(self, package: str) -> str | None:
        """Version of a Python package, without importing it."""

    def has_module(self, module: str) -> bool:
        """Whether ``package.module`` is installed, without importing it."""

    def clock_synchronized(self) -> bool: ...


class ThisHost:
    """The machine that hv runs on."""

    def is_root(self) -> bool:
        return os.geteuid() == 0

    def read(self, path: str) -> str | None:
        try:
            return Path(path).read_text(errors="replace")
        except OSError:
            return None

    def facts(self, path: str) -> FileFacts | None:
        try:
            status = os.stat(path)
        except OSError:
            return None
        try:
            group = grp.getgrgid(status.st_gid).gr_name
        except KeyError:
            group = str(status.st_gid)
        return FileFacts(stat.S_IMODE(status.st_mode), group)

    def which(self, program: str) -> str | None:
        return shutil.which(program)

    def output(self, *argv: str) -> str | None:
        try:
            done = subprocess.run(
                argv, capture_output=True, text=True, timeout=10, check=False, env={**os.environ, "LC_ALL": "C"}
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout if done.returncode == 0 else None

    def answers(self, socket_path: str) -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(5)
            try:
                connection.connect(socket_path)
            except OSError:
                return False
        return True

    def is_live(self, socket_path: str) -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_ANSWER_SECONDS)
            try:
                connection.connect(socket_path)
                connection.sendall(b"GET /livez HTTP/1.1\r\nHost: hyperd\r\nConnection: close\r\n\r\n")
                return connection.recv(16).startswith(b"HTTP/1.1 200")
            except OSError:
                return False

    def in_group(self, user: str, group: str) -> bool:
        try:
            entry = grp.getgrnam(group)
            return user in entry.gr_mem or pwd.getpwnam(user).pw_gid == entry.gr_gid
        except KeyError:
            return False

    def has_user(self, user: str) -> bool:
        try:
            pwd.getpwnam(user)
        except KeyError:
            return False
        return True

    def free_bytes(self, path: Path) -> int:
        existing = next(folder for folder in (path, *path.parents) if folder.exists())
        return shutil.disk_usage(existing).free

    def package_version(self, package: str) -> str | None:
        try:
            return version(package)
        except PackageNotFoundError:
            return None

    def has_module(self, module: str) -> bool:
        package, _, name = module.rpartition(".")
        spec = find_spec(package)
        folders = spec.submodule_search_locations if spec else None
        return any(next(Path(folder).glob(f"{name}.*so"), None) for folder in folders or ())

    def clock_synchronized(self) -> bool:
        # struct timex: 208 bytes here; zero modes only read.
        buffer = ctypes.create_string_buffer(512)
        return int(ctypes.CDLL(None).adjtimex(buffer)) != TIME_ERROR
