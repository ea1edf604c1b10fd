"""What the machines and disks of a pool are called, marked and made of.

A member carries its pool's uid as a label and is owned by the pool as by a controller; both are asked for, so that
neither a label nor an owner alone makes one. Rules judge what is made here before there is a pool to make it.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
import secrets
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import orjson

from hyperd.resources.all import VIRTUAL_DISK, VIRTUAL_MACHINE
from hyperd.resources.kinds.virtual_machine import BlockDeviceKind
from hyperd.resources.kinds.virtual_machine_pool import OnScaleDown
from hyperd.resources.schema.kind import AnyObject, Object
from hyperd.resources.values import meta, names

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine_pool import DiskTemplate, VirtualMachinePool

NAME_ALPHABET: Final = "bcdfghjklmnpqrstvwxz2456789"
_MEMBER_LETTERS: Final = 5
_DISK_LETTERS: Final = 6
_HASH_LETTERS: Final = 10
_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ns|us|µs|ms|s|m|h)")
_SECONDS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def selector(uid: str) -> str:
    """The selector of a pool's machines, as ``scale`` shows it."""
    return f"{names.POOL_UID_LABEL}={uid}"


def is_member(obj: AnyObject, uid: str) -> bool:
    """Whether a machine is one of the pool ``uid``."""
    return meta.labels(obj).get(names.POOL_UID_LABEL) == uid and controller_of(obj) == uid


def controller_of(obj: AnyObject) -> str:
    """uid of the owner that answers for ``obj``; empty for none."""
    references = (obj.get("metadata") or {}).get("ownerReferences") or ()
    return next((str(one["uid"]) for one in references if one.get("controller")), "")


def template_hash(pool: VirtualMachinePool) -> str:
    """Digest of what the machines are made from, as a label has it.

    Viewers see it, and no user data: that counts by what is slow to try words against, another one for each pool.
    """
    template: Object = {**pool["spec"]["virtualMachineTemplate"]}
    provisioning = template["spec"].get("provisioning") or {}
    if user_data := provisioning.get("userData"):
        stands_for = {**provisioning, "userData": _slowly(user_data, pool["metadata"]["uid"])}
        template["spec"] = {**template["spec"], "provisioning": stands_for}
    text = json.dumps(template, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH_LETTERS]


@lru_cache(256)
def _slowly(secret: str, salt: str) -> str:
    return hashlib.scrypt(secret.encode(), salt=salt.encode(), n=1 << 12, r=8, p=1, dklen=16).hex()


def leaving(pool: VirtualMachinePool) -> frozenset[str]:
    """uids of the machines that were named to go."""
    return frozenset(filter(None, meta.annotations(pool).get(names.POOL_LEAVING_ANNOTATION, "").split(",")))


def leaving_text(uids: Collection[str]) -> str | None:
    """The annotation for these; None for none, which a merge patch takes it away by."""
    return ",".join(sorted(uids)) or None


def member_name(pool: str, taken: Collection[str]) -> str:
    """A name for another machine, unlike those that are ``taken``."""
    return _random(f"{pool}-", _MEMBER_LETTERS, taken)


def kept_disk_name(pool: str, template: str, taken: Collection[str]) -> str:
    """A name for a disk that may outlive its machine, unlike those that are ``taken``."""
    return _random(f"{pool}-{template}-", _DISK_LETTERS, taken)


def own_disk_name(machine: str, template: str) -> str:
    """The name of a disk that goes with its machine."""
    return f"{machine}-{template}"


def template_of(disk: str, *, machine: str, pool: str, templates: Collection[str]) -> str:
    """The template that a disk which ``machine`` names is of, by its name; empty for one that is of none."""
    own = disk.removeprefix(f"{machine}-")
    if own != disk and own in templates:
        return own
    stem, _, letters = disk.rpartition("-")
    template = stem.removeprefix(f"{pool}-")
    kept = len(letters) == _DISK_LETTERS and stem != template and set(letters) <= set(NAME_ALPHABET)
    return template if kept and template in templates else ""


def is_retained(template: DiskTemplate) -> bool:
    return template["reclaim"]["onScaleDown"] == OnScaleDown.RETAIN


def seconds(duration: str) -> float:
    """How long a duration is that passed the schema, such as 24h30m."""
    return sum(float(number) * _SECONDS[unit] for number, unit in _DURATION.findall(duration))


def machine(pool: VirtualMachinePool, name: str, disks: Mapping[str, str]) -> Object:
    """A machine as the template says; ``disks`` are the names of its disks by their template."""
    template = pool["spec"]["virtualMachineTemplate"]
    given = template.get("metadata") or {}
    spec = _copy(template["spec"])
    for ref in spec["blockDeviceRefs"]:
        if ref["kind"] == BlockDeviceKind.VIRTUAL_DISK:
            ref["name"] = disks[ref["name"]]
    return {
        "apiVersion": VIRTUAL_MACHINE.api_version,
        "kind": VIRTUAL_MACHINE.kind,
        "metadata": {
            "namespace": pool["metadata"]["namespace"],
            "name": name,
            "labels": dict(given.get("labels") or {}),
            "annotations": dict(given.get("annotations") or {}),
        },
        "spec": spec,
    }


def member(pool: VirtualMachinePool, name: str, disks: Mapping[str, str]) -> Object:
    """``machine`` with all that makes it the pool's."""
    made = machine(pool, name, disks)
    digest = template_hash(pool)
    made["metadata"]["labels"] |= {**_labels(pool), names.POOL_TEMPLATE_HASH_LABEL: digest}
    made["metadata"]["annotations"][names.POOL_PATCHED_HASH_ANNOTATION] = digest
    made["metadata"]["ownerReferences"] = [meta.owner_reference(pool, block=False)]
    return made


def disk(pool: VirtualMachinePool, template: DiskTemplate, name: str) -> Object:
    """A disk as its template says, which nobody owns yet."""
    return {
        "apiVersion": VIRTUAL_DISK.api_version,
        "kind": VIRTUAL_DISK.kind,
        "metadata": {"namespace": pool["metadata"]["namespace"], "name": name},
        "spec": _copy(template["spec"]),
    }


def pool_disk(pool: VirtualMachinePool, template: DiskTemplate, name: str, owner: AnyObject) -> Object:
    """``disk`` with all that makes it the pool's; it goes with ``owner``."""
    made = disk(pool, template, name)
    made["metadata"]["labels"] = {**_labels(pool), names.POOL_DISK_TEMPLATE_LABEL: template["name"]}
    made["metadata"]["ownerReferences"] = [meta.owner_reference(owner, block=False)]
    return made


def respecified(pool: VirtualMachinePool, of: AnyObject) -> Object:
    """The spec that the template gives to the machine ``of``, which keeps its devices.

    Numbers that networks were given are kept too, where the networks are the same.
    """
    spec = _copy(pool["spec"]["virtualMachineTemplate"]["spec"])
    former = of["spec"]
    spec["blockDeviceRefs"] = copy.deepcopy(former["blockDeviceRefs"])
    if _unnumbered(spec) == _unnumbered(former) and "networks" in former:
        spec["networks"] = copy.deepcopy(former["networks"])
    return spec


def _unnumbered(spec: AnyObject) -> list[Object]:
    return [{key: value for key, value in one.items() if key != "id"} for one in spec.get("networks") or ()]


def _labels(pool: VirtualMachinePool) -> dict[str, str]:
    return {
        names.POOL_LABEL: pool["metadata"]["name"],
        names.POOL_UID_LABEL: pool["metadata"]["uid"],
    }


def _random(prefix: str, letters: int, taken: Collection[str]) -> str:
    while True:
        name = prefix + "".join(secrets.choice(NAME_ALPHABET) for _ in range(letters))
        if name not in taken:
            return name


def _copy(value: object) -> Object:
    made: Object = orjson.loads(orjson.dumps(value))
    return made
