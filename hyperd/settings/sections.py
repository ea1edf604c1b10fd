"""What every section of the settings is made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

GIB = 1 << 30

Count = Annotated[int, Field(ge=1)]
Bytes = Annotated[int, Field(ge=0)]
Period = Annotated[float, Field(gt=0, allow_inf_nan=False)]
"""How often, or how long at most: zero would mean all the time, or never."""
Retention = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""How long something is kept; zero is not at all."""


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
