"""What is shown in the place of what only those may see who may edit the object.

A kind names the paths; these are the functions that it names them with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from hyperd.resources.kind import Object

Cover = Callable[[str], str]
LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
"""kubectl's annotation, which repeats the whole object."""


def hidden(_: str) -> str:
    """A word in the place of a text."""
    return "<hidden>"


def emptied(_: str) -> str:
    """Nothing, where a text must stay base64."""
    return ""


def without_credentials(url: str) -> str:
    """A URL without user, password and query, where signatures and tokens stand."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return hidden(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def cover(covers: Mapping[str, Cover], obj: Object) -> None:
    """Replace every text at the paths of ``covers`` and below, in place, and drop kubectl's copy of it all.

    Lists on the way of a path are gone through.
    """
    for path, replace in covers.items():
        _cover_at(obj, path.split("."), replace)
    annotations = obj["metadata"].get("annotations")
    if annotations:
        annotations.pop(LAST_APPLIED, None)


def _cover_at(node: Any, path: Sequence[str], replace: Cover) -> None:
    if isinstance(node, list):
        for one in node:
            _cover_at(one, path, replace)
    elif isinstance(node, dict) and path[0] in node:
        if len(path) == 1:
            node[path[0]] = _covered(node[path[0]], replace)
        else:
            _cover_at(node[path[0]], path[1:], replace)


def _covered(value: Any, replace: Cover) -> Any:
    if isinstance(value, dict):
        return {key: _covered(one, replace) for key, one in value.items()}
    if isinstance(value, list):
        return [_covered(one, replace) for one in value]
    return replace(value) if isinstance(value, str) else value
