"""JSON as a type: of what is read from elsewhere and has no model, and of what is written for it.

An object of the API is ``Object`` of ``resources.schema.kind``, or the view of its kind.
"""

from __future__ import annotations

from typing import TypeAlias

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
JsonObject: TypeAlias = dict[str, Json]
