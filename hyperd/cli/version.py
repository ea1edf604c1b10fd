"""``hv version``: of hv itself, and of the server when there is one."""

from __future__ import annotations

import argparse

from hyperd.cli.options import client_of
from hyperd.client import sanitize
from hyperd.errors import HyperdError

EXAMPLES = "  hv version\n  hv version --client\n"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("--client", action="store_true", help="do not ask the server")


def run(args: argparse.Namespace) -> int:
    """Print both; a server that cannot be asked is said, and is no failure."""
    from importlib.metadata import version

    print(f"hv      {version('hyperd')}")
    if args.client:
        return 0
    client = client_of(args)
    try:
        answer = client.call("GET", "/version")
        print(f"server  {sanitize.line(str(answer.get('gitVersion', 'unknown')))} at {client.home.where}")
    except HyperdError as err:
        print(f"server  {sanitize.line(err.message)}")
    return 0
