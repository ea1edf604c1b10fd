"""Images, their registry, and the pools of volumes."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from hyperd.settings.sections import GIB, Bytes, Count, Period, Retention, Section

OWN_POOL = "directory"
"""The folder of volumes that every node has."""


class ImportSettings(Section):
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


class RegistrySettings(Section):
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


class PoolSettings(Section):
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


class StorageSettings(Section):
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


class ClassRules(Section):
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
