"""Every path, socket, port, URI, prefix and limit of one daemon; ``loading`` reads them.

Defaults follow the FHS. Two daemons on one host differ in ``instance`` and the folders; names of
host objects (domains, taps, tables) carry the instance, so neither touches the other's.
"""

from __future__ import annotations

import socket
from enum import StrEnum
from ipaddress import IPv4Network
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from hyperd.roles import Role

GIB = 1 << 30
OWN_POOL = "directory"
"""The folder of volumes that every node has."""

Count = Annotated[int, Field(ge=1)]
Bytes = Annotated[int, Field(ge=0)]
Period = Annotated[float, Field(gt=0, allow_inf_nan=False)]
"""How often, or how long at most: zero would mean all the time, or never."""
Retention = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""How long something is kept; zero is not at all."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ApiSettings(_Section):
    """Where the API listens."""

    host: str = "127.0.0.1"
    """Address of the TLS listener; anything but loopback is the administrator's choice."""
    port: Annotated[int, Field(ge=0, le=65535)] = 6480
    """0 picks a free port, which the kubeconfig then names."""
    max_body_bytes: Count = 3 * (1 << 20)
    public_url: Annotated[str, Field(pattern=r"^(https?://[!-~]+)?$")] = ""
    """Leads to the TLS listener from outside, such as ``https://hv.example.org``; empty means its own address.
    The external addresses of uploads begin with it."""
    max_watchers: Annotated[int, Field(ge=0)] = 2000


class AccessSettings(_Section):
    """Who may do what; see ``hyperd.roles``. Root administers, always."""

    unix_groups: dict[str, Role] = Field(default_factory=lambda: {"hyperd": Role.ADMIN})
    """Unix group → role of its members, who may open the unix socket. Groups that do not exist are ignored."""
    max_token_seconds: Annotated[int, Field(ge=60)] = 366 * 86_400
    """How long a token may be made to last."""


class AggregationSettings(_Section):
    """Where a cluster's API server reaches this daemon (webhooks, the aggregated API); unused without one."""

    host: str = "0.0.0.0"
    port: Annotated[int, Field(ge=0, le=65535)] = 6481


class FrontProxySettings(_Section):
    """A proxy that says in ``X-Remote-User`` and its like who asks, and proves itself by a client certificate."""

    ca_file: Path | None = None
    """The CA of that certificate alone. None: in a cluster, what its API server publishes in
    ``kube-system/extension-apiserver-authentication``; without one, no proxy is believed."""
    names: tuple[str, ...] = ()
    """Common names that are believed; none means every certificate of that CA."""


class AuditSettings(_Section):
    """The audit log, ``audit.log`` in ``log_dir``."""

    level: Literal["off", "writes", "all"] = "writes"
    """``writes``: writes, sessions and what was denied; ``all``: reads as well."""
    max_bytes: Annotated[int, Field(ge=4096)] = 16 << 20
    """Size at which a new file is begun."""
    keep: Annotated[int, Field(ge=0, le=1000)] = 8
    """How many older files are kept."""


class StoreSettings(_Section):
    """The embedded store."""

    watch_log_events: Count = 20_000
    """How many past events a watch may resume over, also across a restart."""
    watch_log_bytes: Bytes = 128 << 20
    """What these events may take of the file at most; older ones go before."""
    namespace_bytes: Bytes = 64 << 20
    """What the objects of one namespace may take, encoded; 0 is no limit. Controllers' writes always fit."""


class HypervisorSettings(_Section):
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


class NetworkSettings(_Section):
    """Addresses and taps."""

    virtual_machine_cidrs: tuple[IPv4Network, ...] = (IPv4Network("10.66.10.0/24"),)
    route_table: Annotated[int, Field(ge=1, le=0xFFFFFFFF)] = 1490
    route_protocol: Annotated[int, Field(ge=1, le=255)] = 149
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

    @field_validator("virtual_machine_cidrs")
    @classmethod
    def _disjoint(cls, cidrs: tuple[IPv4Network, ...]) -> tuple[IPv4Network, ...]:
        for i, a in enumerate(cidrs):
            for b in cidrs[i + 1 :]:
                if a.overlaps(b):
                    raise ValueError(f"{a} overlaps {b}")
        return cidrs


class ImportSettings(_Section):
    """What images may come from, and how large they may be."""

    allowed: tuple[str, ...] = ()
    """``CIDR`` or ``CIDR:PORT`` entries that lift the ban on loopback, link-local, metadata, own addresses and
    those of virtual machines."""
    max_virtual_size_bytes: Bytes = 2048 * GIB
    max_download_bytes: Bytes = 1024 * GIB
    concurrent: Count = 4
    """Imports that run at a time; of many, less than half are kept for namespaces that have none."""
    connect_timeout_seconds: Period = 20.0
    read_timeout_seconds: Period = 60.0
    """How long a source may be silent, and how far it may fall behind ``slowest_bytes_per_second``."""
    slowest_bytes_per_second: Count = 32 << 10
    """A source that sends less on the average is given up, and tried again later."""
    upload_timeout_seconds: Period = 600.0
    """How long an object waits for its upload, or for another try after one that broke off."""
    cache_bytes: Bytes = 64 * GIB
    """What the node's cache of images may take; beyond that, those go that nothing uses, the longest unused first.
    0 is no limit."""
    cache_retention_seconds: Retention = 3_600.0
    """How long an image that nothing uses stays in the node's cache."""
    lazy: bool = False
    """Whether disks of images in the registry may be used at once, while the image comes to the node. In the
    embedded home alone."""
    lazy_from_bytes: Bytes = 32 << 20
    """Images that are smaller are fetched before their disks are used."""
    tools_user: str = "nobody"
    """User that qemu-img runs as on untrusted files."""


class RegistrySettings(_Section):
    """The image store."""

    url: str = ""
    """An OCI registry (``https://host/prefix``); empty starts the embedded one."""
    username: str = ""
    password_file: Path | None = None
    ca_file: Path | None = None
    binary: str = "docker-registry"
    """Program of the embedded registry, which listens on a unix socket in ``run_dir``."""
    gc_schedule: str = "0 2 * * *"
    presence_check_seconds: Period = 300.0


class PoolKind(StrEnum):
    """What a pool makes its volumes of."""

    REFLINK = "reflink"
    """Raw files of a file system that shares blocks, XFS or btrfs: clones and snapshots at once."""
    BLOCK = "block"
    """Partitions of a disk: no file system between a guest and its disk, no thin volumes and no snapshots."""


class PoolSettings(_Section):
    """A place for volumes that an administrator adds; a StorageClass of its name leads to it."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,40}[a-z0-9])?$")]
    kind: PoolKind
    path: Path
    """Its folder, which nobody else uses; of a ``block`` pool its disk, as ``/dev/disk/by-id`` names it."""
    storage_class: str = ""
    """Name of the StorageClass that is made for it, if it is not there; empty means that of the pool."""
    wait_for_first_consumer: bool = False
    """Whether that class makes a volume only once a machine uses the disk."""
    adopt: str = ""
    """Of a ``block`` pool: the id of a disk of another hyperd's, which refuses it once this one has taken it."""

    @property
    def provisioner(self) -> str:
        """What StorageClasses call it."""
        return f"hyperd.local/{self.name}"

    @property
    def class_name(self) -> str:
        return self.storage_class or self.name


class StorageSettings(_Section):
    """Disks."""

    storage_class: str = "local"
    reserve_bytes: Bytes = 1 * GIB
    """Free space of the pool that new volumes must leave."""
    overcommit_ratio: Annotated[float, Field(ge=0)] = 16.0
    """How often the pool's space may be promised to disks, which take it as they are written; 0 is no limit."""
    move_bytes_per_second: Annotated[int, Field(ge=0)] = 0
    """Of each disk that is moved under a guest that runs; 0 is no limit."""
    pools: tuple[PoolSettings, ...] = ()
    """Beside the folder of qcow2 files that every node has."""

    @field_validator("pools")
    @classmethod
    def _unique(cls, pools: tuple[PoolSettings, ...]) -> tuple[PoolSettings, ...]:
        names = [OWN_POOL, *(pool.name for pool in pools)]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"there are two pools called {name}")
        for path in (paths := [pool.path for pool in pools]):
            if paths.count(path) > 1:
                raise ValueError(f"two pools have the path {path}")
        return pools


class ClassRules(_Section):
    """Which StorageClasses disks or images on volumes may be of."""

    default_storage_class: str = ""
    """Of those that name none; empty: the one that is marked as the default."""
    allowed_storage_classes: tuple[str, ...] = ()
    """Empty: all."""

    @model_validator(mode="after")
    def _allow_default(self) -> Self:
        default, allowed = self.default_storage_class, self.allowed_storage_classes
        if default and allowed and default not in allowed:
            raise ValueError(f"the default, {default}, is not among the allowed ones")
        return self


class OperationSettings(_Section):
    """Retention of finished operations."""

    retention_seconds: Retention = 86_400.0
    keep_per_vm: Annotated[int, Field(ge=0)] = 10
    event_ttl_seconds: Retention = 3_600.0


class KubernetesSettings(_Section):
    """The cluster that keeps the objects when ``home`` is ``kubernetes``."""

    kubeconfig: Path | None = None
    """How to reach it; none uses the service account of the Pod that the daemon runs in."""
    context: str = ""
    """Of the kubeconfig; empty means its current one."""
    lease_seconds: Annotated[float, Field(ge=3)] = 15.0
    """How long the leader's work rests at most when the leader dies."""
    register_node: bool = False
    """Make the Node object and report its state, as a kubelet does. Only where this node has no kubelet."""
    allow_emulation: bool = False
    """Bind machines to nodes without KVM too."""
    pods: bool = False
    """Run each machine in a Pod, which the cluster's scheduler places. Needs a kubelet on each node."""
    launcher_image: str = ""
    """The image of those Pods, with ``/usr/lib/hyperd/launcher``; hyperd's own has it."""
    programs_dir: Path = Path("/usr/lib/hyperd")
    """Where ``python -m hyperd.launcher.build`` has put its programs on this node."""
    kubelet_dir: Path = Path("/var/lib/kubelet")
    """The kubelet's ``--root-dir``, as this daemon sees it."""

    @model_validator(mode="after")
    def _pods_have_a_kubelet_and_an_image(self) -> Self:
        if self.pods and self.register_node:
            raise ValueError("pods needs a kubelet on each node, and register_node says that this one has none")
        if self.pods and not self.launcher_image:
            raise ValueError("pods needs launcher_image, the image of machines' Pods: hyperd's own will do")
        return self


class LogSettings(_Section):
    level: str = "info"
    format: Annotated[str, Field(pattern="^(json|text)$")] = "json"


class Settings(_Section):
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
    def departures_dir(self) -> Path:
        """Notes of which storage a moved volume has left."""
        return self.state_dir / "moved"

    @property
    def images_dir(self) -> Path:
        """The node's cache of images, by layer digest; read-only files."""
        return self.state_dir / "images"

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
