"""Why an object that another one is made of, or taken of, is not to be had yet, in the same words everywhere."""

from __future__ import annotations

from hyperd.resources.kinds.virtual_disk_snapshot import SnapshotPhase
from hyperd.resources.schema.kind import AnyObject, Kind
from hyperd.resources.values.meta import is_deleting


def unready(kind: Kind, name: str, obj: AnyObject | None) -> str:
    """A sentence, empty where ``obj``, whose kind has the phases Pending and Ready, is Ready and stays."""
    if obj is None:
        return f'{kind.kind} "{name}" does not exist.'
    if is_deleting(obj):
        return f'{kind.kind} "{name}" is being deleted.'
    phase = (obj.get("status") or {}).get("phase") or SnapshotPhase.PENDING
    return "" if phase == SnapshotPhase.READY else f'{kind.kind} "{name}" is {phase}, not Ready.'
