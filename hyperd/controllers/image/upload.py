"""How an upload that is waited for shows in a status: what is to be sent, and where to.

The address ends in a secret. It stands in the status alone, which those who may read the object and not change it
see without it; so it outlives a restart, and is another one for each object and each change of its spec.
"""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Final, TypeAlias

from hyperd.progress import Progress
from hyperd.resources.kinds.data_source import DataSourceType, ReadyReason
from hyperd.resources.kinds.virtual_image import ImageCondition
from hyperd.resources.schema.kind import AnyObject, Kind
from hyperd.resources.values.conditions import set_condition
from registry.intake import Intake
from registry.models import Addressee

if TYPE_CHECKING:
    from hyperd.controllers.image.transfer import Status
    from hyperd.resources.views.cluster_virtual_image import ClusterImageDataSource
    from hyperd.resources.views.data_source import ImageDataSource, ImageUploadURLs
    from hyperd.resources.views.virtual_disk import DiskDataSource

    DataSource: TypeAlias = ImageDataSource | ClusterImageDataSource | DiskDataSource

_SECRET_BYTES: Final = 16
_SECRET = re.compile(r"[0-9a-f]{32}")
"""The reference has 32 letters and digits."""
_READY: Final = ImageCondition.READY
"""A disk's is called the same."""


def addressee_of(kind: Kind, obj: AnyObject, source: DataSource | None) -> Addressee | None:
    """For whom an upload would be, by the address that the status of ``obj`` shows, or a new one.

    None where its source is no upload.
    """
    if source is None or source.get("type") != DataSourceType.UPLOAD:
        return None
    meta, urls = obj["metadata"], (obj.get("status") or {}).get("imageUploadURLs") or {}
    shown = (url.rpartition("/")[2] for url in urls.values())
    secret = next((text for text in shown if _SECRET.fullmatch(text)), "")
    secret = secret or secrets.token_hex(_SECRET_BYTES)
    return Addressee(kind.kind, kind.plural, meta.get("namespace", ""), meta["name"], secret)


def show_waiting(
    kind: Kind, obj: AnyObject, status: Status, progress: Progress, intake: Intake, addressee: Addressee
) -> None:
    """``obj``, whose ``status`` it is, waits for somebody to send its content."""
    urls: ImageUploadURLs = {}
    known = intake.urls(addressee.secret)
    if known.external:
        urls["external"] = known.external
    if known.internal:
        urls["inCluster"] = known.internal
    if urls:
        status["imageUploadURLs"] = urls
    status["progress"] = "0%"
    status.pop("downloadSpeed", None)
    where = f" -n {addressee.namespace}" if addressee.namespace else ""
    message = f"{progress.waits} Send it with: hv upload FILE {kind.short_names[0]}/{addressee.name}{where}"
    if urls:
        message += ", or with curl -T FILE to an address in status.imageUploadURLs"
    set_condition(obj, _READY, False, reason=ReadyReason.WAIT_FOR_USER_UPLOAD, message=f"{message}.")


def forget(status: Status) -> None:
    """Nothing is taken any more at the address that was shown."""
    status.pop("imageUploadURLs", None)
