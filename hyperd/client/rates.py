"""What machines and nodes use now: the difference of two samples of a home's counters (group ``stats…``).

The home's clock stands in each sample, so neither the way nor the reader's clock matters. What a home sends may be
anything; what is no number counts as none.
"""

from __future__ import annotations

from hyperd.client.shapes import mapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hyperd.resources.schema.kind import Object

_LARGEST = 1 << 63

Sample = tuple[int, ...]
"""What is kept of one sample, by the places below; -1 where nothing is told."""
(_AT, _CPU, _WAIT, _CORES, _MEMORY, _FREE, _RESIDENT, _STORAGE, _STORAGE_FREE, _READ, _WRITTEN, _RECEIVED,
 _SENT) = range(13)  # fmt: skip


def sample(obj: Object) -> Sample:
    """The numbers of a VirtualMachineStats or NodeStats."""
    cpu, memory, storage = (mapping(obj.get(name)) for name in ("cpu", "memory", "storage"))
    free = memory.get("usableBytes")
    read, written = _sums(obj.get("disks"), "readBytes", "writeBytes")
    received, sent = _sums(obj.get("interfaces"), "receivedBytes", "sentBytes")
    return (
        _number(obj.get("uptimeNanoseconds")), _number(cpu.get("nanoseconds")),
        _number(cpu.get("waitNanoseconds")), _number(cpu.get("cores")), _number(memory.get("bytes")),
        _number(memory.get("availableBytes") if free is None else free, -1), _number(memory.get("residentBytes")),
        _number(storage.get("bytes")), _number(storage.get("availableBytes")), read, written, received, sent,
    )  # fmt: skip


class Use:
    """Of a machine or a node. ``cpu`` and ``wait`` are parts (0 to 1) of its processors, None in a first sample;
    memory and storage are bytes; the others bytes a second."""

    __slots__ = (
        "cores", "cpu", "memory", "memory_used", "read", "received", "sent", "storage", "storage_used", "wait",
        "written",
    )  # fmt: skip

    def __init__(self, now: Sample) -> None:
        self.cores = now[_CORES]
        self.memory = now[_MEMORY]
        self.memory_used = max(0, now[_MEMORY] - now[_FREE]) if now[_FREE] >= 0 else now[_RESIDENT]
        self.storage = now[_STORAGE]
        self.storage_used = max(0, now[_STORAGE] - now[_STORAGE_FREE])
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


def apart(before: Sample, now: Sample) -> float:
    """Seconds from one sample to another, by the home's clock; many where it began anew."""
    seconds = (now[_AT] - before[_AT]) / 1e9
    return seconds if seconds >= 0 else 1e9


def use(before: Sample | None, now: Sample) -> Use:
    """What is used now; of a first sample, and where counters began anew, only what is no rate."""
    found = Use(now)
    if before is None:
        return found
    seconds = (now[_AT] - before[_AT]) / 1e9
    cpu = now[_CPU] - before[_CPU]
    if seconds <= 0 or cpu < 0:
        return found
    cores = found.cores or 1
    found.cpu = min(1.0, cpu / 1e9 / seconds / cores)
    found.wait = min(1.0, max(0.0, (now[_WAIT] - before[_WAIT]) / 1e9 / seconds / cores))
    found.read, found.written, found.received, found.sent = (
        max(0.0, (now[place] - before[place]) / seconds) for place in (_READ, _WRITTEN, _RECEIVED, _SENT)
    )
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


def spelled(count: float) -> str:
    """Bytes as ``940 B`` or ``1.2 GiB``, for sentences."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def percent(part: float | None) -> str:
    """``61%``; nothing where it is not known."""
    return "" if part is None else f"{part * 100:.0f}%"


def _number(value: object, otherwise: int = 0) -> int:
    if type(value) is int:
        return value if 0 <= value < _LARGEST else otherwise
    return int(value) if isinstance(value, float) and 0 <= value < _LARGEST else otherwise


def _sums(parts: object, first: str, second: str) -> tuple[int, int]:
    if not isinstance(parts, list):
        return 0, 0
    found = [0, 0]
    for part in parts:
        if isinstance(part, dict):
            found[0] += _number(part.get(first))
            found[1] += _number(part.get(second))
    return found[0], found[1]
