"""Equality of JSON values, which Python's is not: there ``True == 1``."""

from __future__ import annotations

from typing import Any


def same(left: Any, right: Any) -> bool:
    """Whether both are the same JSON; numbers are compared by value, and true is not 1."""
    if left != right:
        return False
    if isinstance(left, dict):
        return all(same(value, right[key]) for key, value in left.items())
    if isinstance(left, list):
        return all(map(same, left, right))
    return isinstance(left, bool) is isinstance(right, bool)
