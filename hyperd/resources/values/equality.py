"""Equality of JSON values, which Python's is not: there ``True == 1``."""

from __future__ import annotations


def same(left: object, right: object) -> bool:
    """Whether both are the same JSON; numbers are compared by value, and true is not 1."""
    if left != right:
        return False
    if isinstance(left, dict) and isinstance(right, dict):
        return all(same(value, right[key]) for key, value in left.items())
    if isinstance(left, list) and isinstance(right, list):
        return all(map(same, left, right))
    return isinstance(left, bool) is isinstance(right, bool)
