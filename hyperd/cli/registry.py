"""``hv registry``: what the registry of images holds, and the removal of what nobody needs there."""

from __future__ import annotations

import argparse

from hyperd.cli import gc
from hyperd.cli.options import client_of
from hyperd.client.rates import spelled
from hyperd.client.sanitize import line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hyperd.resources.schema.kind import Object

EXAMPLES = """\
  hv registry gc            images, space, and what a collection would remove; removes nothing (--check)
  hv registry gc --run      remove that now, and not when registry.gc_schedule says; imports wait meanwhile

The same with curl alone, on the host:
  curl --unix-socket /run/hyperd/hyperd.sock -X POST \\
    'http://hv/apis/subresources.virtualization.deckhouse.io/v1alpha2/nodes/NODE/collectgarbage?check=true'
"""
_KINDS = {"vi": "VirtualImage", "cvi": "ClusterVirtualImage", "vd": "VirtualDisk"}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("action", choices=("gc",), help="what to do")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="say what a collection would remove (default)")
    what.add_argument("--run", action="store_true", dest="now", help="remove it")


def run(args: argparse.Namespace) -> int:
    """Of every node of the home: a registry that they share is told by its leader."""
    client = client_of(args)
    for node in gc.nodes(client):
        if args.now:
            gc.say(node, gc.ask(client, node, {}))
        else:
            _check(node, gc.ask(client, node, {"check": "true"}))
    return 0


def _check(node: str, answer: Object) -> None:
    found = answer["registry"]
    removable = found["removable"]
    images, ownerless = gc.counted("manifests", int(found["images"])), int(found["ownerless"])
    counts = f"{images}, {ownerless} without an owner, {len(removable)} can be removed"
    print(f"{line(node)}: {counts}")
    if space := found["space"]:
        total, used, available = (spelled(space[key]) for key in ("total", "used", "available"))
        share = round(100 * space["used"] / max(1, space["used"] + space["available"]))
        print(f"{line(node)}: total {total}, used {used} ({share} %), available {available}")
    if answer.get("waits"):
        print(f"{line(node)}: {line(str(answer['waits']))}")
    if removable:
        rows = [("KIND", "NAMESPACE", "NAME", "UID"), *(_row(each) for each in removable)]
        widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
        for row in rows:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _row(image: Object) -> tuple[str, ...]:
    """Of a repository ``…/vi/NAMESPACE/NAME`` or ``…/cvi/NAME``; of a foreign one its whole name."""
    parts = str(image["repository"]).split("/")
    at = next((at for at, part in enumerate(parts) if part in _KINDS), None)
    if at is None:
        return "-", "-", line(image["repository"]), line(image["tag"])
    *namespace, name = parts[at + 1 :]
    return _KINDS[parts[at]], line("/".join(namespace)) or "-", line(name), line(image["tag"])
