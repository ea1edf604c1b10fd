"""What every object has: names, owners, finalizers, labels, times.

Small functions over the JSON object, for those who must not pay for a typed view.
"""

from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple, cast

from hyperd import clock
from hyperd.resources.schema.kind import AnyObject, Object


class Key(NamedTuple):
    """Where an object is within its kind; ``namespace`` is empty for cluster kinds."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


def now_rfc3339() -> str:
    """Now, in UTC and whole seconds, as Kubernetes writes times."""
    return _at_second(int(clock.wall()))


@lru_cache(maxsize=2)
def _at_second(second: int) -> str:
    # Many writes fall into the same second, and strftime is slow.
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def now_micro() -> str:
    """Now, in UTC, as Kubernetes' MicroTime, which Leases use."""
    return clock.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_time(text: str) -> datetime:
    """An RFC 3339 time, aware and in UTC. Raises ValueError."""
    return datetime.fromisoformat(text).astimezone(UTC)


def go_duration(seconds: float) -> str:
    """As Go writes a duration of whole seconds: ``5s``, ``1m5s``, ``1h0m5s``; never negative."""
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{rest}s"
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def metadata(obj: Object) -> Object:
    """The object's metadata, made when missing; not copied."""
    return cast(Object, obj.setdefault("metadata", {}))


def key(obj: AnyObject) -> Key:
    """Namespace and name of ``obj``."""
    meta = obj.get("metadata") or {}
    return Key(meta.get("namespace", ""), meta.get("name", ""))


def uid(obj: AnyObject) -> str:
    return cast(str, (obj.get("metadata") or {}).get("uid", ""))


def labels(obj: AnyObject) -> dict[str, str]:
    """The labels, empty when there are none; not for writing."""
    return cast(dict[str, str], (obj.get("metadata") or {}).get("labels") or {})


def annotations(obj: AnyObject) -> dict[str, str]:
    """The annotations, empty when there are none; not for writing."""
    return cast(dict[str, str], (obj.get("metadata") or {}).get("annotations") or {})


def generation(obj: AnyObject) -> int:
    return cast(int, (obj.get("metadata") or {}).get("generation", 0))


def is_deleting(obj: AnyObject) -> bool:
    """Whether somebody asked to delete it and finalizers hold it."""
    return bool((obj.get("metadata") or {}).get("deletionTimestamp"))


def add_finalizer(obj: Object, name: str) -> bool:
    """Add in place; whether it was missing."""
    finalizers = metadata(obj).setdefault("finalizers", [])
    if name in finalizers:
        return False
    finalizers.append(name)
    return True


def remove_finalizer(obj: Object, name: str) -> bool:
    """Remove in place; whether it was there. An empty list goes too."""
    meta = metadata(obj)
    finalizers = meta.get("finalizers") or []
    if name not in finalizers:
        return False
    kept = [other for other in finalizers if other != name]
    if kept:
        meta["finalizers"] = kept
    else:
        del meta["finalizers"]
    return True


def owner_reference(owner: AnyObject, *, controller: bool = True, block: bool = True) -> Object:
    """A reference to ``owner`` for ``metadata.ownerReferences``; the owner needs apiVersion, kind and uid."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": controller,
        "blockOwnerDeletion": block,
    }


def is_owned_by(obj: AnyObject, owner_uid: str) -> bool:
    references = (obj.get("metadata") or {}).get("ownerReferences") or ()
    return any(reference.get("uid") == owner_uid for reference in references)
