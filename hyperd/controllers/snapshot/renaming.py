"""Other names for the objects of a machine that is made beside its original, in references to each other too."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from hyperd.controllers.snapshot.saving import Saved
from hyperd.resources.all import (
    SECRET,
    VIRTUAL_DISK,
    VIRTUAL_MACHINE,
)
from hyperd.resources.schema.kind import Object

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine_operation import CloneOptions

Rename = Callable[[str, str], str]
"""From an object's kind and name to its new name."""
LIMITS: Final = {VIRTUAL_MACHINE.kind: 63}
"""How long names may be; others 253."""


def renamer(options: CloneOptions) -> Rename:
    """By what an operation says: single names first, then before and after all of them."""
    customization = options.get("customization") or {}
    prefix, suffix = customization.get("namePrefix", ""), customization.get("nameSuffix", "")

    def rename(kind: str, name: str) -> str:
        return f"{prefix}{replaced(options, kind, name)}{suffix}"

    return rename


def replaced(options: CloneOptions, kind: str, name: str) -> str:
    """By the single names alone, as those of images are."""
    for each in options.get("nameReplacement") or ():
        if each["from"]["name"] == name and each["from"].get("kind") in (None, "", kind):
            return each["to"]
    return name


def renamed(saved: Saved, options: CloneOptions) -> Saved:
    """The objects of a copy: with addresses of its own, and without its original's labels."""
    rename = renamer(options)
    vm = _called(saved.vm, rename)
    spec = vm["spec"]
    spec.pop("virtualMachineIPAddressName", None)
    for network in spec.get("networks") or ():
        network.pop("virtualMachineMACAddressName", None)
    for ref in spec.get("blockDeviceRefs") or ():
        if ref["kind"] == VIRTUAL_DISK.kind:
            ref["name"] = rename(ref["kind"], ref["name"])
    for field in ("userDataRef", "sysprepRef"):
        reference = (spec.get("provisioning") or {}).get(field)
        if reference is not None:
            reference["name"] = rename(SECRET.kind, reference["name"])
    attached = []
    for each in saved.vmbdas:
        made = _called(each, rename)
        ref = made["spec"]["blockDeviceRef"]
        made["spec"]["virtualMachineName"] = vm["metadata"]["name"]
        if ref["kind"] == VIRTUAL_DISK.kind:
            ref["name"] = rename(ref["kind"], ref["name"])
        else:
            ref["name"] = replaced(options, ref["kind"], ref["name"])
        attached.append(made)
    provisioner = None if saved.provisioner is None else _called(saved.provisioner, rename)
    return replace(saved, vm=vm, vmip=None, vmmacs=[], vmbdas=attached, provisioner=provisioner)


def too_long(kind: str, name: str) -> str:
    """Why a name may not be had; empty if it may."""
    most = LIMITS.get(kind, 253)
    return f"its name would have {len(name)} characters, and {most} are possible" if len(name) > most else ""


def _called(obj: Object, rename: Rename) -> Object:
    made = copy.deepcopy(obj)
    made["metadata"].pop("labels", None)
    made["metadata"]["name"] = rename(made["kind"], made["metadata"]["name"])
    return made
