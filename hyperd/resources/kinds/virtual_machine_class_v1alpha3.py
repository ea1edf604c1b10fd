"""VirtualMachineClass as v1alpha3: fractions are spelt with a percent sign. Stored as v1alpha2."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field

from hyperd.resources.kinds.base import LIST_ATOMIC, Resource
from hyperd.resources.kinds.virtual_machine_class import (
    VIRTUAL_MACHINE_CLASS,
    SizingPolicy,
    VirtualMachineClassSpec,
    VirtualMachineClassStatus,
)
from hyperd.resources.schema.applies import LIVE
from hyperd.resources.schema.kind import KINDS, Object, ServedVersion

_PERCENT = re.compile("(0|-?[1-9][0-9]{0,17})%")
"""Wider than what is valid, so that any number finds its way back."""


_Fractions = Annotated[
    list[Annotated[str, Field(pattern="^(100|[1-9][0-9]?)%$")]], Field(json_schema_extra=LIST_ATOMIC)
]


class PercentSizingPolicy(SizingPolicy):
    """What virtual machines of some numbers of cores may have."""

    core_fractions: _Fractions | None = None  # type: ignore[assignment]  # spelt otherwise in this version
    """Shares of a core they may ask for, such as 20%; any when empty."""
    default_core_fraction: Annotated[str, Field(pattern="^(Auto|(100|[1-9][0-9]?)%)$")] | None = None
    """Share of a core that they get unless they say otherwise; one of coreFractions, or Auto."""


_Policies = Annotated[list[PercentSizingPolicy], Field(max_length=16, json_schema_extra=LIST_ATOMIC), LIVE]


class VirtualMachineClassSpecV1Alpha3(VirtualMachineClassSpec):
    """What the class gives and allows."""

    sizing_policies: _Policies | None = None  # type: ignore[assignment]  # spelt otherwise in this version
    """What sizes are allowed; any when empty."""


class VirtualMachineClassV1Alpha3(Resource):
    """A class of virtual machines: the processor they see, where they may run, and what sizes they may have."""

    spec: VirtualMachineClassSpecV1Alpha3
    """What the class gives and allows."""
    status: VirtualMachineClassStatus = Field(default_factory=VirtualMachineClassStatus)
    """What became of the class."""


def _with_percent(value: Any) -> Any:
    return f"{value}%" if type(value) is int else value


def _without_percent(value: Any) -> Any:
    return int(value[:-1]) if isinstance(value, str) and _PERCENT.fullmatch(value) else value


def _respell(obj: Object, spell: Callable[[Any], Any]) -> Object:
    """``obj`` with its fractions respelt. What is not of the expected shape stays as it is."""
    spec = obj.get("spec")
    if not isinstance(spec, dict) or not isinstance(policies := spec.get("sizingPolicies"), list):
        return obj
    return {**obj, "spec": {**spec, "sizingPolicies": [_respell_policy(policy, spell) for policy in policies]}}


def _respell_policy(policy: Any, spell: Callable[[Any], Any]) -> Any:
    if not isinstance(policy, dict):
        return policy
    out = dict(policy)
    if "defaultCoreFraction" in out:
        out["defaultCoreFraction"] = spell(out["defaultCoreFraction"])
    if isinstance(out.get("coreFractions"), list):
        out["coreFractions"] = [spell(value) for value in out["coreFractions"]]
    return out


VIRTUAL_MACHINE_CLASS_V1ALPHA3 = KINDS.serve(
    ServedVersion(
        kind=replace(
            VIRTUAL_MACHINE_CLASS, version="v1alpha3", model=VirtualMachineClassV1Alpha3, deprecated=False
        ),
        from_storage=lambda obj: _respell(obj, _with_percent),
        to_storage=lambda obj: _respell(obj, _without_percent),
    )
)
