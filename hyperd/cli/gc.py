"""``hv gc``: collect what was deleted, list what has no owner, remove that on request."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import Any

from hyperd.cli.asking import confirmed
from hyperd.cli.options import client_of
from hyperd.client import kinds, paths
from hyperd.client.sanitize import line
from hyperd.client.sync import Client
from hyperd.errors import PermanentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hyperd.resources.schema.kind import Object

EXAMPLES = """\
  hv gc                     collect images that were deleted; list guests, disks and images without an owner,
                            and disks of which two storages have a volume
  hv gc empty UID           remove what is kept of one absent owner, a guest that runs included, or the volume
                            that a disk does not use; asks first
  hv gc empty --all         the same for all that has no owner
  hv gc accept              after a restore of the store: it is right as it is, collect again
"""
_UIDS_PER_REQUEST = 50


_WORDS = {
    "manifests": ("image", "images"),
    "repositories": ("repository without an image", "repositories without an image"),
}
"""What a daemon calls it → what users do, of one and of several."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("action", nargs="?", choices=("empty", "accept"), help="default: collect and list")
    parser.add_argument("uids", nargs="*", metavar="UID", help="with empty: whose remains")
    parser.add_argument("--all", action="store_true", help="with empty: of all that have no owner")
    parser.add_argument("-y", "--yes", action="store_true", help="with empty: do not ask")


def run(args: argparse.Namespace) -> int:
    """Ask every node of the home, and say what went and what is kept."""
    if args.action == "empty" and bool(args.uids) == args.all:
        raise PermanentError("Say whose remains to remove: hv gc empty UID, or hv gc empty --all.")
    if args.action != "empty" and (args.uids or args.all):
        raise PermanentError("A UID and --all belong to `hv gc empty`.")
    client = client_of(args)
    if args.action == "empty":
        return _empty(client, nodes(client), args)
    for node in nodes(client):
        say(node, ask(client, node, {"accept": "true"} if args.action == "accept" else {}))
    return 0


def nodes(client: Client) -> list[str]:
    """Names of all nodes of the home."""
    return [node["metadata"]["name"] for node in client.list(kinds.resolve("nodes", client)[0])["items"]]


def _empty(client: Client, names: list[str], args: argparse.Namespace) -> int:
    """Exactly what was listed goes: what loses its owner meanwhile stays, and what gets it back."""
    chosen = {node: list(_chosen(ask(client, node, {"list": "true"}), args)) for node in names}
    found = {kept["uid"] for of_node in chosen.values() for kept in of_node}
    missing = [uid for uid in args.uids if uid not in found]
    if missing:
        raise PermanentError(f"Nothing without an owner is kept of {', '.join(missing)}; `hv gc` lists what is.")
    if not found:
        print("Nothing is without an owner.")
        return 0
    for node, of_node in chosen.items():
        for kept in of_node:
            print(f"{line(node)}: {line(kept['message'])}")
    if not args.yes and not confirmed(f"Remove what is kept of these {len(found)} for ever?"):
        return 1
    for node, of_node in chosen.items():
        uids = [kept["uid"] for kept in of_node]
        for at in range(0, len(uids), _UIDS_PER_REQUEST):
            say(node, ask(client, node, {}, empty=uids[at : at + _UIDS_PER_REQUEST]), kept=False)
        if uids:
            print(f"{line(node)}: removed what was kept of {len(uids)}")
    return 0


def _chosen(answer: Mapping[str, Any], args: argparse.Namespace) -> Iterator[Mapping[str, str]]:
    for kept in answer.get("kept", ()):
        if kept["uid"] in args.uids or (args.all and not kept.get("owned")):
            yield kept


def ask(client: Client, node: str, query: Mapping[str, str], *, empty: list[str] | None = None) -> Object:
    """What the node says of its garbage; what it does first is in ``query``."""
    where = paths.query(dict(query))
    for uid in empty or ():
        where += f"{'&' if where else '?'}empty={paths.segment(uid)}"
    path = f"{paths.SUBRESOURCES}/nodes/{paths.segment(node)}/collectgarbage{where}"
    answer: Object = client.call("POST", path)
    return answer


def counted(what: str, count: int) -> str:
    """``2 images``, of what a daemon calls ``manifests``."""
    one, many = _WORDS.get(what, (what, what))
    return f"{count} {one if count == 1 else many}"


def say(node: str, answer: Mapping[str, Any], *, kept: bool = True) -> None:
    """Print what went, and unless told otherwise what is kept."""
    removed = " and ".join(counted(what, int(count)) for what, count in answer["removed"].items() if count)
    if removed or kept:
        print(f"{line(node)}: {f'removed {line(removed)}' if removed else 'nothing to remove'}")
    if answer.get("waits"):
        print(f"{line(node)}: {line(str(answer['waits']))}")
    for each in answer.get("kept", ()) if kept else ():
        print(f"{line(node)}: {line(each['message'])}")
