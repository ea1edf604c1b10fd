"""What an account of the node is a member of, also where the daemon is in a container with users of its own."""

from __future__ import annotations

import grp
import os
import pwd
from dataclasses import dataclass
from pathlib import Path

NODE = Path("/proc/1/root")
"""The root folder of the node's first process: with its process table (``hostPID``) it is the node's own."""


@dataclass(frozen=True)
class Account:
    uid: int
    groups: frozenset[int]


def account(user: str, node: Path = NODE) -> Account | None:
    """Uid and groups that ``user`` has on the node, None where nobody is called so. Blocking.

    Where the daemon sees the node's files as its own, whatever knows users there is asked; else the node's files.
    """
    try:
        elsewhere = not os.path.samefile(node, "/")
    except OSError:
        elsewhere = False
    return _in_files(user, node / "etc") if elsewhere else _here(user)


def _here(user: str) -> Account | None:
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        return None
    return Account(
        entry.pw_uid, frozenset({entry.pw_gid, *(one.gr_gid for one in grp.getgrall() if user in one.gr_mem)})
    )


def _in_files(user: str, etc: Path) -> Account | None:
    entry = next((one for one in _entries(etc / "passwd", 7) if one[0] == user), None)
    if entry is None or not (entry[2].isdecimal() and entry[3].isdecimal()):
        return None
    member = {
        int(one[2]) for one in _entries(etc / "group", 4) if user in one[3].split(",") and one[2].isdecimal()
    }
    return Account(int(entry[2]), frozenset({int(entry[3]), *member}))


def _entries(path: Path, fields: int) -> list[list[str]]:
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return []
    return [entry for line in lines if len(entry := line.split(":")) == fields]
