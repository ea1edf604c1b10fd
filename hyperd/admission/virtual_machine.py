"""Rules of VirtualMachine: defaults from its class, then each block of the spec."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hyperd.admission import block_devices, cloud_init, networks, placement
from hyperd.admission.context import Context, said
from hyperd.resources.all import VIRTUAL_MACHINE_CLASS, VIRTUAL_MACHINE_OPERATION
from hyperd.resources.kinds.virtual_machine import OsType
from hyperd.resources.kinds.virtual_machine_operation import OperationCondition, OperationPhase
from hyperd.resources.schema.kind import AnyObject
from hyperd.resources.values import meta
from hyperd.resources.values.conditions import is_true
from hyperd.resources.values.names import (
    DEFAULT_CLASS_ANNOTATION,
    GROUP,
    HYPERVISOR_KEYS,
    MAX_CORES,
    MAX_VM_NAME,
)
from hyperd.resources.values.quantity import to_bytes
from hyperd.resources.values.sizing import count_of_cores, either, policy_for, sizing_fault, socket_count

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine import VirtualMachine, VirtualMachineSpec
    from hyperd.resources.views.virtual_machine_class import VirtualMachineClass

    Machine = Context[VirtualMachine, VirtualMachineSpec]

_CLASS_PATH = "spec.virtualMachineClassName"
_FRACTION_PATH = "spec.cpu.coreFraction"
_MAX_MEMORY = 1 << 50


async def review(context: Machine) -> None:
    """Complete the spec from the class, then judge it."""
    _check_name(context)
    _check_keys(context)
    if not context.spec_changed:
        return
    if context.old is not None and await _is_rebuilt(context, context.old):
        return
    class_ = await _default_class(context)
    _default_core_fraction(context, class_)
    memory_fits = _check_memory(context)
    cores_fit = _check_cores(context)
    if class_ is not None and memory_fits and cores_fit and not context.causes:
        _check_sizing(context, class_)
    await block_devices.check(context)
    await networks.check(context)
    placement.check_machine(context)
    provisioning = context.spec.get("provisioning")
    if provisioning and provisioning != context.old_spec.get("provisioning"):
        user_data = provisioning.get("userData")
        for oddity in cloud_init.oddities(None if user_data is None else user_data.encode()):
            context.warn(f"spec.provisioning.userData: {oddity}")
    if context.spec["osType"] == OsType.LEGACY and context.spec["enableParavirtualization"]:
        context.warn("spec.enableParavirtualization: systems of osType Legacy seldom have drivers for it")


def _check_name(context: Machine) -> None:
    name = context.request.name
    if context.creating and len(name) > MAX_VM_NAME:
        context.invalid("metadata.name", name, f"must be no more than {MAX_VM_NAME} characters")


def _check_keys(context: Machine) -> None:
    """Labels and annotations of our own group are the controllers'."""
    if context.by_system:
        return
    former: AnyObject = context.old or {}
    for field, now, before in (
        ("metadata.labels", meta.labels(context.new), meta.labels(former)),
        ("metadata.annotations", meta.annotations(context.new), meta.annotations(former)),
    ):
        for key, value in now.items():
            if GROUP not in key or before.get(key) == value:
                continue
            if key.startswith(HYPERVISOR_KEYS):
                context.warn(f"{field}: {key} is heeded by nothing here")
            else:
                context.invalid(field, key, f"keys with {GROUP} are reserved for the system")


async def _is_rebuilt(context: Machine, old: VirtualMachine) -> bool:
    """Whether the change, refused then, comes to a machine whose spec a restore is about to replace."""
    if context.by_system or said(context.spec) == said(old["spec"]):
        return False
    for op in await context.request.reader.find_all(VIRTUAL_MACHINE_OPERATION, context.request.namespace):
        going = (op.get("status") or {}).get("phase") == OperationPhase.IN_PROGRESS
        own = op["spec"]["virtualMachineName"] == context.request.name
        if going and own and is_true(op, OperationCondition.MAINTENANCE_MODE):
            context.forbidden(
                "spec", f'VirtualMachineOperation "{op["metadata"]["name"]}" restores it: wait until that is done'
            )
            return True
    return False


async def _default_class(context: Machine) -> VirtualMachineClass | None:
    """The machine's class, the default one filled in; None, with a cause or a warning, when it does not exist."""
    name = context.spec.get("virtualMachineClassName")
    if not name:
        for class_ in await context.request.reader.find_all(VIRTUAL_MACHINE_CLASS):
            if meta.annotations(class_).get(DEFAULT_CLASS_ANNOTATION) == "true":
                context.spec["virtualMachineClassName"] = class_["metadata"]["name"]
                return class_
        context.required(
            _CLASS_PATH,
            "there is no default VirtualMachineClass: set the name, or mark a class with the annotation "
            f'{DEFAULT_CLASS_ANNOTATION}="true"',
        )
        return None
    found = await context.find(VIRTUAL_MACHINE_CLASS, name)
    if found is None:
        text = f'VirtualMachineClass "{name}" does not exist'
        if context.spec["cpu"].get("coreFraction"):
            context.warn(f"{_CLASS_PATH}: {text}; the virtual machine waits for it")
        else:
            context.invalid(_CLASS_PATH, name, f"{text}, and {_FRACTION_PATH} is not set")
    return found


def _default_core_fraction(context: Machine, class_: VirtualMachineClass | None) -> None:
    cpu = context.spec["cpu"]
    if cpu.get("coreFraction") or class_ is None:
        return
    policies = class_["spec"].get("sizingPolicies")
    policy = policy_for(class_["spec"], cpu["cores"])
    if policies and policy is None:
        return
    wanted = (policy or {}).get("defaultCoreFraction")
    allowed = (policy or {}).get("coreFractions") or [100]
    if wanted is None and 100 not in allowed:
        listed = either([f"{value}%" for value in allowed])
        name, size = class_["metadata"]["name"], count_of_cores(cpu["cores"])
        text = f'VirtualMachineClass "{name}" has no default for {size}: choose {listed}'
        context.required(_FRACTION_PATH, text)
        return
    cpu["coreFraction"] = "100%" if wanted is None else f"{str(wanted).removesuffix('%')}%"


def _check_sizing(context: Machine, class_: VirtualMachineClass) -> None:
    fault = sizing_fault(class_["metadata"]["name"], class_["spec"], context.spec)
    if fault:
        context.forbidden("spec", fault)


def _check_memory(context: Machine) -> bool:
    wanted = context.spec["memory"]["size"]
    try:
        size = to_bytes(wanted)
    except ValueError as err:
        context.invalid("spec.memory.size", wanted, str(err))
        return False
    if not 0 < size <= _MAX_MEMORY:
        context.invalid("spec.memory.size", wanted, "must be greater than zero and at most 1Pi")
        return False
    return True


def _check_cores(context: Machine) -> bool:
    cores = context.spec["cpu"]["cores"]
    if cores > MAX_CORES:
        context.invalid("spec.cpu.cores", cores, f"must be no more than {MAX_CORES}")
        return False
    step = socket_count(cores)
    if cores % step:
        context.invalid(
            "spec.cpu.cores", cores, f"must be a multiple of {step}: so many cores are spread over {step} sockets"
        )
        return False
    return True
