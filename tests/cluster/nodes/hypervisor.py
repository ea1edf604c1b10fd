"""libvirt and QEMU of a node, as the machine's packages have them, with settings of the node's own."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

from tests.host.node import CAPABILITY_CACHE

_LIBVIRTD = """
host_uuid = "{uuid}"
auth_unix_rw = "none"
auth_unix_ro = "none"
# A few long calls of one client shall not keep its others waiting.
max_client_requests = 50
log_outputs = "2:stderr"
"""


def write_settings(folder: Path) -> None:
    """Into the node's folder, in which ``etc-libvirt`` and ``var`` are its /etc/libvirt and /var."""
    etc = folder / "etc-libvirt"
    machine = uuid.UUID((folder / "machine-id").read_text().strip())
    (etc / "libvirtd.conf").write_text(_LIBVIRTD.format(uuid=machine))
    (etc / "qemu.conf").write_text('security_driver = "none"\n')
    (etc / "virtlogd.conf").touch()
    capabilities = folder / "var" / "cache" / "libvirt" / "qemu" / "capabilities"
    if CAPABILITY_CACHE.is_dir() and not capabilities.exists():
        # Probing QEMU takes seconds, and libvirt sees for itself whether these are of another QEMU.
        shutil.copytree(CAPABILITY_CACHE, capabilities)
