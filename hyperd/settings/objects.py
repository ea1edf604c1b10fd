"""Where objects are kept, and for how long."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from hyperd.settings.sections import Bytes, Count, Retention, Section


class StoreSettings(Section):
    """The embedded store."""

    watch_log_events: Count = 20_000
    """How many past events a watch may resume over, also across a restart."""
    watch_log_bytes: Bytes = 128 << 20
    """What these events may take of the file at most; older ones go before."""
    namespace_bytes: Bytes = 64 << 20
    """What the objects of one namespace may take, encoded; 0 is no limit. Controllers' writes always fit, but for
    machines and disks that a pool asks for."""


class KubernetesSettings(Section):
    """The cluster that keeps the objects when ``home`` is ``kubernetes``."""

    kubeconfig: Path | None = None
    """How to reach it; none uses the service account of the Pod that the daemon runs in."""
    context: str = ""
    """Of the kubeconfig; empty means its current one."""
    lease_seconds: Annotated[float, Field(ge=3)] = 15.0
    """How long the leader's work rests at most when the leader dies."""
    node_lease_seconds: Annotated[float, Field(ge=4)] = 40.0
    """How long a node's hyperd may be silent before it counts as lost. Fencing: docs/CLUSTER.md."""
    register_node: bool = False
    """Make the Node object and report its state, as a kubelet does. Only where this node has no kubelet."""
    allow_emulation: bool = False
    """Bind machines to nodes without KVM too."""
    launcher_image: str = ""
    """The image of machines' Pods, with ``/usr/lib/hyperd/launcher``; hyperd's own has it."""
    pods: bool = Field(default_factory=lambda valid: bool(valid.get("launcher_image")))
    """Run each machine in a Pod, which the cluster's scheduler places. Needs a kubelet on each node. The default
    where there is an image for them, as in the DaemonSet of the manifests."""
    programs_dir: Path = Path("/usr/lib/hyperd")
    """Where ``python -m hyperd.launcher.build`` has put its programs on this node."""
    kubelet_dir: Path = Path("/var/lib/kubelet")
    """The kubelet's ``--root-dir``, as this daemon sees it."""
    migration_bytes_per_second: Bytes = 640 << 20
    """What a guest that moves to another node may take of the network; 0 is no limit."""

    @model_validator(mode="after")
    def _pods_have_a_kubelet_and_an_image(self) -> Self:
        if self.pods and self.register_node:
            raise ValueError("pods needs a kubelet on each node, and register_node says that this one has none")
        if self.pods and not self.launcher_image:
            raise ValueError("pods needs launcher_image, the image of machines' Pods: hyperd's own will do")
        return self


class OperationSettings(Section):
    """Retention of finished operations."""

    retention_seconds: Retention = 86_400.0
    keep_per_vm: Annotated[int, Field(ge=0)] = 10
    event_ttl_seconds: Retention = 3_600.0
