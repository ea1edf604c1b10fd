"""How large a value may be that somebody sends, beside its bytes.

Every value costs time and some hundred bytes of memory, wherever it passes: a body of 3 MB could have a million.
"""

from __future__ import annotations

from typing import Final

from hyperd.errors import BadRequest, RequestEntityTooLarge
from hyperd.jsontypes import Json

MAX_VALUES: Final = 50_000
"""Members of objects and items of lists in all: some ten times what the largest objects in use have."""
MAX_DEPTH: Final = 200


def too_many_values(what: str) -> RequestEntityTooLarge:
    """The refusal of ``what``."""
    return RequestEntityTooLarge(f"{what} has more than {MAX_VALUES} values, the limit; send less at once")


def too_deep(path: str) -> BadRequest:
    return BadRequest(f"the body is nested too deeply at {path.removeprefix('.')[:80]}")


def check_values(value: Json, what: str) -> None:
    """Raise RequestEntityTooLarge where ``value`` has more than ``MAX_VALUES``."""
    left = MAX_VALUES
    waiting: list[list[Json] | dict[str, Json]] = [value] if isinstance(value, dict | list) else []
    while waiting:
        one = waiting.pop()
        left -= len(one)
        if left < 0:
            raise too_many_values(what)
        children = one.values() if isinstance(one, dict) else one
        waiting += [child for child in children if isinstance(child, (dict, list))]
