"""A rule across fields, in CEL for a kube-apiserver and in Python for us."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Rule:
    """A cross-field rule: one message, its CEL text for the CRD and the same predicate in Python.

    ``path`` is where the rule hangs (``spec.dataSource``, ``spec.policies[].cores``). ``holds(value, old)`` gets
    the value at that path and the former value (None on create); a transition rule (CEL that names ``oldSelf``)
    is asked on updates only.
    """

    path: str
    message: str
    cel: str
    holds: Callable[[Any, Any], bool]
    transition: bool = False
