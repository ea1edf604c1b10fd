"""Rules of VirtualMachinePool: what is made of its templates must pass the rules of machines and disks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from hyperd.admission import virtual_disk, virtual_machine
from hyperd.admission.context import Context
from hyperd.network.kinds import served
from hyperd.resources import pooling
from hyperd.resources.all import VIRTUAL_DISK, VIRTUAL_MACHINE, VIRTUAL_MACHINE_POOL
from hyperd.resources.kinds.virtual_machine import networks_built
from hyperd.resources.kinds.virtual_machine_pool import ScaleDownPolicy
from hyperd.resources.schema.kind import Kind, Object
from hyperd.resources.schema.metadata import check_metadata
from hyperd.resources.schema.structural import apply_defaults, validate
from hyperd.resources.schema.unbuilt import refused_in, unbuilt_in
from hyperd.resources.values.names import MAX_POOL_NAME
from hyperd.store.interface import AdmissionRequest

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine_pool import VirtualMachinePool, VirtualMachinePoolSpec

    Pool = Context[VirtualMachinePool, VirtualMachinePoolSpec]

_MACHINE: Final = "spec.virtualMachineTemplate"
_ADDRESS: Final = "virtualMachineIPAddressName"
_CARD: Final = "virtualMachineMACAddressName"
_NAME: Final = "metadata.name"
_LETTERS: Final = "xxxxx"
"""In the place of letters that are still to be drawn."""
_BY_NAME: Final = "name the machines that are to go to the subresource scaledownwith"


async def review(context: Pool) -> None:
    """Judge the name, then a machine and its disks as they would be made."""
    _check_name(context)
    if not context.spec_changed:
        return
    former = context.old_spec
    if context.spec["virtualMachineTemplate"] != former.get("virtualMachineTemplate"):
        await _check_machine(context)
    known = {template["name"]: template["spec"] for template in former.get("virtualDiskTemplates") or ()}
    for index, template in enumerate(context.spec["virtualDiskTemplates"]):
        if known.get(template["name"]) != template["spec"]:
            await _check_disk(context, index)
    _warn_of_fewer(context)


async def review_scale(context: Context) -> None:
    """Judge a write to ``scale``, of which ``new`` and ``old`` have ``spec.replicas`` and may have no more."""
    wanted, former = (int(spec.get("replicas") or 0) for spec in (context.spec, context.old_spec))
    if wanted >= former:
        return
    pool = await context.find(VIRTUAL_MACHINE_POOL, context.request.name)
    if pool is not None and pool["spec"]["scaleDownPolicy"] == ScaleDownPolicy.EXPLICIT:
        context.forbidden(
            "spec.replicas",
            f'VirtualMachinePool "{context.request.name}" has scaleDownPolicy Explicit, so scale cannot take '
            f"machines away ({former} to {wanted}): {_BY_NAME}",
        )


def _check_name(context: Pool) -> None:
    name = context.request.name
    if not context.creating:
        return
    if len(name) > MAX_POOL_NAME:
        context.invalid(
            _NAME,
            name,
            f"must be no more than {MAX_POOL_NAME} characters: its machines' names are longer",
        )
    if "." in name:
        context.invalid(_NAME, name, 'must not contain ".": the names of its disks begin with it')


async def _check_machine(context: Pool) -> None:
    refs = context.spec["virtualDiskTemplates"]
    disks = {template["name"]: f"{context.request.name}-{template['name']}-{_LETTERS}" for template in refs}
    made = pooling.machine(_placed(context), f"{context.request.name}-{_LETTERS}", disks)
    await _judge(context, VIRTUAL_MACHINE, made, virtual_machine.review, _machine_path)
    spec = context.spec["virtualMachineTemplate"]["spec"]
    networks = [(f"networks[{index}]", one) for index, one in enumerate(spec.get("networks") or ())]
    asking = [f"{path}.{_CARD}" for path, one in networks if one.get(_CARD)]
    asking += [_ADDRESS] if spec.get(_ADDRESS) else []
    for field in asking:
        context.warn(
            f"{_MACHINE}.spec.{field}: all machines of the pool ask for this address, and one of them can have it"
        )


async def _check_disk(context: Pool, index: int) -> None:
    template = context.spec["virtualDiskTemplates"][index]
    name = f"{context.request.name}-{template['name']}-{_LETTERS}".replace(".", "-")
    path = f"spec.virtualDiskTemplates[{index}]."
    made = pooling.disk(_placed(context), template, name)
    await _judge(context, VIRTUAL_DISK, made, virtual_disk.review, lambda field: path + field)


def _placed(context: Pool) -> VirtualMachinePool:
    """The pool with its namespace, which an object on its way in may leave to its path."""
    new = context.new
    return {**new, "metadata": {**new["metadata"], "namespace": context.request.namespace}}


def _machine_path(field: str) -> str:
    return f"{_MACHINE}.{field}"


async def _judge(
    context: Pool,
    kind: Kind,
    made: Object,
    rules: Callable[[Context], Awaitable[None]],
    path: Callable[[str], str],
) -> None:
    """Put ``made`` through the schema and the rules of its kind, and tell of it as of the template."""
    apply_defaults(kind.schema, made)
    # Of names the pool's own is judged.
    causes = [cause for cause in check_metadata(kind, made) if cause.field != _NAME]
    causes += validate(kind.schema, made)
    inner: Context = Context(
        AdmissionRequest(
            "CREATE",
            kind,
            context.request.namespace,
            made["metadata"]["name"],
            made,
            None,
            context.request.user,
            context.request.reader,
            dry_run=context.request.dry_run,
        ),
        context.policy,
    )
    if not causes:
        await rules(inner)
        for field, sentence in refused_in(kind, made):
            inner.forbidden(field, sentence)
        for field, sentence in unbuilt_in(kind, made, built=networks_built(served())):
            inner.warn(f"{field}: {sentence}")
    context.denial = context.denial or inner.denial
    found = [cause for cause in (*causes, *inner.causes) if cause.field != _NAME]
    context.causes += [replace(cause, field=path(cause.field)) for cause in found]
    for warning in inner.warnings:
        context.warn(path(warning) if warning.startswith("spec.") else warning)


def _warn_of_fewer(context: Pool) -> None:
    """Without ``scale`` a lower number is taken, and nothing follows from it where machines go by name."""
    wanted, former = context.spec.get("replicas") or 0, context.old_spec.get("replicas") or 0
    explicit = context.spec["scaleDownPolicy"] == ScaleDownPolicy.EXPLICIT
    if wanted < former and explicit and not context.by_system:
        context.warn(f"spec.replicas: scaleDownPolicy Explicit removes no machine for a lower number: {_BY_NAME}")
