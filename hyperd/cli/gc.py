"""``hv gc``: remove what no object owns, now rather than on schedule."""

from __future__ import annotations

import argparse

from hyperd.cli.options import client_of
from hyperd.client import kinds, paths
from hyperd.client.sanitize import line

EXAMPLES = """\
  hv gc                  images in the registry and files on the node without an owner
  hv gc --foreign        after a restore: also what only the store before it knew; guests that run stay
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("--foreign", action="store_true", help="also remove what belongs to another store")


def run(args: argparse.Namespace) -> int:
    """Collect on every node of the home, and say what went."""
    client = client_of(args)
    for node in client.list(kinds.resolve("nodes", client)[0])["items"]:
        name = node["metadata"]["name"]
        query = paths.query({"foreign": "true" if args.foreign else ""})
        answer = client.call("POST", f"{paths.SUBRESOURCES}/nodes/{paths.segment(name)}/collectgarbage{query}")
        removed = ", ".join(f"{count} {what}" for what, count in answer["removed"].items() if count)
        print(f"{line(name)}: {line(removed) or 'nothing to remove'}")
        for sentence in answer.get("kept", ()):
            print(f"{line(name)}: {line(str(sentence))}")
    return 0
