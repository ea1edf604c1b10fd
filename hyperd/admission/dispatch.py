"""The one entrance of admission: which rules a write meets, in which order.

Finalizers and defaults first, then what is not built, what is fixed by now, and the kind's own rules. Status,
deletions and writes that touch neither spec nor labels nor annotations pass: protection against deletion is the
finalizers' work. What is being deleted keeps its spec, but for a machine, which is judged as ever: what holds its
end up may be changed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from hyperd.admission import (
    cluster_virtual_image,
    immutable,
    secret,
    service,
    virtual_disk,
    virtual_image,
    virtual_machine,
    virtual_machine_block_device_attachment,
    virtual_machine_class,
    virtual_machine_ip_address,
    virtual_machine_mac_address,
    virtual_machine_operation,
    virtual_machine_pool,
    virtual_machine_snapshot_operation,
)
from hyperd.admission.context import Context, May, Policy, said
from hyperd.network.kinds import served
from hyperd.resources import all as kinds
from hyperd.resources.core import scale
from hyperd.resources.kinds.virtual_machine import MIGRATION_BUILT, networks_built
from hyperd.resources.kinds.virtual_machine_operation import MOVING_BUILT
from hyperd.resources.schema.kind import Kind
from hyperd.resources.schema.unbuilt import refused_in, unbuilt_in
from hyperd.resources.values import meta
from hyperd.settings import Settings
from hyperd.storage.backends import provisioners
from hyperd.store.interface import AdmissionRequest, AdmissionResponse, Admit

Rules = Callable[[Context], Awaitable[None]]

RULES: Final[Mapping[Kind, Rules]] = {
    kinds.VIRTUAL_IMAGE: virtual_image.review,
    kinds.CLUSTER_VIRTUAL_IMAGE: cluster_virtual_image.review,
    kinds.VIRTUAL_DISK: virtual_disk.review,
    kinds.VIRTUAL_MACHINE: virtual_machine.review,
    kinds.VIRTUAL_MACHINE_BLOCK_DEVICE_ATTACHMENT: virtual_machine_block_device_attachment.review,
    kinds.VIRTUAL_MACHINE_CLASS: virtual_machine_class.review,
    kinds.VIRTUAL_MACHINE_IP_ADDRESS: virtual_machine_ip_address.review,
    kinds.VIRTUAL_MACHINE_MAC_ADDRESS: virtual_machine_mac_address.review,
    kinds.VIRTUAL_MACHINE_OPERATION: virtual_machine_operation.review,
    kinds.VIRTUAL_MACHINE_POOL: virtual_machine_pool.review,
    kinds.VIRTUAL_MACHINE_SNAPSHOT_OPERATION: virtual_machine_snapshot_operation.review,
    kinds.SECRET: secret.review,
    kinds.SERVICE: service.review,
}

SCALED: Final[Mapping[Kind, Rules]] = {kinds.VIRTUAL_MACHINE_POOL: virtual_machine_pool.review_scale}
"""Of writes to ``scale``, which know no more of the object than its number."""

FINALIZERS: Final[Mapping[Kind, str]] = {
    kind: kind.finalizer for kind in kinds.KINDS if kind.finalizer and kind.held_from_birth
}

JUDGED: Final = frozenset(
    {
        *RULES,
        *FINALIZERS,
        *(kind for kind in kinds.KINDS if kind.not_built or kind.unbuilt or kind.refused or immutable.fixed(kind)),
    }
)
"""Kinds whose writes have something to be told, refused or completed."""


def reviewer(settings: Settings, *, may: May) -> Admit:
    """``review`` with the policy of these settings, as the store wants it; ``may`` decides about users."""
    policy = Policy(
        virtual_machine_cidrs=settings.network.virtual_machine_cidrs,
        may=may,
        provisioners=provisioners(settings),
        claims=settings.claims,
        migrates=settings.home != "embedded" and settings.kubernetes.pods,
        disk_classes=settings.virtual_disks,
        image_classes=settings.virtual_images,
    )

    async def admit(request: AdmissionRequest) -> AdmissionResponse:
        return await review(request, policy=policy)

    return admit


async def review(request: AdmissionRequest, *, policy: Policy | None = None) -> AdmissionResponse:
    """Judge one write. ``request.new`` has passed its schema, and is completed in place.

    Raises nothing of its own: a refusal is in the answer's causes.
    """
    rules = RULES.get(request.kind)
    new = request.new
    if request.subresource == scale.SUBRESOURCE and request.kind in SCALED and new is not None:
        context = Context(request, Policy() if policy is None else policy)
        await SCALED[request.kind](context)
        return AdmissionResponse(new, warnings=context.warnings, causes=context.causes)
    if request.kind not in JUDGED or new is None or request.operation == "DELETE" or request.subresource:
        return AdmissionResponse(new)
    context = Context(request, Policy() if policy is None else policy)
    if context.creating and request.kind in FINALIZERS:
        meta.add_finalizer(new, FINALIZERS[request.kind])
    if not request.kind.core:
        if _is_untouched(context):
            return AdmissionResponse(new)
        if context.old is not None and meta.is_deleting(context.old):
            if said(context.spec) == said(context.old_spec):
                return AdmissionResponse(new)
            if request.kind is not kinds.VIRTUAL_MACHINE:
                context.forbidden("spec", "the object is being deleted, its specification cannot be changed")
                return AdmissionResponse(new, causes=context.causes)
        if context.spec_changed:
            _tell_unbuilt(context)
            immutable.check(context)
    if rules is not None:
        await rules(context)
    return AdmissionResponse(new, warnings=context.warnings, causes=context.causes, forbidden=context.denial)


def _is_untouched(context: Context) -> bool:
    if context.old is None or context.spec_changed:
        return False
    return meta.labels(context.new) == meta.labels(context.old) and meta.annotations(
        context.new
    ) == meta.annotations(context.old)


def _tell_unbuilt(context: Context) -> None:
    kind = context.request.kind
    if context.creating and kind.not_built:
        context.warn(f"{kind.kind}: {kind.not_built}")
    for path, sentence in refused_in(kind, context.new):
        context.forbidden(path, sentence)
    built = networks_built(served()) | (MIGRATION_BUILT | MOVING_BUILT if context.policy.migrates else frozenset())
    for path, sentence in unbuilt_in(kind, context.new, built=built):
        context.warn(f"{path}: {sentence}")
