"""What machines and nodes use, live: rates of the counters that homes tell, and their last minutes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import pairwise

from rich.text import Text

from hyperd.client.amounts import quantity
from hyperd.client.rates import Sample, Use, apart, binary, percent, sample, short, use
from tui.fleet import Fleet
from tui.lines import pair
from tui.shelf import Key
from tui.spark import scaled, spark

MACHINES = "virtualmachinestats"
NODES = "nodestats"
SOURCES = {MACHINES: "virtualmachines", NODES: "nodes"}
"""Kinds of counters → whose."""
_KEPT = 60
"""Samples: two minutes of them while somebody looks."""
_BARS = 24
_ROOMY = 84
"""From this width on there is room for all of them."""
_HOUR_BARS = 24
_HOUR_SECONDS = 150
"""One bar of the last hour."""
_FEW = 4
"""Bars in a row."""


class Course:
    """One object's last samples. What is used is worked out when it is looked at: most are out of sight."""

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque(maxlen=_KEPT)
        self._hour: deque[Sample] = deque(maxlen=_HOUR_BARS + 1)
        self._uses: list[Use] | None = None
        self._now: Use | None = None

    def add(self, now: Sample) -> None:
        """One more sample."""
        self._samples.append(now)
        if not self._hour or apart(self._hour[-1], now) >= _HOUR_SECONDS:
            self._hour.append(now)
        self._uses = self._now = None

    @property
    def use(self) -> Use:
        """What is used now."""
        if self._now is None:
            samples = self._samples
            self._now = use(samples[-2] if len(samples) > 1 else None, samples[-1])
        return self._now

    def last(self, most: int) -> list[Use]:
        """What was used at the last times of which rates are known."""
        if self._uses is None:
            samples = list(self._samples)
            self._uses = [use(before, now) for before, now in zip([None, *samples], samples, strict=False)]
        return [one for one in self._uses if one.cpu is not None][-most:]

    @property
    def hour(self) -> list[Use]:
        """What was used on the average of each few minutes, up to an hour back; as long as hv tui looks."""
        uses = (use(before, now) for before, now in pairwise(self._hour))
        return [one for one in uses if one.cpu is not None]

    @property
    def bars(self) -> list[float]:
        """The last few parts of its processors."""
        samples = list(self._samples)[-_FEW - 1 :]
        uses = (use(before, now) for before, now in pairwise(samples))
        return [one.cpu for one in uses if one.cpu is not None]


class Usage:
    """By kind of counters and name, since the name is all that counters and their object share."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._courses: dict[str, dict[tuple[str, str, str], Course]] = {plural: {} for plural in SOURCES}

    def take(self, plural: str, keys: Iterable[Key]) -> set[Key]:
        """Counters have changed; returns the keys of the objects that they are of."""
        found = set()
        shelf, courses = self._fleet.shelf(SOURCES[plural]), self._courses[plural]
        for key in keys:
            now = self._fleet.get(plural, key)
            place = (key.home, key.namespace, key.name)
            if now is None:
                courses.pop(place, None)
            else:
                courses.setdefault(place, Course()).add(sample(now))
            if (of := shelf.find(key.home, key.namespace, key.name)) is not None:
                found.add(of)
        return found

    def of(self, plural: str, key: Key) -> Course | None:
        """The course of an object of the kind ``plural``; None where nothing is told of it."""
        counters = next((one for one, of in SOURCES.items() if of == plural), "")
        return self._courses[counters].get((key.home, key.namespace, key.name)) if counters else None

    def totals(self) -> list[tuple[str, float]]:
        """CPU, memory and storage of all nodes together, as (word, part); empty where no node tells."""
        nodes = [course.use for course in self._courses[NODES].values()]
        cores = sum(node.cores for node in nodes if node.cpu is not None)
        memory, storage = sum(node.memory for node in nodes), sum(node.storage for node in nodes)
        found = []
        if cores:
            found.append(("cpu", sum(node.cores * node.cpu for node in nodes if node.cpu is not None) / cores))
        if memory:
            found.append(("mem", sum(node.memory_used for node in nodes) / memory))
        if storage:
            found.append(("disk", sum(node.storage_used for node in nodes) / storage))
        return found


def lines(course: Course, width: int) -> list[Text]:
    """For an overview of ``width`` cells."""
    bars = _BARS if width >= _ROOMY else _BARS // 2
    past, now = course.last(bars), course.use
    found = []
    if now.cpu is not None:
        wait = f"  waits {percent(now.wait)}" if now.wait >= 0.01 else ""
        parts = [one.cpu or 0.0 for one in past]
        found.append(_line(bars, "cpu now", parts, f"{percent(now.cpu)} of {now.cores}{wait}"))
    used = f"{percent(now.memory_part)}  {binary(now.memory_used)} of {binary(now.memory)}"
    found.append(_line(bars, "mem now", [one.memory_part for one in past], used))
    if now.storage:
        used = f"{percent(now.storage_part)}  {binary(now.storage_used)} of {binary(now.storage)}"
        found.append(pair("storage", Text(used)))
    elif now.cpu is not None:
        rates = f"read {short(now.read)}B/s  write {short(now.written)}B/s"
        found.append(_line(bars, "disk now", scaled([one.read + one.written for one in past]), rates))
        rates = f"in {short(now.received)}B/s  out {short(now.sent)}B/s"
        found.append(_line(bars, "net now", scaled([one.received + one.sent for one in past]), rates))
    if hour := course.hour:
        minutes = len(hour) * _HOUR_SECONDS / 60
        parts = [one.cpu or 0.0 for one in hour]
        average = f"{percent(sum(parts) / len(parts))} on the average of {minutes:.0f} min"
        found.append(_line(bars, "cpu past", parts, f"{average}, {percent(max(parts))} at most"))
        parts = [one.memory_part for one in hour]
        found.append(_line(bars, "mem past", parts, f"{percent(max(parts))} at most"))
    return found


def _line(bars: int, label: str, parts: Sequence[float], text: str) -> Text:
    return pair(label, Text().append(f"{spark(parts, bars):>{bars}}  ", style="cyan").append(text))


class Reading(str):
    """What a live cell shows, and what it is worth: ``▂▅ 82%`` sorts as 82."""

    __slots__ = ("worth",)
    worth: float

    @classmethod
    def of(cls, text: str, worth: float) -> Reading:
        made = cls(text)
        made.worth = worth
        return made


def cpu(course: Course) -> Reading | None:
    """``▂▃▅▇  82%``."""
    now = course.use.cpu
    return None if now is None else Reading.of(f"{spark(course.bars, _FEW)} {percent(now):>4}", now * 100)


def memory(course: Course) -> Reading | None:
    """``61%``."""
    return Reading.of(percent(course.use.memory_part), course.use.memory_part * 100)


def storage(course: Course) -> Reading | None:
    """``61%``."""
    return Reading.of(percent(course.use.storage_part), course.use.storage_part * 100)


def disk(course: Course) -> Reading | None:
    """``4.1M`` a second, read and written."""
    rate = course.use.read + course.use.written
    return None if course.use.cpu is None else Reading.of(short(rate), rate)


def network(course: Course) -> Reading | None:
    """``12M`` a second, in and out."""
    rate = course.use.received + course.use.sent
    return None if course.use.cpu is None else Reading.of(short(rate), rate)


def worth(value: object) -> float | None:
    """What a live cell, or a number that is asked for, is worth."""
    return (
        value.worth
        if isinstance(value, Reading)
        else quantity(value.rstrip("%") if isinstance(value, str) else value)
    )
