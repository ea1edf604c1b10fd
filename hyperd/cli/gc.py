"""``hv gc``: remove what no object owns, now rather than on schedule."""

from __future__ import annotations

import argparse

from hyperd.cli.options import client_of
from hyperd.client import kinds, paths
from hyperd.client.sanitize import line

EXAMPLES = """\
  hv gc                  images in the registry and files on the node without an owner
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """No flags of its own."""


def run(args: argparse.Namespace) -> int:
    """Collect on every node of the home, and say what went."""
    client = client_of(args)
    for node in client.list(kinds.resolve("nodes", client)[0])["items"]:
        name = node["metadata"]["name"]
        answer = client.call("POST", f"{paths.SUBRESOURCES}/nodes/{paths.segment(name)}/collectgarbage")
        removed = ", ".join(f"{count} {what}" for what, count in answer["removed"].items() if count)
        print(f"{line(name)}: {line(removed) or 'nothing to remove'}")
    return 0
