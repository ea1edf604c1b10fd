"""What texts of the API are worth as numbers, to put them in order: quantities and addresses."""

from __future__ import annotations

import re
from ipaddress import ip_address

_QUANTITY = re.compile(
    r"(?P<number>[+-]?(?:\d{1,30}\.?\d{0,30}|\.\d{1,30}))"
    r"(?:(?P<unit>[kMGTPE]i?|Ki|m|u|n)|[eE](?P<power>[+-]?\d{1,2}))?\Z"
)
_UNITS = {"n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3} | {
    unit + binary: float((1024 if binary else 1000) ** power)
    for power, unit in enumerate(("K", "M", "G", "T", "P", "E"), 1)
    for binary in ("", "i")
}


def quantity(value: object) -> float | None:
    """``4Gi``, ``500m``, ``1e3`` or a number; None for what is none."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    found = _QUANTITY.match(value) if isinstance(value, str) else None
    if found is None:
        return None
    return float(found["number"]) * _UNITS.get(found["unit"] or "", 1.0) * 10.0 ** int(found["power"] or 0)


def address(value: object) -> float | None:
    """An IP address as a number; IPv4 before IPv6."""
    try:
        found = ip_address(str(value))
    except ValueError:
        return None
    return float(int(found)) + (2.0**33 if found.version == 6 else 0.0)
