"""What is said of long work while it goes on, fails, and is tried again."""

from __future__ import annotations

from typing import Any

import pytest

from hyperd.controllers.image import transfer
from hyperd.errors import HyperdError, InternalError, PermanentError, TemporaryError
from hyperd.progress import Progress
from hyperd.resources.kinds.data_source import ReadyReason
from hyperd.resources.kinds.virtual_disk import DiskReadyReason, VirtualDiskCondition
from hyperd.resources.values.conditions import set_condition

_READY = VirtualDiskCondition.READY


def disk() -> dict[str, Any]:
    return {"metadata": {"name": "root", "generation": 1}, "status": {}}


def message(obj: dict[str, Any]) -> str:
    return str(obj["status"]["conditions"][0]["message"])


def test_why_it_failed_stays_until_the_next_try_moves() -> None:
    obj = disk()
    transfer.show_waiting(obj, None)
    assert message(obj) == "Waiting for its turn."
    set_condition(obj, _READY, False, reason=ReadyReason.PROVISIONING_FAILED, message="No space.")
    transfer.show_waiting(obj, None)
    assert message(obj) == "No space."
    transfer.show_waiting(obj, Progress(0.5, 10, 5, 5))
    assert message(obj).startswith("50.0%")


def test_another_spec_forgets_why_the_old_one_failed() -> None:
    obj = disk()
    set_condition(obj, _READY, False, reason=ReadyReason.PROVISIONING_FAILED, message="No space.")
    obj["metadata"]["generation"] = 2
    transfer.show_waiting(obj, None)
    assert message(obj) == "Waiting for its turn."


def test_what_it_waited_for_is_past_once_the_work_begins() -> None:
    obj = disk()
    set_condition(obj, _READY, False, reason=DiskReadyReason.DATASOURCE_IS_NOT_FOUND, message="No such image.")
    transfer.show_waiting(obj, None)
    assert message(obj) == "Waiting for its turn."


@pytest.mark.parametrize(
    ("err", "reason"),
    [
        (TemporaryError("No room.", key="ProvisioningPostponed"), "ProvisioningPostponed"),
        (TemporaryError("A quota.", key="QuotaExceeded"), "QuotaExceeded"),
        (PermanentError("No image."), "ProvisioningFailed"),
        (PermanentError("Too late.", key="DeadlineExceeded"), "ProvisioningFailed"),
        (InternalError("A defect."), "ProvisioningFailed"),
    ],
    ids=str,
)
def test_why_it_failed_is_one_of_the_reasons_that_the_reference_knows(err: HyperdError, reason: str) -> None:
    assert transfer.failure_reason(err) == reason


def test_what_no_longer_comes_has_no_progress_and_an_average_speed_alone() -> None:
    status: Any = {"phase": "Provisioning"}
    transfer.show_progress(status, Progress(0.5, 10, 5, 4))
    assert (status["progress"], len(status["downloadSpeed"])) == ("50.0%", 4)
    transfer.stop_progress(status)
    assert status == {"phase": "Provisioning", "downloadSpeed": {"avg": "5/s", "avgBytes": "5"}}
    transfer.stop_progress(status)
