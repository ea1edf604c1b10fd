"""nftables by its own program: each instance has one table of a family. Blocking; called in worker threads."""

from __future__ import annotations

import errno
import os
import re
import shutil
import socket
import struct
import subprocess
from collections.abc import Callable, Collection

from hyperd.errors import TemporaryError

_SECONDS = 20.0
_NETFILTER = 12
_GET_GENERATION, _NEW_GENERATION = 10 << 8 | 16, 10 << 8 | 15
_REQUEST = 1
_HEAD, _GROUP, _ATTRIBUTE = struct.Struct("=IHHII"), struct.Struct(">BBH"), struct.Struct("=HH")
_ID = 1
_CARD = re.compile(r"chain card_(\w{1,15}) ")


def table_name(instance: str) -> str:
    """The instance's table; nft takes no hyphens in names."""
    return f"hyperd_{instance.replace('-', '_')}"


def is_installed() -> bool:
    """Without nft there is no table of anybody's."""
    return shutil.which("nft") is not None


def generation() -> int:
    """How many transactions there were where the calling thread is; it wraps around. Raises OSError."""
    body = _GROUP.pack(0, 0, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETFILTER) as asking:
        asking.settimeout(_SECONDS)
        asking.send(_HEAD.pack(_HEAD.size + len(body), _GET_GENERATION, _REQUEST, 0, 0) + body)
        answer = asking.recv(4096)
    _, type_, _, _, _ = _HEAD.unpack_from(answer)
    if type_ != _NEW_GENERATION:
        (number,) = struct.unpack_from("=i", answer, _HEAD.size)
        raise OSError(-number, os.strerror(-number))
    at = _HEAD.size + _GROUP.size
    while at + _ATTRIBUTE.size <= len(answer):
        length, which = _ATTRIBUTE.unpack_from(answer, at)
        if which == _ID:
            found: int = struct.unpack_from(">I", answer, at + _ATTRIBUTE.size)[0]
            return found
        at += max(_ATTRIBUTE.size, (length + 3) & ~3)
    raise OSError(errno.EPROTO, "the kernel does not say the generation of its nftables")


def run(script: str, *, does: str, needs: str) -> str:
    """What nft prints of ``script``, all of which it does or nothing. Raises TemporaryError.

    The error says what it ``does`` (``guard the bridge``) and who ``needs`` nft (``NAT needs``).
    """
    try:
        done = subprocess.run(
            ["nft", "-f", "-"], input=script.encode(), capture_output=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise TemporaryError(f"nft did not {does} within {_SECONDS:.0f} seconds.") from None
    except OSError as error:
        raise TemporaryError(f"{needs} nft, which cannot be run: {error.strerror}. Install nftables.") from error
    if done.returncode:
        complaint = done.stderr.decode(errors="replace").strip().splitlines()
        raise TemporaryError(f"nft refused to {does}: {complaint[0] if complaint else done.returncode}.")
    return done.stdout.decode(errors="replace")


def keep_cards(
    family: str, instance: str, taps: Collection[str], *, run: Callable[[str], str], removal: Callable[[str], str]
) -> None:
    """Remove the chains ``card_TAP`` of all but ``taps`` from the instance's table; without any tap, the table.

    ``removal`` is the script that takes one tap's out. Without nft there is none. Raises what ``run`` raises.
    """
    if not is_installed():
        return
    table = f"{family} {table_name(instance)}"
    if f"table {table}\n" not in run(f"list tables {family}\n"):
        return
    if not taps:
        run(f"delete table {table}\n")
        return
    for tap in set(_CARD.findall(run(f"list table {table}\n"))) - set(taps):
        run(removal(tap))
