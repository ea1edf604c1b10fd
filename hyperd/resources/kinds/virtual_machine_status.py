"""What hyperd tells about a virtual machine: phases, and the status block."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from hyperd.resources.kinds.base import (
    Conditions,
    FreeForm,
    Int32,
    Int64,
    NonEmpty,
    Quantity,
    Section,
    Timer,
    Timestamp,
    one_of,
)


class VirtualMachinePhase(StrEnum):
    PENDING = "Pending"
    STARTING = "Starting"
    RUNNING = "Running"
    MIGRATING = "Migrating"
    PAUSE = "Pause"
    DEGRADED = "Degraded"
    STOPPING = "Stopping"
    STOPPED = "Stopped"
    TERMINATING = "Terminating"


class GuestOSInfo(Section):
    """What the guest agent tells about the operating system."""

    id: str | None = None
    """Short name of the system, such as debian."""
    name: str | None = None
    """Name of the system."""
    pretty_name: str | None = None
    """Name and version for people."""
    version: str | None = None
    """Version of the system."""
    version_id: str | None = None
    """Version of the system for programs."""
    kernel_release: str | None = None
    """Release of the kernel."""
    kernel_version: str | None = None
    """Version of the kernel."""
    machine: str | None = None
    """Architecture, such as x86_64."""
    variant: str | None = None
    """Variant of the system."""
    variant_id: str | None = None
    """Variant of the system for programs."""


class BlockDeviceStatus(Section):
    """One block device of the virtual machine."""

    kind: str
    """Kind of the device."""
    name: str
    """Name of the device."""
    size: str
    """Size of the device."""
    attached: bool
    """Whether the guest has it."""
    hotplugged: bool | None = None
    """Whether it was attached to the running guest."""
    target: str | None = None
    """Name that the hypervisor gave it, such as sda."""
    boot_order: Int32 | None = None
    """When the firmware tries it; the lowest first."""
    virtual_machine_block_device_attachment_name: str | None = None
    """The attachment that brought it; empty for devices of the spec."""


class MigrationResult(StrEnum):
    """How a live migration ended."""

    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class MigrationEndpoint(Section):
    """Where a migration starts or ends."""

    node: str | None = None
    """The node."""
    pod: str | None = None
    """The Pod."""


class VMMigrationState(Section):
    """The last live migration."""

    start_timestamp: Timestamp | None = None
    """When it began."""
    end_timestamp: Timestamp | None = None
    """When it ended."""
    source: MigrationEndpoint | None = None
    """Where the virtual machine came from."""
    target: MigrationEndpoint | None = None
    """Where it went."""
    result: Annotated[str, one_of("", "Succeeded", "Failed")] | None = None
    """How it ended; empty while it goes on."""


class PhaseTransition(Section):
    """When a phase began."""

    phase: VirtualMachinePhase
    """The phase."""
    timestamp: Timestamp
    """When it began."""


class LaunchTimeDuration(Section):
    """How long the steps of the last start took."""

    waiting_for_dependencies: str | None = None
    """Waiting for disks, address and class."""
    virtual_machine_starting: str | None = None
    """Starting the machine."""
    guest_os_agent_starting: Annotated[str | None, Field(alias="guestOSAgentStarting")] = None
    """Waiting for the guest agent."""


class VirtualMachineStats(Section):
    """Times of the virtual machine's life."""

    phases_transitions: list[PhaseTransition] = Field(default_factory=list)
    """When which phase began, the latest last."""
    launch_time_duration: LaunchTimeDuration | None = None
    """How long the steps of the last start took."""
    last_start_time: Timestamp | None = None
    """When the guest last started."""
    phase_timer: Timer | None = None
    """How long the phase lasts."""
    start_timer: Timer | None = None
    """How long ago the guest last started."""


class Topology(Section):
    """How the cores are laid out."""

    sockets: Int32
    """Number of sockets."""
    cores_per_socket: Int32
    """Cores of each socket."""


class CPUResources(Section):
    """Processor resources of the running instance."""

    cores: Int32
    """Number of cores."""
    core_fraction: str | None = None
    """Guaranteed share of each core."""
    requested_cores: Quantity | None = None
    """What the share amounts to, in cores."""
    runtime_overhead: Quantity | None = None
    """What running it costs on top."""
    topology: Topology | None = None
    """How the cores are laid out."""


class MemoryResources(Section):
    """Memory of the running instance."""

    size: Quantity
    """Memory of the guest."""
    runtime_overhead: Quantity | None = None
    """What running it costs on top."""


class Resources(Section):
    """Resources of the running instance; of the spec when there is none."""

    cpu: CPUResources | None = None
    """Processor."""
    memory: MemoryResources | None = None
    """Memory."""


class RestartAwaitingChange(Section):
    """A change of the spec that waits for a restart."""

    operation: Annotated[str, one_of("add", "remove", "replace")]
    """What changes: add, remove or replace."""
    path: str
    """Where in the spec, such as cpu.cores."""
    current_value: FreeForm = None
    """What runs now."""
    desired_value: FreeForm = None
    """What the spec says."""


class RecommendedCPU(Section):
    """A recommendation for the processor."""

    core_fraction: str | None = None
    """Recommended share of each core."""


class RecommendedResources(Section):
    """What would suit the load."""

    cpu: RecommendedCPU | None = None
    """Processor."""


class VirtualMachinePod(Section):
    """A Pod of the virtual machine, in the cluster home."""

    name: str
    """Name of the Pod."""
    active: bool
    """Whether the guest runs in it."""


class Versions(Section):
    """Versions of what runs the guest."""

    qemu: str | None = None
    """Version of QEMU."""
    libvirt: str | None = None
    """Version of libvirt."""


class USBAddress(Section):
    """Where the guest sees the device."""

    bus: int
    """Number of the bus."""
    port: int
    """Number of the port."""


class USBDeviceStatus(Section):
    """One USB device of the virtual machine."""

    name: str
    """Name of the device."""
    attached: bool
    """Whether the guest has it."""
    ready: bool | None = None
    """Whether the device can be attached."""
    address: USBAddress | None = None
    """Where the guest sees it."""
    hotplugged: bool | None = None
    """Whether it was attached to the running guest."""


class NetworkStatus(Section):
    """One network of the virtual machine."""

    id: Int32 | None = None
    """Number of the slot, which stays."""
    type: str
    """Main, Network or ClusterNetwork."""
    name: str | None = None
    """Name of the network."""
    mac_address: str | None = None
    """MAC address of the interface."""
    virtual_machine_mac_address_name: Annotated[str | None, Field(alias="virtualMachineMACAddressName")] = None
    """The object that keeps the MAC address."""
    ip_address: str | None = None
    """Address of the interface."""


class Holder(Section):
    """Who holds the virtual machine: the node that has its guest, or had it last."""

    epoch: Annotated[Int64, Field(ge=1)]
    """Another one with each holder; a node refuses one that is below what its guest was started with."""
    node: NonEmpty
    """The node."""
    to: str | None = None
    """The node that its guest is on its way to."""
    operation: str | None = None
    """The uid of the operation that moves it."""
    lost: bool | None = None
    """The node was given up for dead: by this epoch nothing of the virtual machine runs there any more."""
    fenced: bool | None = None
    """The node's watchdog ends the guest where the node is cut off from the cluster."""


class VirtualMachineStatus(Section):
    """What became of the virtual machine."""

    phase: VirtualMachinePhase | None = None
    """State of the virtual machine in one word."""
    node_name: str | None = None
    """The node it runs on."""
    holder: Holder | None = None
    """Who holds it, written by who does."""
    ip_address: str | None = None
    """Its address on the main network."""
    virtual_machine_ip_address_name: Annotated[str | None, Field(alias="virtualMachineIPAddressName")] = None
    """The object that keeps its address."""
    guest_os_info: Annotated[GuestOSInfo | None, Field(alias="guestOSInfo")] = None
    """What the guest agent tells about the operating system."""
    block_device_refs: list[BlockDeviceStatus] = Field(default_factory=list)
    """Block devices, of the spec and of attachments."""
    migration_state: VMMigrationState | None = None
    """The last live migration."""
    stats: VirtualMachineStats | None = None
    """Times of its life."""
    restart_awaiting_changes: list[RestartAwaitingChange] = Field(default_factory=list)
    """Changes of the spec that wait for a restart."""
    recommended_resources: RecommendedResources | None = None
    """What would suit the load."""
    virtual_machine_pods: list[VirtualMachinePod] = Field(default_factory=list)
    """Its Pods, in the cluster home."""
    versions: Versions | None = None
    """Versions of what runs it."""
    resources: Resources | None = None
    """Resources it has now."""
    usb_devices: list[USBDeviceStatus] = Field(default_factory=list)
    """Its USB devices."""
    networks: list[NetworkStatus] = Field(default_factory=list)
    """Its networks."""
    conditions: Conditions = Field(default_factory=list)
    """Aspects of its state."""
    observed_generation: Int64 | None = None
    """Generation of the spec that this status is about."""
