"""One entry of the audit log, and the line that it becomes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

import orjson

from hyperd.api.access.authorization import Attributes
from hyperd.logs import blank_secrets
from hyperd.store.interface import User

_LONGEST_TEXT: Final = 512


@dataclass(frozen=True, slots=True)
class Entry:
    """One request, as far as it was understood. ``at`` is in seconds since 1970."""

    at: float
    request: str
    source: str
    agent: str
    user: User | None
    attributes: Attributes
    code: int
    milliseconds: float
    by: str = ""
    """Who asked as ``user``."""
    made: str = ""
    """Name that the object got, where the request did not say it in its path."""
    opened: bool = False
    """Whether this tells a session's beginning; its end is an entry, too."""
    count: int = 0
    """So many requests since ``first`` are told as this one, the last of them."""
    first: float = 0.0

    def folded(self, source: str, *, count: int, first: float) -> Entry:
        """This entry for ``count`` of its kind; ``source`` is what they have in common where nobody logged in."""
        return replace(self, source=source if self.user is None else self.source, count=count, first=first)

    def line(self) -> bytes:
        """JSON, without what is empty."""
        user, wanted = self.user or User(""), self.attributes
        fields: dict[str, object] = {
            "time": _time(self.at),
            "request": self.request,
            "user": user.name,
            "groups": [_text(group) for group in user.groups],
            "extra": {_text(key): [_text(value) for value in values] for key, values in user.extra},
            "by": self.by,
            "source": self.source,
            "verb": wanted.verb,
            "group": wanted.group,
            "resource": wanted.resource,
            "subresource": wanted.subresource,
            "namespace": wanted.namespace,
            "name": wanted.name or self.made,
            "path": wanted.path,
            "stage": "folded" if self.count else "opened" if self.opened else "",
            "count": self.count,
            "first": _time(self.first) if self.count else "",
            "code": self.code,
            "milliseconds": round(self.milliseconds, 3),
            "agent": self.agent,
        }
        kept = {key: _text(value) if isinstance(value, str) else value for key, value in fields.items() if value}
        return orjson.dumps(kept) + b"\n"


def _text(value: str) -> str:
    """Bounded, without credentials; a path or a header may hold bytes that are no text."""
    return blank_secrets(value[:_LONGEST_TEXT].encode("utf-8", "backslashreplace").decode())


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
