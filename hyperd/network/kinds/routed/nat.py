"""The way out of the host, for those who ask for it: one nft table per instance.

Packets from the VM ranges to elsewhere leave under the host's address. The table is replaced as one transaction,
so that no packet sees half of it. Where forwarding was off, the table says so in a set, ``forwarded_before``, with
the devices that forwarded by themselves: it is there as long as forwarding is on because of NAT, whatever happens
to the daemon. The last table to go takes forwarding along; before that it hands the set on.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Network
from pathlib import Path

from hyperd.errors import TemporaryError
from hyperd.network import nft
from hyperd.network.place import THIS_HOST, Place

_FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
_DEVICES = Path("/proc/sys/net/ipv4/conf")
_BEFORE = "forwarded_before"
_NAME = re.compile(r"[\w.@-]{1,15}")
"""Devices that nft lists as they are."""


async def ensure(instance: str, cidrs: Sequence[IPv4Network], place: Place = THIS_HOST) -> None:
    """Masquerade what leaves ``cidrs`` and let answers in. Raises TemporaryError."""
    await place.run(_ensure, nft.table_name(instance), cidrs)


async def remove(instance: str, place: Place = THIS_HOST) -> None:
    """Remove the instance's table, if there is one, and the forwarding that came with it.

    Forwarding that was on before, or that another instance's NAT needs, stays. Without nft there is no table.
    Raises TemporaryError.
    """
    if nft.is_installed():
        await place.run(_remove, nft.table_name(instance))


def _ensure(table: str, cidrs: Sequence[IPv4Network]) -> None:
    ranges = ", ".join(str(cidr) for cidr in cidrs)
    with _alone():
        before = _forwarded_before(table) if table in _tables() else None
        if before is None and not _is_on(_FORWARDING):
            before = _forwarding_devices()
        # The table first: killed after it, the next run knows that forwarding is its own.
        _nft(
            f"add table ip {table}\n"
            f"delete table ip {table}\n"
            f"table ip {table} {{\n"
            f"  {_set(before) if before is not None else ''}\n"
            f"  set ranges {{ type ipv4_addr; flags interval; elements = {{ {ranges} }} }}\n"
            f"  chain postrouting {{\n"
            f"    type nat hook postrouting priority srcnat; policy accept;\n"
            f"    ip saddr @ranges ip daddr != @ranges masquerade\n"
            f"  }}\n"
            f"}}\n"
        )
        if not _is_on(_FORWARDING):
            _write(_FORWARDING, "1")


def _remove(table: str) -> None:
    with _alone():
        tables = _tables()
        if table not in tables:
            return
        before = _forwarded_before(table)
        others = sorted(tables - {table})
        if before is None or others:
            handed_on = f"table ip {others[0]} {{\n {_set(before)}\n}}\n" if before is not None else ""
            _nft(f"{handed_on}delete table ip {table}\n")
            return
        # The table last: killed before it, the next run finishes.
        _write(_FORWARDING, "0")
        for device in before:
            if (_DEVICES / device).exists():
                _write(_DEVICES / device / "forwarding", "1")
        _nft(f"delete table ip {table}\n")


def _set(devices: Sequence[str]) -> str:
    """The set that says that forwarding was off, but for these devices'."""
    elements = "".join(f'"{device}", ' for device in devices)
    return f"set {_BEFORE} {{ type ifname; {f'elements = {{ {elements} }};' if devices else ''} }}"


def _tables() -> frozenset[str]:
    """The tables of all instances."""
    return frozenset(re.findall(r"^table ip (hyperd_\w+)$", _nft("list tables ip\n"), re.MULTILINE))


def _forwarded_before(table: str) -> list[str] | None:
    """Devices that forwarded while the host did not; None where NAT did not switch it on."""
    if f"set {_BEFORE} {{" not in _nft(f"list table ip {table}\n"):
        return None
    return re.findall(r'"([^"\n]+)"', _nft(f"list set ip {table} {_BEFORE}\n"))


def _forwarding_devices() -> list[str]:
    """Those that are set to forward by themselves; switching all on and off would lose it."""
    found = (path.parent.name for path in _DEVICES.glob("*/forwarding") if _is_on(path))
    return sorted(name for name in found if name != "all" and _NAME.fullmatch(name))


def _is_on(path: Path) -> bool:
    try:
        return path.read_text().strip() == "1"
    except OSError:
        return False


def _write(path: Path, value: str) -> None:
    try:
        path.write_text(value)
    except OSError as error:
        raise TemporaryError(f"Forwarding cannot be switched for NAT ({path}): {error.strerror}.") from error


@contextmanager
def _alone() -> Iterator[None]:
    """One instance of this network at a time: who holds the switch may look at it and turn it."""
    try:
        switch = os.open(_FORWARDING, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise TemporaryError(f"Forwarding cannot be looked at for NAT: {error.strerror}.") from error
    try:
        fcntl.flock(switch, fcntl.LOCK_EX)
        yield
    finally:
        os.close(switch)


def _nft(script: str) -> str:
    return nft.run(script, does="set the NAT table", needs="NAT needs")
