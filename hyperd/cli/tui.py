"""``hv tui``: the terminal interface on one home or several."""

from __future__ import annotations

import argparse
import os
import sys

from hyperd.client import remotes
from hyperd.client.finding import find
from hyperd.client.home import DEFAULT_SOCKET, Home
from hyperd.errors import BadRequest

EXAMPLES = """\
  hv tui                                the hyperd of this machine, and the homes that `hv remote` keeps
  hv tui --context lab --context edge   several homes in one list
  hv tui --socket ssh://root@edge       a hyperd on another machine
  hv tui -n shop                        start with one namespace
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "--escape", default="^]", metavar="KEY", help="what leaves a raw console: ^], ^X, ~. or none"
    )
    parser.add_argument("--read-only", action="store_true", help="offer nothing that changes anything")
    parser.add_argument("--plain", action="store_true", help="no colours, and no signs beyond ASCII")
    parser.add_argument("machine", nargs="?", default="", help="open on this machine")


def run(args: argparse.Namespace) -> int:
    """Open it; returns when the user quits."""
    homes = _homes(args)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise BadRequest("The terminal interface needs a terminal; `hv get vm -w` follows machines without one.")
    from dataclasses import replace

    from tui import config
    from tui.app import HvApp
    from tui.context import state_file

    settings = config.load(config.path())
    settings = replace(
        settings, plain=settings.plain or args.plain, read_only=settings.read_only or args.read_only
    )
    app = HvApp(
        homes, namespace=args.namespace, machine=args.machine, escape=args.escape, state=state_file(),
        config=settings,
    )  # fmt: skip
    app.run()
    return app.return_code or 0


def _homes(args: argparse.Namespace) -> list[Home]:
    """Those that are named; else the one that is found here, and all that are kept."""
    if args.socket or args.context:
        named = [find(socket=socket, namespace=args.namespace) for socket in args.socket]
        for context in args.context:
            named.append(find(kubeconfig=args.kubeconfig, context=context, namespace=args.namespace))
        return named
    kept = [] if args.kubeconfig else [*remotes.load().values()]
    homes = [remote.home(namespace=args.namespace) for remote in kept]
    here = os.path.exists(DEFAULT_SOCKET) or any(map(os.environ.get, ("HYPERD_SOCKET", "KUBECONFIG")))
    if homes and not here:
        return homes
    return [find(kubeconfig=args.kubeconfig, namespace=args.namespace), *homes]
