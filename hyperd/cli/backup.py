"""``hv backup``: a copy of all objects of an embedded home, taken while it runs."""

from __future__ import annotations

import argparse

from hyperd import durable
from hyperd.cli.options import client_of
from hyperd.client import kinds, paths
from hyperd.client.sync import Client
from hyperd.errors import BadRequest, ServiceUnavailable

EXAMPLES = """\
  hv backup /var/backups/hyperd.db     machines, disks, images, secrets as objects; not the disks' content
  hv restore /var/backups/hyperd.db    the way back, on the host, with hyperd stopped
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("file", help="where to; an older file is replaced once the new one is whole")
    parser.add_argument("--node", default="", help="name of the node, where the home has several")


def _only_node(client: Client) -> str:
    """Raises BadRequest where it is not plain which one is meant."""
    nodes = [node["metadata"]["name"] for node in client.list(kinds.resolve("nodes", client)[0])["items"]]
    if len(nodes) != 1:
        found = f"there are {', '.join(nodes[:5])}" if nodes else "the home has none yet"
        raise BadRequest(f"Name the node with --node: {found}.")
    return str(nodes[0])


def run(args: argparse.Namespace) -> int:
    """Copy, and say how much."""
    client = client_of(args)
    node = args.node or _only_node(client)
    path = f"{paths.SUBRESOURCES}/nodes/{paths.segment(node)}/backup"
    with durable.replacing(args.file) as file:
        with client.stream("GET", path, accept="*/*", timeout=60.0) as stream:
            expected = stream.length
            for piece in stream.pieces():
                file.write(piece)
                if file.tell() > expected:
                    break
        size = file.tell()
        if size != expected:
            raise ServiceUnavailable(f"The backup broke off after {size} of {expected} bytes; try again.")
    print(f"Wrote {args.file}, {size} bytes.")
    return 0
