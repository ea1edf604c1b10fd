"""One domain as libvirt's XML, by ElementTree only."""

from __future__ import annotations

from hyperd.hypervisor.spec import DomainSpec


def domain_xml(spec: DomainSpec) -> str:
    """The whole domain, ready for ``define``."""
    raise NotImplementedError


def disk_targets(spec: DomainSpec) -> dict[str, str]:
    """Disk name → target (``sda``), as the guest's bus numbers them."""
    raise NotImplementedError
