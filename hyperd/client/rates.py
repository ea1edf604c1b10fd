"""What machines and nodes use now: the difference of two samples of a home's counters (group ``stats…``).

The home's clock stands in each sample, so neither the way nor the reader's clock matters. What a home sends may be
anything; what is no number counts as none.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hyperd.resources.schema.kind import Object

_LARGEST = float(1 << 63)


class Use:
    """Of a machine or a node. ``cpu`` and ``wait`` are parts (0 to 1) of its processors, None in a first sample;
    memory and storage are bytes; the others bytes a second."""

    __slots__ = (
        "cores", "cpu", "memory", "memory_used", "read", "received", "sent", "storage", "storage_used", "wait",
        "written",
    )  # fmt: skip

    def __init__(self, now: Object) -> None:
        self.cores = _number(now, "cpu", "cores")
        self.memory = _number(now, "memory", "bytes")
        usable = _field(now, "memory", "usableBytes")
        free = usable if usable is not None else _field(now, "memory", "availableBytes")
        resident = _number(now, "memory", "residentBytes")
        self.memory_used = max(0.0, self.memory - free) if free is not None else resident
        self.storage = _number(now, "storage", "bytes")
        self.storage_used = max(0.0, self.storage - _number(now, "storage", "availableBytes"))
        self.cpu: float | None = None
        self.wait = self.read = self.written = self.received = self.sent = 0.0

    @property
    def memory_part(self) -> float:
        """How much of its memory is used, 0 to 1."""
        return min(1.0, self.memory_used / self.memory) if self.memory else 0.0

    @property
    def storage_part(self) -> float:
        """How much of its storage is used, 0 to 1."""
        return min(1.0, self.storage_used / self.storage) if self.storage else 0.0


def use(before: Object | None, now: Object) -> Use:
    """What is used now; of a first sample, and where counters began anew, only what is no rate."""
    found = Use(now)
    if before is None:
        return found
    seconds = (_number(now, "uptimeNanoseconds") - _number(before, "uptimeNanoseconds")) / 1e9
    cpu = _number(now, "cpu", "nanoseconds") - _number(before, "cpu", "nanoseconds")
    if seconds <= 0 or cpu < 0:
        return found
    cores = found.cores or 1.0
    found.cpu = min(1.0, cpu / 1e9 / seconds / cores)
    waited = _number(now, "cpu", "waitNanoseconds") - _number(before, "cpu", "waitNanoseconds")
    found.wait = min(1.0, max(0.0, waited / 1e9 / seconds / cores))
    for name, parts, counter in (
        ("read", "disks", "readBytes"), ("written", "disks", "writeBytes"),
        ("received", "interfaces", "receivedBytes"), ("sent", "interfaces", "sentBytes"),
    ):  # fmt: skip
        setattr(found, name, max(0.0, (_sum(now, parts, counter) - _sum(before, parts, counter)) / seconds))
    return found


def short(number: float) -> str:
    """``0``, ``940``, ``1.2k``, ``84M``: at most four characters."""
    for unit in ("", "k", "M", "G", "T", "P"):
        if number < 999.5:
            return f"{number:.1f}{unit}" if unit and number < 9.95 else f"{number:.0f}{unit}"
        number /= 1000
    return "many"


def binary(number: float) -> str:
    """Bytes as ``512Mi`` or ``1.2Gi``."""
    for unit in ("", "Ki", "Mi", "Gi", "Ti"):
        if number < 1000:
            return f"{number:.1f}{unit}" if unit and number < 9.95 else f"{number:.0f}{unit}"
        number /= 1024
    return f"{number:.0f}Pi"


def percent(part: float | None) -> str:
    """``61%``; nothing where it is not known."""
    return "" if part is None else f"{part * 100:.0f}%"


def _field(obj: Object, *path: str) -> float | None:
    value: object = obj
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _LARGEST:
        return float(value)
    return None


def _number(obj: Object, *path: str) -> float:
    return _field(obj, *path) or 0.0


def _sum(obj: Object, parts: str, counter: str) -> float:
    found = obj.get(parts)
    if not isinstance(found, list):
        return 0.0
    return sum(_number(part, counter) for part in found if isinstance(part, dict))
