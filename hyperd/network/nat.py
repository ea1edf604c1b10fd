"""The way out of the host, for those who ask for it: one nft table per instance.

Packets from the VM ranges to elsewhere leave under the host's address. The table is replaced as one transaction,
so that no packet sees half of it.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from ipaddress import IPv4Network
from pathlib import Path

from hyperd.errors import TemporaryError

_FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
_NFT_SECONDS = 20.0


def table_name(instance: str) -> str:
    """The instance's nft table; nft takes no hyphens in names."""
    return f"hyperd_{instance.replace('-', '_')}"


async def ensure(instance: str, cidrs: Sequence[IPv4Network]) -> None:
    """Masquerade what leaves ``cidrs`` and let answers in. Raises TemporaryError."""
    try:
        await asyncio.to_thread(_FORWARDING.write_text, "1")
    except OSError as error:
        raise TemporaryError(f"Forwarding cannot be switched on for NAT: {error.strerror}.") from error
    ranges = ", ".join(str(cidr) for cidr in cidrs)
    table = table_name(instance)
    await _nft(
        f"add table ip {table}\n"
        f"delete table ip {table}\n"
        f"table ip {table} {{\n"
        f"  set ranges {{ type ipv4_addr; flags interval; elements = {{ {ranges} }} }}\n"
        f"  chain postrouting {{\n"
        f"    type nat hook postrouting priority srcnat; policy accept;\n"
        f"    ip saddr @ranges ip daddr != @ranges masquerade\n"
        f"  }}\n"
        f"}}\n"
    )


async def remove(instance: str) -> None:
    """Remove the instance's table, if there is one. Without nft there is none. Raises TemporaryError."""
    if shutil.which("nft"):
        table = table_name(instance)
        await _nft(f"add table ip {table}\ndelete table ip {table}\n")


async def _nft(script: str) -> None:
    try:
        process = await asyncio.create_subprocess_exec(
            "nft",
            "-f",
            "-",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise TemporaryError(f"NAT needs nft, which cannot be run: {error.strerror}.") from error
    try:
        async with asyncio.timeout(_NFT_SECONDS):
            _, stderr = await process.communicate(script.encode())
    except TimeoutError:
        raise TemporaryError(f"nft did not set the NAT table within {_NFT_SECONDS:.0f} seconds.") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        said = stderr.decode(errors="replace").strip().splitlines()
        raise TemporaryError(f"nft refused the NAT table: {said[0] if said else process.returncode}.")
