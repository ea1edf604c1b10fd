"""Words of Nodes that are Kubernetes' own: condition types, and effects of taints."""

from __future__ import annotations

from enum import StrEnum


class NodeConditionType(StrEnum):
    READY = "Ready"
    MEMORY_PRESSURE = "MemoryPressure"
    DISK_PRESSURE = "DiskPressure"
    PID_PRESSURE = "PIDPressure"


class NodeReason(StrEnum):
    """Reasons of a Node's conditions, as a kubelet gives them."""

    READY = "KubeletReady"
    NOT_READY = "KubeletNotReady"
    MEMORY_PRESSURE = "KubeletHasMemoryPressure"
    SUFFICIENT_MEMORY = "KubeletHasSufficientMemory"
    DISK_PRESSURE = "KubeletHasDiskPressure"
    NO_DISK_PRESSURE = "KubeletHasNoDiskPressure"
    PID_PRESSURE = "KubeletHasPIDPressure"
    SUFFICIENT_PID = "KubeletHasSufficientPID"


class TaintEffect(StrEnum):
    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"
