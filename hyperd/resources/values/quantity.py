"""Kubernetes quantities, read and written exactly.

Numbers never pass through a float: ``0.1Gi`` and ``9007199254740993`` keep their value. Sizes round up to whole
bytes, as Kubernetes does, so a volume is never smaller than asked for.
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal
from typing import Final

PATTERN: Final = r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$"  # fmt: skip  # noqa: E501
"""The pattern Kubernetes puts into schemas."""

_SYNTAX = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]|[eE][+-]?\d{1,3})?")
_SUFFIXES: Final = {
    "Ki": Decimal(1 << 10), "Mi": Decimal(1 << 20), "Gi": Decimal(1 << 30),
    "Ti": Decimal(1 << 40), "Pi": Decimal(1 << 50), "Ei": Decimal(1 << 60),
    "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "k": Decimal("1e3"),
    "M": Decimal("1e6"), "G": Decimal("1e9"), "T": Decimal("1e12"), "P": Decimal("1e15"), "E": Decimal("1e18"),
}  # fmt: skip
_IEC: Final = (("Ei", 60), ("Pi", 50), ("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10))
_MAX_LENGTH: Final = 64


def parse(value: str | int) -> Decimal:
    """The exact number. Raises ValueError with a sentence when ``value`` is not a quantity."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"{value!r} is not a quantity such as 10Gi or 500m")
    if isinstance(value, int):
        return Decimal(value)
    match = _SYNTAX.fullmatch(value) if len(value) <= _MAX_LENGTH else None
    if match is None:
        raise ValueError(f"{value[:_MAX_LENGTH]!r} is not a quantity such as 10Gi or 500m")
    number, suffix = match.groups()
    factor = Decimal(1)
    if suffix:
        factor = _SUFFIXES.get(suffix) or Decimal(10) ** int(suffix[1:])
    return Decimal(number) * factor


def to_bytes(value: str | int) -> int:
    """Whole bytes, rounded up. Raises ValueError as ``parse`` does."""
    return int(parse(value).to_integral_value(rounding=ROUND_CEILING))


def to_milli(value: str | int) -> int:
    """Thousandths (milli-CPU), rounded up. Raises ValueError as ``parse`` does."""
    return int((parse(value) * 1000).to_integral_value(rounding=ROUND_CEILING))


def format_bytes(count: int) -> str:
    """``count`` exactly, in the largest binary unit that leaves a whole number: ``10Gi``, ``1500Mi``, ``1025``."""
    for suffix, bits in _IEC:
        if count and count % (1 << bits) == 0:
            return f"{count >> bits}{suffix}"
    return str(count)


def format_human(count: int) -> str:
    """``count`` for people, one decimal at most: ``285.9Mi``, ``2.5Gi``, ``10Gi``. Not exact."""
    for suffix, bits in _IEC:
        if count >= 1 << bits:
            scaled = (Decimal(count) / (1 << bits)).quantize(Decimal("0.1"), rounding=ROUND_HALF_UP)
            return f"{scaled:f}".removesuffix(".0") + suffix
    return f"{count}"


def round_up(count: int, unit: int = 1 << 20) -> int:
    """``count`` rounded up to a multiple of ``unit`` (disks: 1 MiB)."""
    return -(-count // unit) * unit
