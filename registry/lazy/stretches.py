"""Chunks that stand side by side, to be asked for in one go."""

from __future__ import annotations

from collections.abc import Callable, Iterator


def stretches(first: int, last: int, wanted: Callable[[int], bool]) -> Iterator[tuple[int, int]]:
    """Those of ``first`` to ``last`` that are wanted, each as its first and its last."""
    start = -1
    for number in range(first, last + 2):
        if number <= last and wanted(number):
            start = number if start < 0 else start
        elif start >= 0:
            yield start, number - 1
            start = -1
