"""What is shown in the place of what only those may see who may edit the object.

A kind names the paths; these are the functions that it names them with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from hyperd.resources.schema.kind import Object

Cover = Callable[[str], str]
LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
"""kubectl's annotation, which repeats the whole object."""
_MESSAGES: Final = ("status", "conditions", "message")


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


def led_to(paths: Sequence[str], obj: Object) -> set[str]:
    """The namespaces that ``paths`` of ``obj`` lead to."""
    return {name for path in paths for name in _names_in(_parent_and_value(path, obj)[1])}


def cover_elsewhere(paths: Sequence[str], unseen: frozenset[str], obj: Object) -> None:
    """Take the namespaces ``unseen``, and what is in them, from ``paths`` of ``obj``, in place.

    Conditions of an object that leads there lose their messages: these tell what is there.
    """
    for path in paths:
        parent, value = _parent_and_value(path, obj)
        if isinstance(parent, dict) and isinstance(value, list):
            parent[path.rpartition(".")[2]] = [name for name in value if name not in unseen]
            # Who owns an element of a set is noted with the element itself.
            obj["metadata"].pop("managedFields", None)
        elif isinstance(value, dict) and unseen.intersection(_names_in(value)):
            for name in ("namespace", "name", "uid"):
                if name in value:
                    value[name] = hidden(value[name])
            _cover_at(obj, _MESSAGES, hidden)
    (obj["metadata"].get("annotations") or {}).pop(LAST_APPLIED, None)


def _parent_and_value(path: str, obj: Object) -> tuple[object, object]:
    parent: object = None
    node: object = obj
    for part in path.split("."):
        parent, node = node, node.get(part) if isinstance(node, dict) else None
    return parent, node


def _names_in(value: object) -> list[str]:
    if isinstance(value, dict):
        value = [value.get("namespace")]
    return [name for name in value if isinstance(name, str) and name] if isinstance(value, list) else []


def _cover_at(node: object, path: Sequence[str], replace: Cover) -> None:
    if isinstance(node, list):
        for one in node:
            _cover_at(one, path, replace)
    elif isinstance(node, dict) and path[0] in node:
        if len(path) == 1:
            node[path[0]] = _covered(node[path[0]], replace)
        else:
            _cover_at(node[path[0]], path[1:], replace)


def _covered(value: object, replace: Cover) -> object:
    if isinstance(value, dict):
        return {key: _covered(one, replace) for key, one in value.items()}
    if isinstance(value, list):
        return [_covered(one, replace) for one in value]
    return replace(value) if isinstance(value, str) else value
