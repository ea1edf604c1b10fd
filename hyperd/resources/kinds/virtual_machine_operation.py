"""VirtualMachineOperation: one thing to do to a virtual machine, once."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import Field

from hyperd.resources.kinds.base import LIST_ATOMIC, Conditions, Int64, NonEmpty, Resource, Section, Timer
from hyperd.resources.kinds.virtual_image import AGE
from hyperd.resources.schema.applies import NeverAfter
from hyperd.resources.schema.kind import KINDS, AnyObject, Column, Kind
from hyperd.resources.schema.rule import Rule
from hyperd.resources.values.names import CATEGORY, GROUP, VERSION, VMOP_CLEANUP

DONE_ONCE = NeverAfter("spec is immutable: create another operation instead")


class OperationType(StrEnum):
    RESTART = "Restart"
    START = "Start"
    STOP = "Stop"
    MIGRATE = "Migrate"
    EVICT = "Evict"
    RESTORE = "Restore"
    CLONE = "Clone"


class OperationPhase(StrEnum):
    PENDING = "Pending"
    IN_PROGRESS = "InProgress"
    COMPLETED = "Completed"
    FAILED = "Failed"
    SUPERSEDED = "Superseded"
    TERMINATING = "Terminating"


FINISHED_PHASES = frozenset({OperationPhase.COMPLETED, OperationPhase.FAILED, OperationPhase.SUPERSEDED})
"""An operation in one of these is never run again."""


class OperationCondition(StrEnum):
    COMPLETED = "Completed"
    SIGNAL_SENT = "SignalSent"
    MAINTENANCE_MODE = "MaintenanceMode"
    SNAPSHOT_READY = "SnapshotReady"


class MaintenanceModeReason(StrEnum):
    """Reasons of ``MaintenanceMode``."""

    ENABLED = "MaintenanceModeEnabled"
    DISABLED = "MaintenanceModeDisabled"
    FAILURE = "MaintenanceModeFailure"


class CloneSnapshotReason(StrEnum):
    """Reasons of ``SnapshotReady``."""

    IN_PROGRESS = "SnapshotInProgress"
    READY = "SnapshotReady"
    CLEANED_UP = "SnapshotCleanedUp"
    FAILED = "SnapshotFailed"


class SignalSentReason(StrEnum):
    SUCCESS = "SignalSentSuccess"
    ERROR = "SignalSentError"


class CompletedReason(StrEnum):
    """Reasons of ``Completed``: the stage that the operation is at, or how it ended."""

    VIRTUAL_MACHINE_NOT_FOUND = "VirtualMachineNotFound"
    NOT_APPLICABLE_FOR_RUN_POLICY = "NotApplicableForVirtualMachineRunPolicy"
    NOT_APPLICABLE_FOR_PHASE = "NotApplicableForVirtualMachinePhase"
    NOT_APPLICABLE_FOR_LIVE_MIGRATION_POLICY = "NotApplicableForLiveMigrationPolicy"
    NOT_READY_TO_BE_EXECUTED = "NotReadyToBeExecuted"
    SUPERSEDED = "Superseded"
    RESTART_IN_PROGRESS = "RestartInProgress"
    START_IN_PROGRESS = "StartInProgress"
    STOP_IN_PROGRESS = "StopInProgress"
    RESTORE_IN_PROGRESS = "RestoreInProgress"
    CLONE_IN_PROGRESS = "CloneInProgress"
    MIGRATION_PENDING = "MigrationPending"
    TARGET_SCHEDULING = "TargetScheduling"
    TARGET_UNSCHEDULABLE = "TargetUnschedulable"
    TARGET_PREPARING = "TargetPreparing"
    TARGET_DISK_ERROR = "TargetDiskError"
    WAITING_FOR_SYNC_SLOT = "WaitingForSyncSlot"
    SYNCING = "Syncing"
    NOT_CONVERGING = "NotConverging"
    SOURCE_SUSPENDED = "SourceSuspended"
    TARGET_RESUMED = "TargetResumed"
    COMPLETED = "Completed"
    ABORTED = "Aborted"
    FAILED = "Failed"
    OTHER_MIGRATION_IN_PROGRESS = "OtherMigrationInProgress"
    HOTPLUG_DISKS_NOT_SHARED = "HotplugDisksNotShared"
    QUOTA_EXCEEDED = "QuotaExceeded"
    WAITING_TO_MIGRATE = "WaitingForVirtualMachineToBeReadyToMigrate"
    MIGRATION_NETWORK_UNAVAILABLE = "MigrationNetworkUnavailable"
    OPERATION_FAILED = "OperationFailed"
    OPERATION_COMPLETED = "OperationCompleted"


class OperationMode(StrEnum):
    DRY_RUN = "DryRun"
    STRICT = "Strict"
    BEST_EFFORT = "BestEffort"


class MigrateOptions(Section):
    """For Migrate: where to."""

    node_selector: dict[str, str] | None = None
    """Labels that the target node must have."""


class RestoreOptions(Section):
    """For Restore: what to go back to."""

    mode: OperationMode
    """DryRun only tells what would happen, Strict wants every object, BestEffort takes what it can."""
    virtual_machine_snapshot_name: NonEmpty
    """The snapshot to go back to."""


Affix = Annotated[str, Field(min_length=1, max_length=59)]


class CloneCustomization(Section):
    """How the clone's objects are named."""

    name_prefix: Affix | None = None
    """Put before every name."""
    name_suffix: Affix | None = None
    """Put after every name."""


class ReplacedName(Section):
    """The object to rename."""

    kind: str | None = None
    """Its kind; any when empty."""
    name: NonEmpty
    """Its name."""


class NameReplacement(Section):
    """A new name for one object."""

    from_: Annotated[ReplacedName, Field(alias="from")]
    """The object to rename."""
    to: Affix
    """Its new name."""


class CloneOptions(Section):
    """For Clone: how, and how the copies are named."""

    mode: OperationMode
    """DryRun only tells what would happen, Strict wants every object, BestEffort takes what it can."""
    customization: CloneCustomization | None = None
    """How all the clone's objects are named."""
    name_replacement: Annotated[list[NameReplacement] | None, Field(json_schema_extra=LIST_ATOMIC)] = None
    """New names for single objects."""


class VirtualMachineOperationSpec(Section):
    """What to do to which virtual machine."""

    type: OperationType
    """What to do."""
    virtual_machine_name: NonEmpty
    """To which virtual machine of the namespace."""
    force: bool | None = None
    """Without waiting for the guest to agree."""
    migrate: MigrateOptions | None = None
    """For Migrate: where to."""
    restore: RestoreOptions | None = None
    """For Restore: what to go back to."""
    clone: CloneOptions | None = None
    """For Clone: how, and how the copies are named."""


class ResourceStatus(StrEnum):
    """Of one object of a restore or clone."""

    IN_PROGRESS = "InProgress"
    COMPLETED = "Completed"
    FAILED = "Failed"


class OperationResource(Section):
    """What became of one object of a restore or clone."""

    api_version: str
    """Version of the object's API."""
    kind: str
    """Kind of the object."""
    name: str
    """Name of the object."""
    status: ResourceStatus
    """How far it is."""
    message: str | None = None
    """What happened."""


class VirtualMachineOperationStatus(Section):
    """What became of the operation."""

    phase: OperationPhase | None = None
    """State of the operation in one word."""
    progress: str | None = None
    """How much of a migration is done, such as 33%."""
    resources: list[OperationResource] = Field(default_factory=list)
    """What became of the objects of a restore or clone."""
    was_running: bool | None = None
    """Of a restore: whether the machine ran when it began, and is to run again after it."""
    conditions: Conditions = Field(default_factory=list)
    """Aspects of its state."""
    stage_timer: Timer | None = None
    """Of a migration that goes on: for how long it has been at its stage."""
    retention_timer: Timer | None = None
    """How long ago it ended."""
    observed_generation: Int64 | None = None
    """Generation of the spec that this status is about."""


class VirtualMachineOperation(Resource):
    """One thing to do to a virtual machine, once; kept for a day as a record."""

    spec: Annotated[VirtualMachineOperationSpec, DONE_ONCE]
    """What to do to which virtual machine."""
    status: VirtualMachineOperationStatus = Field(default_factory=VirtualMachineOperationStatus)
    """What became of the operation."""


def _requires(type_: OperationType, block: str) -> Rule:
    return Rule(
        path="spec",
        message=f"type {type_} requires {block}",
        cel=f"self.type != '{type_}' || has(self.{block})",
        holds=lambda spec, _: spec["type"] != type_ or block in spec,
    )


def _renames(clone: Any, _: Any) -> bool:
    customization = clone.get("customization") or {}
    return "namePrefix" in customization or "nameSuffix" in customization or bool(clone.get("nameReplacement"))


def renaming_rule(path: str) -> Rule:
    """Copies beside their originals need other names."""
    return Rule(
        path=path,
        message="one of customization.namePrefix, customization.nameSuffix and nameReplacement is required",
        cel=(
            "(has(self.customization)"
            " && (has(self.customization.namePrefix) || has(self.customization.nameSuffix)))"
            " || (has(self.nameReplacement) && size(self.nameReplacement) > 0)"
        ),
        holds=_renames,
    )


_RULES = (
    Rule(
        path="spec",
        message="type Start cannot be forced",
        cel="self.type != 'Start' || !has(self.force) || !self.force",
        holds=lambda spec, _: spec["type"] != OperationType.START or not spec.get("force"),
    ),
    Rule(
        path="spec",
        message="migrate is only for type Migrate",
        cel="self.type == 'Migrate' || !has(self.migrate)",
        holds=lambda spec, _: spec["type"] == OperationType.MIGRATE or "migrate" not in spec,
    ),
    _requires(OperationType.RESTORE, "restore"),
    _requires(OperationType.CLONE, "clone"),
    renaming_rule("spec.clone"),
)

MOVING_BUILT: Final = frozenset(f"spec.type={type_}" for type_ in (OperationType.MIGRATE, OperationType.EVICT))
"""The keys of ``VIRTUAL_MACHINE_OPERATION.unbuilt`` that do not hold where machines are Pods."""

VIRTUAL_MACHINE_OPERATION = KINDS.add(
    Kind(
        group=GROUP,
        version=VERSION,
        kind="VirtualMachineOperation",
        plural="virtualmachineoperations",
        singular="virtualmachineoperation",
        namespaced=True,
        model=VirtualMachineOperation,
        finalizer=VMOP_CLEANUP,
        main_condition=OperationCondition.COMPLETED,
        settled=(OperationPhase.COMPLETED, OperationPhase.FAILED, OperationPhase.SUPERSEDED),
        short_names=("vmop",),
        categories=(CATEGORY,),
        columns=(
            Column("Phase", ".status.phase", description="State of the operation"),
            Column("Progress", ".status.progress", description="How much of a migration is done"),
            Column("Type", ".spec.type", description="What to do"),
            Column("VirtualMachine", ".spec.virtualMachineName", description="To which virtual machine"),
            AGE,
        ),
        rules=_RULES,
        subresources=frozenset({"status"}),
        unbuilt=dict.fromkeys(
            sorted(MOVING_BUILT),
            "Only machines in Pods are migrated (kubernetes.pods): here this operation will fail.",
        ),
    )
)


def supersedes(new: AnyObject, old: AnyObject) -> bool:
    """Whether an operation of spec ``new`` takes over from an unfinished one of spec ``old``.

    No chain of such leads back to where it began. So of two that are unfinished at once the one that takes over is
    the later one, and no clock has to say so.
    """
    forced = bool(new.get("force"))
    if old["type"] == OperationType.START:
        return bool(new["type"] == OperationType.STOP)
    if old["type"] in (OperationType.STOP, OperationType.RESTART):
        return not old.get("force") and forced and new["type"] in (OperationType.STOP, OperationType.RESTART)
    if old["type"] in (OperationType.MIGRATE, OperationType.EVICT):
        return new["type"] in (OperationType.STOP, OperationType.RESTART)
    return False
