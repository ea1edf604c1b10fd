"""How long work shows in ``status``: progress, speed and the verdict, the same for images and disks."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeAlias

from hyperd.errors import HyperdError
from hyperd.progress import Progress
from hyperd.resources.kinds.data_source import ReadyReason
from hyperd.resources.kinds.virtual_disk import DiskReadyReason, VirtualDiskPhase
from hyperd.resources.kinds.virtual_image import ImageCondition, ImagePhase, ImageReadyReason
from hyperd.resources.schema.kind import AnyObject
from hyperd.resources.values.conditions import find_condition, set_condition
from hyperd.resources.values.quantity import format_human

if TYPE_CHECKING:
    from hyperd.resources.views.cluster_virtual_image import ClusterVirtualImageStatus
    from hyperd.resources.views.data_source import ImageSize
    from hyperd.resources.views.virtual_disk import VirtualDiskStatus
    from hyperd.resources.views.virtual_image import VirtualImageStatus
    from hyperd.runtime.recorder import EventRecorder

    Status: TypeAlias = VirtualDiskStatus | VirtualImageStatus | ClusterVirtualImageStatus


def scaled(progress: Progress, *, start: float, end: float) -> Progress:
    """A stage's progress as part of the whole: 0..1 becomes ``start``..``end``."""
    if progress.fraction is None:
        return progress
    return replace(progress, fraction=start + (end - start) * progress.fraction)


_STARTED: Final = "DataSourceImportStarted"
COMPLETED: Final = "DataSourceImportCompleted"
FAILED: Final = "DataSourceImportFailed"
QUOTA: Final = "DataSourceQuotaExceed"
POSTPONED: Final = "ImageOperationPostponedDueToDVCRGarbageCollection"
CONTINUED: Final = "ImageOperationContinueAfterDVCRGarbageCollection"
"""Reasons of events, as the reference has them."""
DOUBTFUL = "UnknownContent"
"""Reason of the event about an image that is kept though nothing in it looks like a disk."""

_MOST_PERCENT = 99.9
"""The rest comes with the phase Ready: who waits for 100 % finds something that can be used."""

_READY: Final = ImageCondition.READY
"""A disk's is called the same."""

_OVER: Final = (
    ReadyReason.PROVISIONING,
    ReadyReason.PROVISIONING_NOT_STARTED,
    ImageReadyReason.DATASOURCE_NOT_READY,
    DiskReadyReason.DATASOURCE_IS_NOT_READY,
    DiskReadyReason.DATASOURCE_IS_NOT_FOUND,
    DiskReadyReason.STORAGE_CLASS_IS_NOT_READY,
    DiskReadyReason.WAITING_FOR_FIRST_CONSUMER,
)
"""Reasons of ``Ready`` that are past once the work has begun."""


_BEGUN: Final = (ImagePhase.PROVISIONING, ImagePhase.WAIT_FOR_USER_UPLOAD)
"""Phases of what is being made; a disk's are called the same."""


def show_progress(status: Status, progress: Progress | None) -> None:
    """Write percent and speed; "0.0%" before the first byte."""
    status["progress"] = _percent((progress.fraction if progress else 0.0) or 0.0)
    if progress is None or not progress.transferred_bytes:
        return
    status["downloadSpeed"] = {
        "avg": f"{format_human(progress.average_speed)}/s",
        "avgBytes": str(progress.average_speed),
        "current": f"{format_human(progress.current_speed)}/s",
        "currentBytes": str(progress.current_speed),
    }


def stop_progress(status: Status) -> None:
    """Nothing arrives any more, and nothing is made: of the speed the average is left."""
    status.pop("progress", None)
    if speed := status.get("downloadSpeed"):
        status["downloadSpeed"] = {"avg": speed["avg"], "avgBytes": speed["avgBytes"]}


def _percent(fraction: float) -> str:
    return f"{min(100 * fraction, _MOST_PERCENT):.1f}%"


def progress_message(progress: Progress | None) -> str:
    """A sentence with percent, speed and the time left, as far as they are known."""
    if progress is None:
        return "Waiting for its turn."
    speed = f"{format_human(progress.current_speed)}/s"
    if progress.fraction is None:
        return f"{format_human(progress.transferred_bytes)} received, {speed}."
    text = f"{_percent(progress.fraction)}, {speed}"
    if 0 < progress.fraction < 1 and progress.average_speed:
        total = progress.transferred_bytes / progress.fraction
        left = int((total - progress.transferred_bytes) / progress.average_speed)
        text += f", about {left // 60} min {left % 60} s left" if left >= 60 else f", about {left} s left"
    return f"{text}."


def show_waiting(obj: AnyObject, progress: Progress | None) -> None:
    """The condition Ready while the work goes on; why it failed before stays until there is something newer."""
    ready = find_condition(obj, _READY)
    if progress is None and ready is not None:
        current = ready["observedGeneration"] == obj["metadata"]["generation"]
        if current and ready["reason"] not in _OVER:
            return
    set_condition(obj, _READY, False, reason=ReadyReason.PROVISIONING, message=progress_message(progress))


def was_postponed(obj: AnyObject) -> bool:
    """Whether the work waits, or has waited until now, for the registry's garbage collection."""
    ready = find_condition(obj, _READY)
    return ready is not None and ready["reason"] == ReadyReason.PROVISIONING_POSTPONED


def show_begun(events: EventRecorder, obj: AnyObject, phase: ImagePhase | VirtualDiskPhase) -> None:
    """It is in ``phase``, of what is being made; an event tells of the first."""
    status = obj["status"]
    if status.get("phase") not in _BEGUN:
        type_ = (obj["spec"].get("dataSource") or {}).get("type") or "blank"
        events.event(obj, "Normal", _STARTED, f"The import of the {type_} data source has begun.")
    status["phase"] = phase


def show_going_on(events: EventRecorder, obj: AnyObject, progress: Progress | None) -> None:
    """``show_waiting``, and what waited for the registry goes on once something comes."""
    if progress is not None:
        tell_continued(events, obj)
    show_waiting(obj, progress)


def tell_continued(events: EventRecorder, obj: AnyObject) -> None:
    """An event about work that waited for the registry's garbage collection until now."""
    if was_postponed(obj):
        events.event(obj, "Normal", CONTINUED, "The registry's garbage collection is over: the work goes on.")


def show_failure(events: EventRecorder, obj: AnyObject, err: HyperdError) -> None:
    """The condition Ready after ``err``; what has to wait for the registry begins to."""
    reason = failure_reason(err)
    if reason is ReadyReason.PROVISIONING_POSTPONED and not was_postponed(obj):
        events.event(obj, "Normal", POSTPONED, err.message)
    mismatch = DiskReadyReason.STORAGE_CLASS_PROVISIONER_MISMATCH
    told = mismatch if getattr(err, "key", "") == mismatch else reason
    set_condition(obj, _READY, False, reason=told, message=err.message)


def failure_reason(err: HyperdError) -> ReadyReason:
    """Reason of ``Ready`` after a failure: the one that ``err`` carries, else merely that it failed."""
    try:
        return ReadyReason(getattr(err, "key", ""))
    except ValueError:
        return ReadyReason.PROVISIONING_FAILED


def finish_progress(status: Status, average_speed: int) -> None:
    """After success only the averages remain."""
    status["progress"] = "100%"
    if average_speed:
        status["downloadSpeed"] = {
            "avg": f"{format_human(average_speed)}/s",
            "avgBytes": str(average_speed),
        }


def sizes(stored_bytes: int, unpacked_bytes: int) -> ImageSize:
    """``status.size`` of an image."""
    return {
        "stored": format_human(stored_bytes),
        "storedBytes": str(stored_bytes),
        "unpacked": format_human(unpacked_bytes),
        "unpackedBytes": str(unpacked_bytes),
    }
