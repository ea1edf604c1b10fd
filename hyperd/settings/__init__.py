"""Every path, socket, port, URI, prefix and limit of one daemon; ``loading`` reads them.

Defaults follow the FHS. Two daemons on one host differ in ``instance`` and the folders; names of
host objects (domains, taps, tables) carry the instance, so neither touches the other's.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from hyperd.settings.host import HypervisorSettings, NetworkSettings
from hyperd.settings.objects import KubernetesSettings, OperationSettings, StoreSettings
from hyperd.settings.sections import GIB, Section
from hyperd.settings.serving import (
    AccessSettings,
    AggregationSettings,
    ApiSettings,
    AuditSettings,
    FrontProxySettings,
    LogSettings,
)
from hyperd.settings.storage import (
    OWN_POOL,
    ClassRules,
    ImportSettings,
    PoolKind,
    PoolSettings,
    RegistrySettings,
    StorageSettings,
)

__all__ = [
    "GIB",
    "OWN_POOL",
    "AccessSettings",
    "AggregationSettings",
    "ApiSettings",
    "AuditSettings",
    "ClassRules",
    "FrontProxySettings",
    "HypervisorSettings",
    "ImportSettings",
    "KubernetesSettings",
    "LogSettings",
    "NetworkSettings",
    "OperationSettings",
    "PoolKind",
    "PoolSettings",
    "RegistrySettings",
    "Settings",
    "StorageSettings",
    "StoreSettings",
]


class Settings(Section):
    """One daemon's whole configuration."""

    instance: Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,14}[a-z0-9])?$")] = "hyperd"
    """Marks what belongs to this daemon on the host: domain prefix, metadata, nft table."""
    node_name: str = ""
    """Name of the Node object; empty means the host's name."""
    home: Literal["embedded", "kubernetes"] = "embedded"
    """Who keeps the objects: this daemon, or a Kubernetes API server."""
    config_dir: Path = Path("/etc/hyperd")
    state_dir: Path = Path("/var/lib/hyperd")
    run_dir: Path = Path("/run/hyperd")
    log_dir: Path = Path("/var/log/hyperd")
    api: ApiSettings = ApiSettings()
    access: AccessSettings = AccessSettings()
    aggregation: AggregationSettings = AggregationSettings()
    front_proxy: FrontProxySettings = FrontProxySettings()
    audit: AuditSettings = AuditSettings()
    store: StoreSettings = StoreSettings()
    hypervisor: HypervisorSettings = HypervisorSettings()
    network: NetworkSettings = NetworkSettings()
    imports: ImportSettings = ImportSettings()
    registry: RegistrySettings = RegistrySettings()
    storage: StorageSettings = StorageSettings()
    virtual_disks: ClassRules = ClassRules()
    virtual_images: ClassRules = ClassRules()
    operations: OperationSettings = OperationSettings()
    log: LogSettings = LogSettings()
    kubernetes: KubernetesSettings = KubernetesSettings()

    @property
    def node(self) -> str:
        """Name of this node, given or the host's."""
        return self.node_name or socket.gethostname().lower()

    @property
    def socket_path(self) -> Path:
        """The API's unix socket."""
        return self.run_dir / "hyperd.sock"

    @property
    def database_path(self) -> Path:
        return self.state_dir / "store.db"

    @property
    def volumes_dir(self) -> Path:
        return self.state_dir / "volumes"

    @property
    def pools_dir(self) -> Path:
        """Notes by which an administrator's pools are known again."""
        return self.state_dir / "pools"

    @property
    def claims(self) -> bool:
        """Whether disks of StorageClasses that are none of ours are PersistentVolumeClaims."""
        return self.home == "kubernetes" and self.kubernetes.pods

    @property
    def claims_dir(self) -> Path:
        """Where the disks in claims' volumes are shown to guests."""
        return self.state_dir / "claims"

    @property
    def departures_dir(self) -> Path:
        """Notes of which storage a moved volume has left."""
        return self.state_dir / "moved"

    @property
    def images_dir(self) -> Path:
        """The node's cache of images, by layer digest; read-only files."""
        return self.state_dir / "images"

    @property
    def emulator_dir(self) -> Path:
        """Where the program is that stands in QEMU's place where machines are in Pods, and its socket."""
        return self.state_dir / "emulator"

    @property
    def lazy_socket(self) -> Path:
        """Where images are served that are being fetched."""
        return self.run_dir / "images.sock"

    @property
    def lazy_config(self) -> Path:
        """Settings of the process that does so, which finds them there, and is found by that."""
        return self.run_dir / "images.json"

    @property
    def registry_dir(self) -> Path:
        return self.state_dir / "registry"

    @property
    def pki_dir(self) -> Path:
        return self.state_dir / "pki"

    @property
    def cluster_pki_dir(self) -> Path:
        """Certificates of the CA that all daemons of a cluster share."""
        return self.state_dir / "cluster-pki"

    @property
    def kubeconfig_path(self) -> Path:
        return self.state_dir / "kubeconfig"

    @property
    def console_dir(self) -> Path:
        """Serial sockets; only root writes here. Short: unix sockets end at 108 bytes."""
        return self.run_dir / "c"

    @property
    def console_log_dir(self) -> Path:
        return self.log_dir / "consoles"

    @property
    def seeds_dir(self) -> Path:
        """cloud-init seeds, 0600."""
        return self.state_dir / "seeds"

    @property
    def nvram_dir(self) -> Path:
        return self.state_dir / "nvram"
