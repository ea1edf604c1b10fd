"""The part of kubectl's JSONPath that printer columns use, compiled once to closures.

Fields (``.a.b``, ``['a.b']``, ``.a\\.b``), indices, ``[*]`` and equality filters
(``[?(@.type=="Ready")]``, ``[?(@.on==true)]``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple


class Step(NamedTuple):
    """One step, from a value to ``all`` that it leads to, or to the ``first`` of them, None without one."""

    all: Callable[[Any], Iterable[Any]]
    first: Callable[[Any], Any]


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
        values = [found for one in values for found in step.all(one)]
    return values


def value_at(value: Any, path: str) -> Any:
    """The first value at ``path``, or None: where each step leads to one, as in a row of a list."""
    for step in _compile(path):
        value = step.first(value)
    return value


@lru_cache(maxsize=512)
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
        return Step(_all, lambda value: next(iter(_all(value)), None))
    if match["literal"] is not None:
        return _filter(match["path"] or "", match["op"] == "==", json.loads(match["literal"]))
    return _filter(match["path"] or "", match["op"] == "==", match["value"])


def _field(name: str) -> Step:
    def first(value: Any) -> Any:
        return value.get(name) if isinstance(value, dict) else None

    return Step(lambda value: [value[name]] if isinstance(value, dict) and name in value else (), first)


def _index(index: int) -> Step:
    def there(value: Any) -> bool:
        return isinstance(value, list) and -len(value) <= index < len(value)

    return Step(
        lambda value: [value[index]] if there(value) else (), lambda value: value[index] if there(value) else None
    )


def _all(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _filter(path: str, equal: bool, wanted: str | int) -> Step:
    def is_meant(one: Any) -> bool:
        values = find(path, one)
        return (wanted in ([str(found) for found in values] if isinstance(wanted, str) else values)) == equal

    def each(value: Any) -> Iterator[Any]:
        return filter(is_meant, value if isinstance(value, list) else ())

    return Step(each, lambda value: next(each(value), None))
