"""VirtualMachinePool: so many machines of one template, each with its own disks."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from hyperd.resources.kinds.base import (
    Conditions,
    Int32,
    Int64,
    NonEmpty,
    Resource,
    Section,
    Timer,
    list_map,
    one_of,
)
from hyperd.resources.kinds.virtual_disk import VIRTUAL_DISK, VirtualDiskSpec
from hyperd.resources.kinds.virtual_image import AGE
from hyperd.resources.kinds.virtual_machine import (
    VIRTUAL_MACHINE,
    BlockDeviceKind,
    BlockDeviceRef,
    LiveMigrationPolicy,
    OsType,
    VirtualMachineSpec,
)
from hyperd.resources.schema.applies import LIVE, TEMPLATE
from hyperd.resources.schema.hidden import hidden, without_credentials
from hyperd.resources.schema.kind import KINDS, Column, Kind
from hyperd.resources.schema.rule import Rule
from hyperd.resources.values.names import CATEGORY, GROUP, MAX_BLOCK_DEVICES, VERSION

DISKS = "spec.virtualDiskTemplates"
MACHINE = "spec.virtualMachineTemplate"


class ScaleDownPolicy(StrEnum):
    NEWEST_FIRST = "NewestFirst"
    OLDEST_FIRST = "OldestFirst"
    EXPLICIT = "Explicit"


class OnScaleDown(StrEnum):
    DELETE = "Delete"
    RETAIN = "Retain"


class PoolCondition(StrEnum):
    AVAILABLE = "Available"
    PROGRESSING = "Progressing"
    """Only present while machines come or go."""
    SYNCED = "Synced"


class PoolAvailableReason(StrEnum):
    ALL_REPLICAS_READY = "AllReplicasReady"
    INSUFFICIENT_READY_REPLICAS = "InsufficientReadyReplicas"


class PoolProgressingReason(StrEnum):
    REPLICAS_PROGRESSING = "ReplicasProgressing"


class PoolSyncedReason(StrEnum):
    POOL_SYNCED = "PoolSynced"
    ROLLOUT_IN_PROGRESS = "RolloutInProgress"
    RESTART_PENDING_APPROVAL = "RestartPendingApproval"


class DiskReclaim(Section):
    """What becomes of the disk when its machine goes."""

    on_scale_down: OnScaleDown = OnScaleDown.DELETE
    """Delete removes it with its machine, Retain keeps it for another machine of the pool."""
    keep: Annotated[Int32, Field(ge=0)] = 0
    """For Retain: how many of the newest free disks are kept for ever."""
    ttl: (
        Annotated[str, Field(pattern=r"^([0-9]{1,9}(\.[0-9]{1,9})?(ns|us|µs|ms|s|m|h))+$", max_length=63)] | None
    ) = None
    """For Retain: how long a free disk is kept, such as 24h."""


class DiskTemplate(Section):
    """A disk that every machine of the pool has."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", min_length=1, max_length=63)]
    """Name of the template, which the machine's blockDeviceRefs name as a VirtualDisk."""
    reclaim: DiskReclaim = DiskReclaim()
    """What becomes of the disk when its machine goes."""
    spec: Annotated[VirtualDiskSpec, TEMPLATE]
    """What the disk shall be."""


class PoolDeviceRef(BlockDeviceRef):
    """A disk template or image to attach."""

    kind: BlockDeviceKind
    """VirtualDisk for a template of the pool; images are attached read-only."""
    name: Annotated[str, Field(min_length=1, max_length=253)]
    """Name of the template or image."""


class PoolMachineSpec(VirtualMachineSpec):
    """What each virtual machine shall be."""

    virtual_machine_class_name: NonEmpty
    """Class that decides the processor and limits the sizes."""
    block_device_refs: Annotated[  # type: ignore[assignment]  # narrower on purpose
        list[PoolDeviceRef], Field(min_length=1, max_length=MAX_BLOCK_DEVICES)
    ]
    """Disk templates and images, 1 to 16; the first one is tried first at boot."""
    live_migration_policy: Annotated[  # type: ignore[assignment]  # the pool's enumeration is wider
        str, one_of("Manual", "Never", *(policy.value for policy in LiveMigrationPolicy))
    ]
    """Whether a migration may slow the guest down to finish."""


class TemplateMetadata(Section):
    """What the machines' metadata gets."""

    labels: dict[str, str] | None = None
    """Labels of each machine."""
    annotations: dict[str, str] | None = None
    """Annotations of each machine."""


class MachineTemplate(Section):
    """What the machines are made from."""

    metadata: TemplateMetadata | None = None
    """What the machines' metadata gets."""
    spec: PoolMachineSpec
    """What each virtual machine shall be."""


class VirtualMachinePoolSpec(Section):
    """How many machines, and what they are."""

    replicas: Annotated[Int32 | None, Field(ge=0), LIVE] = None
    """How many machines there shall be; none where it is left out."""
    scale_down_policy: Annotated[ScaleDownPolicy, LIVE]
    """Which machines go first: the newest, the oldest, or those that somebody names."""
    virtual_disk_templates: Annotated[
        list[DiskTemplate],
        Field(min_length=1, max_length=MAX_BLOCK_DEVICES, json_schema_extra=list_map("name")),
        LIVE,
    ]
    """The disks of each machine, 1 to 16."""
    virtual_machine_template: Annotated[MachineTemplate, TEMPLATE]
    """What the machines are made from."""


class PoolCreation(Section):
    """A machine that is to be made, and is perhaps made already."""

    name: NonEmpty
    """Name of the machine."""
    disks: dict[str, str]
    """Names of its disks by their template."""


class FreeDisk(Section):
    """A disk that waits for another machine."""

    name: NonEmpty
    """Name of the disk."""
    uid: NonEmpty
    """Its uid."""
    timer: Timer
    """How long it has been free."""


class VirtualMachinePoolStatus(Section):
    """What became of the pool."""

    replicas: Int32 | None = None
    """How many machines there are, those that go included."""
    ready_replicas: Int32 | None = None
    """How many of them run."""
    updated_replicas: Int32 | None = None
    """How many of them are as the template says."""
    restart_pending_replicas: Int32 | None = None
    """How many of them wait for a restart to become so."""
    desired_template_hash: str | None = None
    """Digest of the template."""
    selector: str | None = None
    """Labels that select the pool's machines, for scale."""
    creating: list[PoolCreation] | None = None
    """What is being made: written before the first of it is, so that nothing is made twice."""
    free_disks: list[FreeDisk] | None = None
    """Disks that are kept for machines to come."""
    conditions: Conditions = Field(default_factory=list)
    """Aspects of its state."""
    observed_generation: Int64 | None = None
    """Generation of the spec that this status is about."""


class VirtualMachinePool(Resource):
    """So many virtual machines of one template, each with its own disks."""

    spec: VirtualMachinePoolSpec
    """How many machines, and what they are."""
    status: VirtualMachinePoolStatus = Field(default_factory=VirtualMachinePoolStatus)
    """What became of the pool."""


def _disk_references(spec: Any) -> list[str]:
    refs = spec["virtualMachineTemplate"]["spec"]["blockDeviceRefs"]
    return [ref["name"] for ref in refs if ref["kind"] == BlockDeviceKind.VIRTUAL_DISK]


_REFS = "self.virtualMachineTemplate.spec.blockDeviceRefs"

_RULES = (
    Rule(
        path="spec",
        message="each of virtualDiskTemplates must be in blockDeviceRefs exactly once, as a VirtualDisk",
        cel=(
            "self.virtualDiskTemplates.all(template, "
            f"{_REFS}.exists_one(ref, ref.kind == 'VirtualDisk' && ref.name == template.name))"
        ),
        holds=lambda spec, _: all(
            _disk_references(spec).count(template["name"]) == 1 for template in spec["virtualDiskTemplates"]
        ),
    ),
    Rule(
        path="spec",
        message="each VirtualDisk of blockDeviceRefs must be one of virtualDiskTemplates",
        cel=(
            f"{_REFS}.all(ref, ref.kind != 'VirtualDisk' || "
            "self.virtualDiskTemplates.exists(template, template.name == ref.name))"
        ),
        holds=lambda spec, _: {*_disk_references(spec)} <= {one["name"] for one in spec["virtualDiskTemplates"]},
    ),
    Rule(
        path=f"{DISKS}[].reclaim",
        message="keep and ttl are only for onScaleDown Retain",
        cel="self.onScaleDown == 'Retain' || (self.keep == 0 && !has(self.ttl))",
        holds=lambda reclaim, _: (
            reclaim["onScaleDown"] == OnScaleDown.RETAIN or (reclaim["keep"] == 0 and "ttl" not in reclaim)
        ),
    ),
    Rule(
        path=f"{DISKS}[].reclaim",
        message="keep needs ttl",
        cel="self.keep == 0 || has(self.ttl)",
        holds=lambda reclaim, _: reclaim["keep"] == 0 or "ttl" in reclaim,
    ),
    Rule(
        path=f"{MACHINE}.spec",
        message="osType Legacy is not for pools",
        cel="self.osType != 'Legacy'",
        holds=lambda spec, _: spec["osType"] != OsType.LEGACY,
    ),
    *(replace(rule, path=rule.path.replace("spec", f"{MACHINE}.spec", 1)) for rule in VIRTUAL_MACHINE.rules),
    *(replace(rule, path=rule.path.replace("spec", f"{DISKS}[].spec", 1)) for rule in VIRTUAL_DISK.rules),
)

VIRTUAL_MACHINE_POOL = KINDS.add(
    Kind(
        group=GROUP,
        version=VERSION,
        kind="VirtualMachinePool",
        plural="virtualmachinepools",
        singular="virtualmachinepool",
        namespaced=True,
        model=VirtualMachinePool,
        main_condition=PoolCondition.AVAILABLE,
        short_names=("vmpool", "vmpools"),
        categories=(CATEGORY,),
        columns=(
            Column("Replicas", ".status.replicas", type="integer", description="How many machines there are"),
            Column("Ready", ".status.readyReplicas", type="integer", description="How many of them run"),
            AGE,
        ),
        rules=_RULES,
        subresources=frozenset({"status", "scale"}),
        hidden={
            "spec.virtualMachineTemplate.spec.provisioning.userData": hidden,
            "spec.virtualDiskTemplates.spec.dataSource.http.url": without_credentials,
        },
    )
)
