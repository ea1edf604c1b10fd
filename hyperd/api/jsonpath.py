"""The part of kubectl's JSONPath that printer columns use, compiled once to closures.

Fields (``.a.b``, ``['a.b']``, ``.a\\.b``), indices, ``[*]`` and equality filters
(``[?(@.type=="Ready")]``, ``[?(@.on==true)]``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

Step = Callable[[Any], Iterator[Any]]

_STEP = re.compile(
    r"""\.(?P<field>(?:\\.|[^.\[\\])+)
      | \[['"](?P<quoted>[^'"]*)['"]\]
      | \[(?P<index>-?\d+)\]
      | \[(?P<all>\*)\]
      | \[\?\(@(?P<path>[^=!]*?)\s*(?P<op>==|!=)\s*
        (?:['"](?P<value>[^'"]*)['"]|(?P<literal>true|false|-?\d+))\)\]""",
    re.VERBOSE,
)


def find(path: str, value: Any) -> list[Any]:
    """All values at ``path``; empty when there is none."""
    values = [value]
    for step in _compile(path):
        values = [found for one in values for found in step(one)]
    return values


@lru_cache(maxsize=256)
def _compile(path: str) -> tuple[Step, ...]:
    """Raises ValueError for what this dialect does not have."""
    path = path.strip().removeprefix("{").removesuffix("}")
    if not path.startswith((".", "[")):
        path = f".{path}"
    steps: list[Step] = []
    at = 0
    while at < len(path):
        match = _STEP.match(path, at)
        if match is None:
            raise ValueError(f"JSONPath {path!r} is not understood at {path[at:]!r}")
        steps.append(_step(match))
        at = match.end()
    return tuple(steps)


def _step(match: re.Match[str]) -> Step:
    if (name := match["field"]) is not None:
        return _field(re.sub(r"\\(.)", r"\1", name))
    if (name := match["quoted"]) is not None:
        return _field(name)
    if match["index"] is not None:
        return _index(int(match["index"]))
    if match["all"] is not None:
        return _all
    if match["literal"] is not None:
        return _filter(match["path"] or "", match["op"] == "==", json.loads(match["literal"]))
    return _filter(match["path"] or "", match["op"] == "==", match["value"])


def _field(name: str) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, dict) and name in value:
            yield value[name]

    return step


def _index(index: int) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, list) and -len(value) <= index < len(value):
            yield value[index]

    return step


def _all(value: Any) -> Iterator[Any]:
    yield from value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _filter(path: str, equal: bool, wanted: str | int) -> Step:
    def step(value: Any) -> Iterator[Any]:
        for one in value if isinstance(value, list) else ():
            values = find(path, one)
            if (wanted in ([str(found) for found in values] if isinstance(wanted, str) else values)) == equal:
                yield one

    return step
