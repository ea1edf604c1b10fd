"""VirtualMachine: what the machine shall be, and its declaration as a kind."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import Field

from hyperd.resources.kinds.base import LIST_ATOMIC, NonEmpty, QuantityText, Resource, Section
from hyperd.resources.kinds.placement import Affinity, Toleration, TopologySpreadConstraint
from hyperd.resources.kinds.virtual_image import AGE
from hyperd.resources.kinds.virtual_machine_conditions import VirtualMachineCondition
from hyperd.resources.kinds.virtual_machine_status import VirtualMachineStatus
from hyperd.resources.schema.applies import LIVE, RESTART, UNLISTED, Restart
from hyperd.resources.schema.hidden import hidden
from hyperd.resources.schema.kind import KINDS, Column, Kind
from hyperd.resources.schema.rule import Rule
from hyperd.resources.values.names import CATEGORY, GROUP, MAX_BLOCK_DEVICES, VERSION, VM_CLEANUP

LEGACY_MAX_DEVICES = 4
"""An IDE bus has room for four."""
_CLOUD_INIT = "With paravirtualization, leaving out what cloud-init is given is live."
_PLACED = Restart(live="In a cluster a guest that can be moved is moved where it may not be any more.")
_HOT_PLUG = "With paravirtualization and another osType than Legacy, devices come and go while it runs."


class RunPolicy(StrEnum):
    ALWAYS_ON = "AlwaysOn"
    ALWAYS_OFF = "AlwaysOff"
    MANUAL = "Manual"
    ALWAYS_ON_UNLESS_STOPPED_MANUALLY = "AlwaysOnUnlessStoppedManually"


class RestartApprovalMode(StrEnum):
    MANUAL = "Manual"
    AUTOMATIC = "Automatic"


class OsType(StrEnum):
    GENERIC = "Generic"
    WINDOWS = "Windows"
    LEGACY = "Legacy"


class Bootloader(StrEnum):
    BIOS = "BIOS"
    EFI = "EFI"
    EFI_WITH_SECURE_BOOT = "EFIWithSecureBoot"


class LiveMigrationPolicy(StrEnum):
    ALWAYS_SAFE = "AlwaysSafe"
    PREFER_SAFE = "PreferSafe"
    ALWAYS_FORCED = "AlwaysForced"
    PREFER_FORCED = "PreferForced"


class BlockDeviceKind(StrEnum):
    CLUSTER_VIRTUAL_IMAGE = "ClusterVirtualImage"
    VIRTUAL_IMAGE = "VirtualImage"
    VIRTUAL_DISK = "VirtualDisk"


class ProvisioningType(StrEnum):
    USER_DATA = "UserData"
    USER_DATA_REF = "UserDataRef"
    SYSPREP_REF = "SysprepRef"


class NetworkType(StrEnum):
    MAIN = "Main"
    NETWORK = "Network"
    CLUSTER_NETWORK = "ClusterNetwork"


def networks_built(types: Iterable[NetworkType]) -> frozenset[str]:
    """The keys of ``VIRTUAL_MACHINE.unbuilt`` that do not hold where networks of ``types`` are served."""
    return frozenset(f"spec.networks[].type={type_}" for type_ in types)


MIGRATION_BUILT: Final = frozenset(f"spec.liveMigrationPolicy={policy}" for policy in LiveMigrationPolicy)
"""The keys of ``VIRTUAL_MACHINE.unbuilt`` that do not hold where machines are Pods."""


class CPU(Section):
    """Processor of the virtual machine."""

    cores: Annotated[int, Field(ge=1), RESTART]
    """Number of cores, 1 to 248: any up to 16, multiples of 2 up to 32, of 4 up to 64, of 8 beyond."""
    core_fraction: Annotated[str, Field(pattern=r"^(Auto|(100|[1-9][0-9]?)%)$"), RESTART] | None = None
    """Guaranteed share of each core, such as 20%; the class's default, else 100%."""


class Memory(Section):
    """Memory of the virtual machine."""

    size: Annotated[QuantityText, RESTART]
    """Memory of the guest, such as 4Gi."""


class BlockDeviceRef(Section):
    """A disk or image to attach."""

    kind: BlockDeviceKind | None = None
    """What it is; images are attached read-only."""
    name: NonEmpty | None = None
    """Its name."""
    boot_order: Annotated[int, Field(ge=1), UNLISTED] | None = None
    """When the firmware tries it, the lowest first; the order of the list when none is given."""


class Disruptions(Section):
    """How changes that need a restart are applied."""

    restart_approval_mode: RestartApprovalMode = RestartApprovalMode.MANUAL
    """Whether somebody restarts it, or hyperd does so by itself."""


class SecretKind(StrEnum):
    SECRET = "Secret"  # noqa: S105  the name of a kind


class ProvisioningRef(Section):
    """An object with the answers to the first boot's questions."""

    kind: SecretKind = SecretKind.SECRET
    """Kind of the object: Secret."""
    name: NonEmpty
    """Name of the object."""


class Provisioning(Section):
    """How the guest configures itself on its first boot."""

    type: ProvisioningType
    """Where the configuration is."""
    user_data: Annotated[str, Field(max_length=2048)] | None = None
    """For UserData: the cloud-init user data, up to 2048 bytes."""
    user_data_ref: ProvisioningRef | None = None
    """For UserDataRef: a Secret of type provisioning.virtualization.deckhouse.io/cloud-init."""
    sysprep_ref: ProvisioningRef | None = None
    """For SysprepRef: a Secret of type provisioning.virtualization.deckhouse.io/sysprep."""


class Network(Section):
    """A network to attach to."""

    type: NetworkType
    """Main is the virtual machines' own network; others need a name."""
    name: NonEmpty | None = None
    """Name of the network."""
    id: Annotated[int, Field(ge=1, le=16383), UNLISTED] | None = None
    """Number of the slot, which keeps the interface's name in the guest; chosen when empty."""
    virtual_machine_mac_address_name: Annotated[NonEmpty | None, Field(alias="virtualMachineMACAddressName")] = (
        None
    )
    """The object that keeps the MAC address."""
    ip_address_name: Annotated[NonEmpty | None, Field(alias="ipAddressName")] = None
    """The object that keeps the address."""


class USBDeviceRef(Section):
    """A USB device to attach."""

    name: NonEmpty
    """Name of the device."""


class GPU(Section):
    """A graphics processor to attach."""

    gpu_class_name: Annotated[
        str, Field(alias="gpuClassName", pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)
    ]
    """Class of the processor."""


class VirtualMachineSpec(Section):
    """What the virtual machine shall be."""

    virtual_machine_class_name: Annotated[str, RESTART] = Field(default_factory=str)
    """Class that decides the processor and limits the sizes; admission fills in the default class when empty."""
    run_policy: Annotated[RunPolicy, LIVE] = RunPolicy.ALWAYS_ON_UNLESS_STOPPED_MANUALLY
    """When it runs. AlwaysOnUnlessStoppedManually keeps it off after a power-off inside the guest."""
    cpu: Annotated[CPU, RESTART]
    """Processor."""
    memory: Annotated[Memory, RESTART]
    """Memory."""
    block_device_refs: Annotated[
        list[BlockDeviceRef], Field(min_length=1, max_length=MAX_BLOCK_DEVICES), Restart(live=_HOT_PLUG)
    ]
    """Disks and images, 1 to 16; the first one is tried first at boot."""
    disruptions: Annotated[Disruptions, LIVE] = Disruptions()
    """How changes that need a restart are applied."""
    termination_grace_period_seconds: Annotated[
        int, Field(ge=0, json_schema_extra={"format": "int64"}), RESTART
    ] = 60
    """How long a shutdown may take before the machine is switched off."""
    os_type: Annotated[OsType, RESTART] = OsType.GENERIC
    """Family of the guest's system, which decides the devices it sees."""
    bootloader: Annotated[Bootloader, RESTART] = Bootloader.BIOS
    """Firmware that boots it. EFIWithSecureBoot starts only what Microsoft's keys have signed."""
    enable_paravirtualization: Annotated[bool, RESTART] = True
    """Whether devices are virtio; off for systems without its drivers."""
    provisioning: Annotated[Provisioning, Restart(live=_CLOUD_INIT)] | None = None
    """How the guest configures itself on its first boot."""
    live_migration_policy: Annotated[LiveMigrationPolicy, LIVE] = LiveMigrationPolicy.PREFER_SAFE
    """Whether a migration may slow the guest down to finish."""
    virtual_machine_ip_address_name: Annotated[
        NonEmpty | None, Field(alias="virtualMachineIPAddressName"), RESTART
    ] = None
    """The VirtualMachineIPAddress to use; one is made when empty."""
    networks: Annotated[list[Network], Field(json_schema_extra=LIST_ATOMIC), RESTART] | None = None
    """Networks to attach to; only Main when empty."""
    node_selector: Annotated[dict[str, str], _PLACED] | None = None
    """Labels that the node must have."""
    tolerations: Annotated[list[Toleration], Field(json_schema_extra=LIST_ATOMIC), _PLACED] | None = None
    """Taints of nodes it puts up with."""
    affinity: Annotated[Affinity, _PLACED] | None = None
    """What it wants to be near to, and far from."""
    topology_spread_constraints: Annotated[
        list[TopologySpreadConstraint] | None, Field(json_schema_extra=LIST_ATOMIC), RESTART
    ] = None
    """How evenly virtual machines are spread."""
    priority_class_name: Annotated[str, RESTART] | None = None
    """PriorityClass, for the scheduler."""
    usb_devices: Annotated[list[USBDeviceRef], Field(max_length=8, json_schema_extra=LIST_ATOMIC), LIVE] | None = (
        None
    )
    """USB devices to attach."""
    gpus: Annotated[list[GPU], Field(max_length=16, json_schema_extra=LIST_ATOMIC), RESTART] | None = None
    """Graphics processors to attach."""


class VirtualMachine(Resource):
    """A virtual machine of one namespace."""

    spec: VirtualMachineSpec
    """What the virtual machine shall be."""
    status: VirtualMachineStatus = Field(default_factory=VirtualMachineStatus)
    """What became of the virtual machine."""


_PROVISIONING_BLOCKS = {
    ProvisioningType.USER_DATA: "userData",
    ProvisioningType.USER_DATA_REF: "userDataRef",
    ProvisioningType.SYSPREP_REF: "sysprepRef",
}


def _provisioning_rule(type_: ProvisioningType, own: str) -> Rule:
    others = [block for block in _PROVISIONING_BLOCKS.values() if block != own]

    def holds(value: Any, _: Any) -> bool:
        return value["type"] != type_ or (own in value and not any(other in value for other in others))

    terms = " && ".join([f"has(self.{own})", *(f"!has(self.{other})" for other in others)])
    return Rule(
        path="spec.provisioning",
        message=f"{type_} requires {own} and cannot have {' or '.join(others)}",
        cel=f"self.type != '{type_}' || ({terms})",
        holds=holds,
    )


def _legacy_rule(message: str, cel: str, holds: Any) -> Rule:
    return Rule(
        path="spec",
        message=message,
        cel=f"self.osType != 'Legacy' || {cel}",
        holds=lambda value, _: value["osType"] != OsType.LEGACY or holds(value),
    )


_RULES = (
    *(_provisioning_rule(type_, own) for type_, own in _PROVISIONING_BLOCKS.items()),
    Rule(
        path="spec.provisioning",
        message="userData may not be longer than 2048 bytes: use UserDataRef",
        cel="!has(self.userData) || size(bytes(self.userData)) <= 2048",
        holds=lambda value, _: len(value.get("userData", "").encode()) <= 2048,
    ),
    _legacy_rule(
        "osType Legacy boots by BIOS only",
        "self.bootloader == 'BIOS'",
        lambda spec: spec["bootloader"] == Bootloader.BIOS,
    ),
    _legacy_rule(
        "osType Legacy cannot have provisioning",
        "!has(self.provisioning)",
        lambda spec: "provisioning" not in spec,
    ),
    _legacy_rule(
        f"osType Legacy without paravirtualization can have at most {LEGACY_MAX_DEVICES} block devices",
        f"self.enableParavirtualization || size(self.blockDeviceRefs) <= {LEGACY_MAX_DEVICES}",
        lambda spec: spec["enableParavirtualization"] or len(spec["blockDeviceRefs"]) <= LEGACY_MAX_DEVICES,
    ),
)

_NO_MIGRATION = "Only machines in Pods are migrated (kubernetes.pods): here the policy has no effect."
_NOT_WEIGHED = "not built yet: where the machine runs is chosen without it."


_NO_NETWORK = "Networks of this type are not built; the machine gets no card for it."


def _condition_path(type_: str) -> str:
    return f".status.conditions[?(@.type=='{type_}')].status"


VIRTUAL_MACHINE = KINDS.add(
    Kind(
        group=GROUP,
        version=VERSION,
        kind="VirtualMachine",
        plural="virtualmachines",
        singular="virtualmachine",
        namespaced=True,
        model=VirtualMachine,
        finalizer=VM_CLEANUP,
        main_condition=VirtualMachineCondition.RUNNING,
        settled=("Running", "Stopped"),
        short_names=("vm",),
        categories=("all", CATEGORY),
        columns=(
            Column("Phase", ".status.phase", description="State of the virtual machine"),
            Column("Uptime", ".status.stats.lastStartTime", type="date", description="Since its last start"),
            Column("Cores", ".status.resources.cpu.cores", priority=1, description="Number of cores"),
            Column(
                "CoreFraction", ".status.resources.cpu.coreFraction", priority=1, description="Share of a core"
            ),
            Column("Memory", ".status.resources.memory.size", priority=1, description="Memory of the guest"),
            Column(
                "Need restart",
                _condition_path("AwaitingRestartToApplyConfiguration"),
                priority=1,
                description="Whether changes wait for a restart",
            ),
            Column("Agent", _condition_path("AgentReady"), priority=1, description="Whether the agent answers"),
            Column("Migratable", _condition_path("Migratable"), priority=1, description="Whether it can migrate"),
            Column("Node", ".status.nodeName", description="Where it runs"),
            Column("IPAddress", ".status.ipAddress", description="Its address on the main network"),
            AGE,
        ),
        rules=_RULES,
        subresources=frozenset({"status"}),
        hidden={"spec.provisioning.userData": hidden},
        unbuilt={
            "spec.networks[].type=Network": _NO_NETWORK,
            "spec.networks[].type=ClusterNetwork": _NO_NETWORK,
            "spec.usbDevices": "USB devices are not built yet and are not attached.",
            "spec.affinity.virtualMachineAndPodAffinity": f"nearness to other machines is {_NOT_WEIGHED}",
            "spec.affinity.virtualMachineAndPodAntiAffinity": f"distance from other machines is {_NOT_WEIGHED}",
            "spec.topologySpreadConstraints": f"topologySpreadConstraints is {_NOT_WEIGHED}",
            "spec.priorityClassName": f"priorityClassName is {_NOT_WEIGHED}",
            # The default is in every object, and nobody asked for it.
            **{
                f"spec.liveMigrationPolicy={policy}": _NO_MIGRATION
                for policy in LiveMigrationPolicy
                if policy is not LiveMigrationPolicy.PREFER_SAFE
            },
        },
        refused={
            "spec.gpus": "Graphics processors are not built: leave them out.",
            "spec.cpu.coreFraction=Auto": (
                "Automatic scaling of the core fraction is not built: give a share such as 20%."
            ),
        },
    )
)
