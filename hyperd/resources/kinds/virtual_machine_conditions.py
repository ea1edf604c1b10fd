"""The types of a virtual machine's conditions, and their reasons."""

from __future__ import annotations

from enum import StrEnum


class VirtualMachineCondition(StrEnum):
    IP_ADDRESS_READY = "VirtualMachineIPAddressReady"
    MAC_ADDRESS_READY = "VirtualMachineMACAddressReady"
    CLASS_READY = "VirtualMachineClassReady"
    BLOCK_DEVICES_READY = "BlockDevicesReady"
    PROVISIONING_READY = "ProvisioningReady"
    RUNNING = "Running"
    MIGRATABLE = "Migratable"
    MIGRATING = "Migrating"
    AGENT_READY = "AgentReady"
    AGENT_VERSION_NOT_SUPPORTED = "AgentVersionNotSupported"
    CONFIGURATION_APPLIED = "ConfigurationApplied"
    AWAITING_RESTART = "AwaitingRestartToApplyConfiguration"
    SIZING_POLICY_MATCHED = "SizingPolicyMatched"
    FILESYSTEM_FROZEN = "FilesystemFrozen"
    SNAPSHOTTING = "Snapshotting"
    FIRMWARE_UP_TO_DATE = "FirmwareUpToDate"
    EVICTION_REQUIRED = "EvictionRequired"
    NETWORK_READY = "NetworkReady"
    MAINTENANCE = "Maintenance"
    GPU_CLASS_READY = "GPUClassReady"
    CORE_FRACTION_AUTOSCALING = "CoreFractionAutoscaling"


class IPAddressReason(StrEnum):
    READY = "VirtualMachineIPAddressReady"
    NOT_READY = "VirtualMachineIPAddressNotReady"
    NOT_ASSIGNED = "VirtualMachineIPAddressNotAssigned"
    NOT_AVAILABLE = "VirtualMachineIPAddressNotAvailable"


class MACAddressReason(StrEnum):
    READY = "VirtualMachineMACAddressReady"
    NOT_READY = "VirtualMachineMACAddressNotReady"
    NOT_AVAILABLE = "VirtualMachineMACAddressNotAvailable"


class ClassReason(StrEnum):
    READY = "VirtualMachineClassReady"
    NOT_READY = "VirtualMachineClassNotReady"


class BlockDevicesReason(StrEnum):
    READY = "BlockDevicesReady"
    WAITING_FOR_FIRST_CONSUMER = "WaitingForWaitForFirstConsumerBlockDevicesToBeReady"
    NOT_READY = "BlockDevicesNotReady"
    LIMIT_EXCEEDED = "BlockDeviceLimitExceeded"


class ProvisioningReason(StrEnum):
    READY = "ProvisioningReady"
    READY_WITH_WARNINGS = "ProvisioningReadyWithWarnings"
    NOT_READY = "ProvisioningNotReady"


class RunningReason(StrEnum):
    RUNNING = "Running"
    NOT_RUNNING = "NotRunning"
    NO_BOOTABLE_DEVICE = "NoBootableDevice"
    INTERNAL_ERROR = "InternalVirtualMachineError"
    POD_NOT_STARTED = "PodNotStarted"
    POD_TERMINATING = "PodTerminating"
    POD_NOT_FOUND = "PodNotFound"
    POD_CONDITION_MISSING = "PodConditionMissing"
    GUEST_NOT_RUNNING = "GuestNotRunning"
    QUOTA_EXCEEDED = "QuotaExceeded"
    NODE_LOST = "NodeLost"


class MigratableReason(StrEnum):
    MIGRATABLE = "VirtualMachineMigratable"
    NON_MIGRATABLE = "VirtualMachineNonMigratable"
    DISKS_NOT_MIGRATABLE = "VirtualMachineDisksNotMigratable"
    DISKS_SHOULD_BE_MIGRATING = "VirtualMachineDisksShouldBeMigrating"
    HOST_DEVICES_NOT_MIGRATABLE = "VirtualMachineHostDevicesNotMigratable"
    NO_TARGET = "VirtualMachineNoMigrationTarget"
    """The guest can go, but no other node is one that it may be on."""
    WAITING_FOR_TARGET = "VirtualMachineWaitingForMigrationTarget"
    """There are such nodes, and none takes guests now."""


class MigratingReason(StrEnum):
    PENDING = "Pending"
    READY_TO_MIGRATE = "ReadyToMigrate"
    IN_PROGRESS = "InProgress"


class AgentReason(StrEnum):
    READY = "AgentReady"
    NOT_READY = "AgentNotReady"


class AwaitingRestartReason(StrEnum):
    CHANGES_PENDING = "ChangesPendingRestart"
    UNEXPECTED_STATE = "UnexpectedState"


class ConfigurationReason(StrEnum):
    """Of ``ConfigurationApplied``, which is only present when False."""

    NOT_APPLIED = "ConfigurationNotApplied"


class SizingPolicyReason(StrEnum):
    NOT_MATCHED = "SizingPolicyNotMatched"
    CLASS_NOT_FOUND = "VirtualMachineClassNotFound"
    CLASS_TERMINATING = "VirtualMachineClassTerminating"


class NetworkReason(StrEnum):
    READY = "NetworkReady"
    NOT_READY = "NetworkNotReady"
    SDN_MODULE_DISABLED = "SDNModuleDisabled"


class EvictionReason(StrEnum):
    """Of ``EvictionRequired``, which is only present when True."""

    REQUIRED = "EvictionRequired"


class FirmwareReason(StrEnum):
    """Of ``FirmwareUpToDate``, which is only present when False."""

    OUT_OF_DATE = "FirmwareOutOfDate"


class FrozenReason(StrEnum):
    """Of ``FilesystemFrozen``, which is only present when True."""

    FROZEN = "Frozen"


class SnapshottingReason(StrEnum):
    """Of ``Snapshotting``, which is only present when True."""

    WAITING = "WaitingForTheSnapshotToStart"
    IN_PROGRESS = "SnapshottingInProgress"


class MaintenanceReason(StrEnum):
    """Of ``Maintenance``, which is only present when True."""

    RESTORE = "RestoreInProgress"
