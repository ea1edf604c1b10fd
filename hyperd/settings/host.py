"""libvirt and the network of this host."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from hyperd.settings.additional import AdditionalNetworks
from hyperd.settings.sections import Bytes, Count, Period, Retention, Section


class HypervisorSettings(Section):
    """libvirt."""

    uri: str = "qemu:///system"
    """Of libvirt's QEMU driver; hyperd runs guests by no other."""
    resync_seconds: Period = 10.0
    workers: Count = 8
    """Threads that call libvirt."""
    default_emulation: bool = True
    """Run guests under TCG where KVM cannot be used, with a condition that says so."""
    reserved_memory_bytes: Bytes = 512 << 20
    """Memory of the node that VMs never get."""
    cpu_allocation_ratio: Annotated[float, Field(gt=0)] = 16.0
    """How often each core may be promised to VMs, at their coreFraction. Above 1 they may get less than that."""
    qemu_user: str = "libvirt-qemu"
    qemu_group: str = "kvm"
    qemu_run_dir: Path = Path("/run/libvirt/qemu")
    """Where libvirt keeps QEMU's pid files."""


class NetworkSettings(Section):
    """Addresses and taps."""

    virtual_machine_cidrs: tuple[IPv4Network, ...] = (IPv4Network("10.66.10.0/24"),)
    route_table: Annotated[int, Field(ge=1, le=0xFFFFFFFF)] = 1490
    route_protocol: Annotated[int, Field(ge=1, le=255)] = 149
    far_route_protocol: Annotated[int, Field(ge=1, le=255)] = 150
    """Of the ways to machines on a cluster's other nodes; it differs from ``route_protocol``."""
    tap_prefix: Annotated[str, Field(pattern=r"^[a-z][a-z0-9]{0,3}$")] = "hv"
    gateway_mac: Annotated[str, Field(pattern=r"^([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}$")] = "02:a9:fe:00:00:01"
    nat: bool = False
    """Masquerade what leaves the host from the VM ranges, in one nft table of the instance."""
    mtu: Annotated[int, Field(ge=576, le=65535)] = 1500
    dns_servers: tuple[str, ...] = ()
    """Offered by DHCP; empty means the host's non-loopback resolvers."""
    kept_addresses_percent: Annotated[int, Field(ge=0, le=50)] = 12
    """Of the addresses, so many are only for namespaces that have few."""
    lease_retention_seconds: Retention = 600.0
    """How long a released address stays reserved for its namespace."""
    additional: AdditionalNetworks = ()
    """Bridges of this node that machines may have further cards on."""

    @model_validator(mode="after")
    def _ways_are_told_apart(self) -> Self:
        if self.route_protocol == self.far_route_protocol:
            raise ValueError("route_protocol and far_route_protocol are the same: routes cannot be told apart")
        return self

    @field_validator("virtual_machine_cidrs")
    @classmethod
    def _disjoint(cls, cidrs: tuple[IPv4Network, ...]) -> tuple[IPv4Network, ...]:
        for i, a in enumerate(cidrs):
            for b in cidrs[i + 1 :]:
                if a.overlaps(b):
                    raise ValueError(f"{a} overlaps {b}")
        return cidrs
