"""What is sent to a Pod's address goes to its machine, by nft. Blocking; called in the Pod's network.

Services know that address alone, and nothing else answers there.
"""

from __future__ import annotations

from ipaddress import IPv4Address

from hyperd.network import nft


def script(instance: str, tap: str, address: IPv4Address, pod: IPv4Address) -> str:
    """For nft, whatever there was."""
    table = f"ip {nft.table_name(instance)}"
    return (
        f"add table {table}\n"
        f"delete table {table}\n"
        f"table {table} {{\n"
        f"  chain arriving {{\n"
        f"    type nat hook prerouting priority dstnat; policy accept;\n"
        f"    ip daddr {pod} dnat to {address}\n"
        f"  }}\n"
        f"  chain leaving {{\n"
        f"    type nat hook postrouting priority srcnat; policy accept;\n"
        # A guest that asks for itself by a Service would get its own packets.
        f'    oifname "{tap}" ip saddr {address} masquerade\n'
        f"  }}\n"
        f"}}\n"
    )
