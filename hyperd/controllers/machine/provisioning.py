"""What a guest configures itself by on its first boot: the spec's own user data, or what a Secret holds.

A Secret is read by its name each time, and not kept.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from hyperd.admission import cloud_init
from hyperd.errors import HyperdError
from hyperd.resources.all import SECRET
from hyperd.resources.kinds.virtual_machine import ProvisioningType
from hyperd.resources.kinds.virtual_machine_conditions import ProvisioningReason, VirtualMachineCondition
from hyperd.resources.values import names
from hyperd.resources.values.conditions import remove_condition, set_condition
from hyperd.store.interface import Store

if TYPE_CHECKING:
    from hyperd.controllers.machine.dependencies import Dependencies
    from hyperd.resources.views.virtual_machine import Provisioning, VirtualMachine


class _Form(NamedTuple):
    """One kind of Secret: its type, the keys of which it needs one, and how they are called in a sentence."""

    type: str
    keys: Sequence[str]
    wanted: str


_CLOUD_INIT = _Form(names.CLOUD_INIT_SECRET_TYPE, names.CLOUD_INIT_SECRET_KEYS, "userData")
_SYSPREP = _Form(names.SYSPREP_SECRET_TYPE, names.SYSPREP_SECRET_KEYS, " or ".join(names.SYSPREP_SECRET_KEYS))


class _WrongSecretError(Exception):
    """A sentence on what is wrong with it."""


def reference(provisioning: Provisioning | None) -> str:
    """The name of the Secret that it needs; empty where it needs none."""
    ref = None if provisioning is None else provisioning.get("userDataRef") or provisioning.get("sysprepRef")
    return "" if ref is None else ref["name"]


async def check_provisioning(store: Store, machine: VirtualMachine, found: Dependencies) -> None:
    """Find what ``machine`` is provisioned with; its condition is set in place."""
    provisioning, type_ = machine["spec"].get("provisioning"), VirtualMachineCondition.PROVISIONING_READY
    if not provisioning:
        remove_condition(machine, type_)
        return
    sysprep = provisioning["type"] == ProvisioningType.SYSPREP_REF
    try:
        if sysprep:
            data = await _read(store, machine, reference(provisioning), _SYSPREP)
        elif provisioning["type"] == ProvisioningType.USER_DATA:
            data = {"userData": provisioning.get("userData", "").encode()}
        else:
            data = await _read(store, machine, reference(provisioning), _CLOUD_INIT)
    except HyperdError as err:
        # Nothing is known of it now: what runs keeps its seed, what is off waits.
        found.user_data, found.answers = (None, {}) if sysprep else (b"", None)
        found.block(f"The {'answers' if sysprep else 'user data'} cannot be read: {err.message}")
        return
    except _WrongSecretError as err:
        set_condition(machine, type_, False, reason=ProvisioningReason.NOT_READY, message=str(err))
        found.block(str(err))
        return
    if sysprep:
        found.answers = data
        empty = [key for key in _SYSPREP.keys if data.get(key) == b""]
        warnings = [f"Answers: {key} is empty: the guest's setup will ask all questions." for key in empty]
    else:
        found.user_data = next(data[key] for key in _CLOUD_INIT.keys if key in data)
        warnings = [f"User data: {oddity}." for oddity in cloud_init.oddities(found.user_data)]
    reason = ProvisioningReason.READY_WITH_WARNINGS if warnings else ProvisioningReason.READY
    set_condition(machine, type_, True, reason=reason, message=" ".join(warnings))


async def _read(store: Store, machine: VirtualMachine, name: str, form: _Form) -> dict[str, bytes]:
    """What the Secret holds, by its keys. Raises the store's errors, and _WrongSecretError."""
    secret = await store.find(SECRET, machine["metadata"]["namespace"], name)
    if secret is None:
        raise _WrongSecretError(f'Secret "{name}" does not exist.')
    if secret.get("type") != form.type:
        raise _WrongSecretError(f'Secret "{name}" is not of type {form.type}.')
    data: dict[str, bytes] = {}
    for key, text in (secret.get("data") or {}).items():
        try:
            data[key] = base64.b64decode(text, validate=True)
        except binascii.Error:
            raise _WrongSecretError(f'Key {key} of Secret "{name}" is not base64.') from None
    if not any(key in data for key in form.keys):
        raise _WrongSecretError(f'Secret "{name}" has no key {form.wanted}.')
    return data
