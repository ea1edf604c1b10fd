"""Which DNS servers guests are told: the configured ones, else those of the host that a guest can reach.

A resolver on the host's loopback (systemd-resolved, dnsmasq) is none for a guest; the file that lists its
upstream servers is read instead. Blocking, for two small files.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path

from hyperd.errors import PermanentError

_FILES = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))


def dns_servers(configured: Sequence[str], *, files: Iterable[Path] = _FILES) -> tuple[IPv4Address, ...]:
    """IPv4 addresses of DNS servers, possibly none. Raises PermanentError when a configured one is no address."""
    if configured:
        return tuple(_configured(text) for text in configured)
    for file in files:
        found = tuple(_listed(file))
        if found:
            return found
    return ()


def _configured(text: str) -> IPv4Address:
    try:
        return IPv4Address(text)
    except AddressValueError as error:
        raise PermanentError(f"Setting network.dns_servers: {text!r} is not an IPv4 address.") from error


def _listed(file: Path) -> Iterable[IPv4Address]:
    try:
        text = file.read_text(errors="replace")
    except OSError:
        return
    for line in text.splitlines():
        words = line.split()
        if len(words) < 2 or words[0] != "nameserver":
            continue
        try:
            address = IPv4Address(words[1])
        except AddressValueError:
            continue  # IPv6: taps carry none
        if not address.is_loopback and not address.is_unspecified:
            yield address
