"""Where a user has been: a list with its filter, order, marks and cursor, and the way through such lists.

Each kind keeps its own filter and order; ``Trail`` goes back and forward as a browser does. It is kept between
runs in the user's state folder. Marks are not: what was marked yesterday is no list of what to delete today.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from hyperd import durable

MOST_CONTEXTS = 50
_MOST_BYTES = 1 << 18
_LONGEST = 512
_FORM = 1


@dataclass
class Context:
    """One look at a list. ``sort`` is a column's title, empty where it is the kind's own order."""

    view: str
    query: str = ""
    sort: str = ""
    reverse: bool = False
    cursor: str = ""
    """The identity of the object under the cursor."""
    marks: set[str] = field(default_factory=set)
    """The identities of what is marked."""


class Trail:
    """The contexts that were visited, in order; one of them is current."""

    def __init__(self, view: str) -> None:
        self._contexts = [Context(view)]
        self._at = 0
        self._before = 0
        self.namespace = ""

    @property
    def current(self) -> Context:
        return self._contexts[self._at]

    @property
    def visited(self) -> tuple[tuple[str, ...], int]:
        """The views of all contexts, and the place of the current one."""
        return tuple(context.view for context in self._contexts), self._at

    def visit(self, view: str, *, anew: bool = False) -> Context:
        """Go to a list as it was left last; what was ahead is dropped.

        The list that is current stays as it is, unless ``anew``: then one can come back to where one was in it.
        """
        if view == self.current.view and not anew:
            return self.current
        order = [self.current, *reversed(self._contexts)]
        kept = next((context for context in order if context.view == view), Context(view))
        self._before = self._at
        del self._contexts[self._at + 1 :]
        self._contexts.append(replace(kept, marks=set(kept.marks)))
        dropped = max(0, len(self._contexts) - MOST_CONTEXTS)
        del self._contexts[:dropped]
        self._at = len(self._contexts) - 1
        self._before = max(0, self._before - dropped)
        return self.current

    def step(self, by: int) -> bool:
        """Go back (-1) or forward (1); False where there is nothing."""
        if not 0 <= self._at + by < len(self._contexts):
            return False
        self._before, self._at = self._at, self._at + by
        return True

    def swap(self) -> bool:
        """Go to the one that was current before this one; False where there is none."""
        if self._before == self._at:
            return False
        self._at, self._before = self._before, self._at
        return True

    def dumps(self) -> bytes:
        """What is kept of it."""
        contexts = [
            {"view": c.view, "query": c.query, "sort": c.sort, "reverse": c.reverse, "cursor": c.cursor}
            for c in self._contexts
        ]
        kept = {"form": _FORM, "namespace": self.namespace, "at": self._at, "before": self._before}
        return json.dumps({**kept, "contexts": contexts}, indent=1).encode()

    def loads(self, content: bytes) -> bool:
        """Take what was kept; False, and nothing changes, where that is not what ``dumps`` writes."""
        try:
            kept = json.loads(content)
            contexts = [_context(entry) for entry in kept["contexts"]]
            at, before, namespace = kept["at"], kept["before"], kept["namespace"]
        except (ValueError, TypeError, KeyError, RecursionError):
            return False
        places = range(min(len(contexts), MOST_CONTEXTS))
        if kept.get("form") != _FORM or len(contexts) > MOST_CONTEXTS or not _short(namespace):
            return False
        if any(type(place) is not int or place not in places for place in (at, before)):
            return False
        self._contexts, self._at, self._before, self.namespace = contexts, at, before, namespace
        return True


def _context(entry: Mapping[str, object]) -> Context:
    """Raises ValueError, KeyError, TypeError."""
    view, query, sort, cursor = (entry[name] for name in ("view", "query", "sort", "cursor"))
    reverse = entry["reverse"]
    if not (_short(view) and _short(query) and _short(sort) and _short(cursor) and isinstance(reverse, bool)):
        raise ValueError(entry)
    return Context(str(view), str(query), str(sort), reverse, str(cursor))


def _short(value: object) -> bool:
    return isinstance(value, str) and len(value) <= _LONGEST and value.isprintable()


def state_file(environment: Mapping[str, str] = os.environ) -> Path:
    """Where it is kept: ``$XDG_STATE_HOME/hyperd/tui.json``."""
    base = environment.get("XDG_STATE_HOME") or ""
    folder = Path(base) if base.startswith("/") else Path(environment.get("HOME") or "/") / ".local/state"
    return folder / "hyperd" / "tui.json"


def read(path: Path) -> bytes:
    """What is kept at ``path``; empty where there is nothing that can be read. Blocking."""
    with suppress(OSError), path.open("rb") as file:
        return file.read(_MOST_BYTES)
    return b""


def write(path: Path, content: bytes) -> None:
    """Keep it, whole or not at all; a folder that cannot be written keeps nothing, which is no fault. Blocking."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        durable.write(path, content)
