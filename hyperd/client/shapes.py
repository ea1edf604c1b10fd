"""What a home answers, taken for what it should be: it may be of any shape."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hyperd.resources.schema.kind import Object


def mapping(value: object) -> Object:
    """``value``, or an empty one where a home answered with something else."""
    return value if isinstance(value, dict) else {}


def mappings(value: object) -> list[Object]:
    """Of a list those that are mappings; none of what is no list."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
