"""``hv tui``: the terminal interface on one home or several."""

from __future__ import annotations

import argparse
import sys

from hyperd.client.finding import find
from hyperd.client.home import Home
from hyperd.errors import BadRequest

EXAMPLES = """\
  hv tui                                the hyperd of this machine
  hv tui --context lab --context edge   several homes in one list
  hv tui -n shop                        start with one namespace
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "--escape", default="^]", metavar="KEY", help="what leaves a raw console: ^], ^X, ~. or none"
    )
    parser.add_argument("machine", nargs="?", default="", help="open on this machine")


def run(args: argparse.Namespace) -> int:
    """Open it; returns when the user quits."""
    homes: list[Home] = [
        find(socket=args.socket, kubeconfig=args.kubeconfig, context=context, namespace=args.namespace)
        for context in args.context or [""]
    ]
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise BadRequest("The terminal interface needs a terminal; `hv get vm -w` follows machines without one.")
    from tui.app import HvApp
    from tui.context import state_file

    app = HvApp(homes, namespace=args.namespace, machine=args.machine, escape=args.escape, state=state_file())
    app.run()
    return app.return_code or 0
