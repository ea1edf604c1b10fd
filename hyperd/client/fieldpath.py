"""kubectl's JSONPath as printer columns use it: ``.status.conditions[?(@.type=='Ready')].status``."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

_STEP = re.compile(
    r"\.(?P<name>[\w-]+(?:\\\.[\w./-]+)*)"
    r"|\[(?P<index>\d+)\]"
    r"|\[\?\(@\.(?P<key>[\w.-]+)\s*==\s*(?P<quote>['\"])(?P<value>.*?)(?P=quote)\)\]"
    r"|\[(?P<quoted>'[^']*'|\"[^\"]*\")\]"
)

_Step = tuple[str, str, str]


@lru_cache(maxsize=512)
def _steps(path: str) -> tuple[_Step, ...]:
    out: list[_Step] = []
    for match in _STEP.finditer(path):
        if match["name"] is not None:
            out.append(("key", match["name"].replace("\\.", "."), ""))
        elif match["quoted"] is not None:
            out.append(("key", match["quoted"][1:-1], ""))
        elif match["index"] is not None:
            out.append(("index", match["index"], ""))
        else:
            out.append(("where", match["key"], match["value"]))
    return tuple(out)


def value_at(obj: Any, path: str) -> Any:
    """The value that ``path`` leads to, or None."""
    for kind, key, wanted in _steps(path):
        if kind == "key" and isinstance(obj, dict):
            obj = obj.get(key)
        elif kind == "index" and isinstance(obj, list):
            obj = obj[int(key)] if int(key) < len(obj) else None
        elif kind == "where" and isinstance(obj, list):
            obj = next((item for item in obj if isinstance(item, dict) and str(item.get(key)) == wanted), None)
        else:
            return None
    return obj
