"""What every session asks of its machine and of its request before it begins."""

from __future__ import annotations

from aiohttp import web

from hyperd.errors import BadRequest, NotImplementedYet
from hyperd.resources.schema.kind import AnyObject

_CONNECTABLE = ("Running", "Migrating")


def title(vm: AnyObject) -> str:
    """``namespace/name``."""
    return f"{vm['metadata']['namespace']}/{vm['metadata']['name']}"


def require_running(vm: AnyObject) -> None:
    """Raises BadRequest, after which the reference's clients try again."""
    if vm.get("status", {}).get("phase") not in _CONNECTABLE:
        raise BadRequest(f"VirtualMachine {title(vm)} is not Running or Migrating")


def require_here(vm: AnyObject, node_name: str) -> None:
    """Raises NotImplementedYet where the machine is another node's; ``node_name`` is empty where there is one."""
    node = vm.get("status", {}).get("nodeName", "")
    if node_name and node not in ("", node_name):
        raise NotImplementedYet(
            f"VirtualMachine {title(vm)} is on node {node}, this hyperd on node {node_name}: ask the "
            "cluster's API server, which leads to every node."
        )


def flag(request: web.BaseRequest, name: str) -> bool:
    """Whether the query says that ``name`` is true."""
    return request.query.get(name, "").lower() in ("true", "1")


def number(request: web.BaseRequest, name: str, *, default: int) -> int:
    """The query's ``name``, 0 or more. Raises BadRequest."""
    text = request.query.get(name, "")
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        raise BadRequest(f"{name}={text[:40]!r} is not a number of 0 or more.")
    return int(text)
