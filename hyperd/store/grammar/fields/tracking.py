"""Ownership after an ordinary write: create, update and patch, of the object or its status."""

from __future__ import annotations

from hyperd.resources.schema.kind import Kind, Object
from hyperd.resources.values.meta import now_rfc3339
from hyperd.store.grammar.fields.managers import (
    UPDATE,
    Managers,
    asks_for_reset,
    decoded,
    decoded_of_client,
    differing,
    encoded,
    keeps_owners,
    manager_id,
    same_but_times,
    updated,
)

FIELD = "managedFields"


def track(kind: Kind, new: Object, live: Object | None, *, manager: str, subresource: str = "") -> None:
    """Write ``managedFields`` of ``new``, which is about to replace ``live`` (None: to be created), in place.

    What the client sent there counts when it is a valid list, and is forgotten otherwise. An object without any
    owner stays without until somebody applies it.
    """
    meta = new["metadata"]
    sent = meta.pop(FIELD, None)
    former = live["metadata"].get(FIELD) if live is not None else None
    managers = _managers(kind, sent, former, subresource)
    if live is not None and not managers:
        return
    of_others = [who for who, owned in managers.items() if owned.api_version != kind.api_version]
    if of_others and not kind.core:
        # Nobody can tell what fields of a version are that is not served: a kube-apiserver gives up all entries.
        return
    for who in of_others:
        del managers[who]
    base: Object = {"apiVersion": new["apiVersion"], "kind": new["kind"]}
    if live is not None:
        base = {**live, "metadata": {name: value for name, value in live["metadata"].items() if name != FIELD}}
    changes = differing(kind, base, new, subresource)
    if former and sent in (None, former) and not any(changes):
        meta[FIELD] = former
        return
    who, now = manager_id(kind, manager, UPDATE, subresource), now_rfc3339()
    if former and sent in (None, former) and keeps_owners(managers, who, changes, now):
        meta[FIELD] = former
        return
    entries = encoded(updated(managers, who, changes, kind.api_version, now))
    if entries:
        meta[FIELD] = entries


def _managers(kind: Kind, sent: object, former: list[Object] | None, subresource: str) -> Managers:
    if subresource or sent is None or sent == former:
        return decoded(former)
    if asks_for_reset(kind, sent):
        return {}
    if not isinstance(sent, list):
        return decoded(former)
    try:
        return decoded_of_client(sent) or decoded(former)
    except ValueError:
        return decoded(former)


def differs_in_times_alone(new: Object, old: Object) -> bool:
    """Whether nothing but times of ``managedFields`` tells ``new`` from ``old``: no reason to write."""
    if len(new) != len(old) or any(value != old.get(name) for name, value in new.items() if name != "metadata"):
        return False
    entries, former = new["metadata"].get(FIELD), old["metadata"].get(FIELD)
    if not entries or not former or not same_but_times(entries, former):
        return False
    return bool({**new["metadata"], FIELD: former} == old["metadata"])
