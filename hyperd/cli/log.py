"""``hv log``: what a machine's console said, without taking the console from anyone."""

from __future__ import annotations

import argparse
import os
import sys

from hyperd.cli.options import client_of, target
from hyperd.client import paths
from hyperd.client.sync import Stream
from hyperd.errors import ServiceUnavailable

EXAMPLES = """\
  hv log web-7           all that is kept
  hv log web-7 -f        and go on; Ctrl+C ends
  hv log web-7 | less    in a pipe or a file it is what the guest said, byte for byte
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("machine", help="name, or name.namespace")
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what comes")
    parser.add_argument("--tail", type=int, default=-1, metavar="LINES", help="only the last lines")
    help_ = "keep colours and cursor moves on a terminal; what it would answer is left out"
    parser.add_argument("--raw", action="store_true", help=help_)


def run(args: argparse.Namespace) -> int:
    """Copy the log to stdout; on a terminal without what the terminal would obey."""
    client = client_of(args)
    namespace, name = target(args.machine, args, client.home)
    query = paths.query(
        {"follow": "true" if args.follow else "", "tail": str(args.tail) if args.tail >= 0 else ""}
    )
    path = paths.subresource(namespace, name, "log") + query
    with client.stream("GET", path, accept="*/*", timeout=None if args.follow else 60.0) as stream:
        _copy(stream, raw=args.raw)
    if stream.cut:
        raise ServiceUnavailable(f"The connection to {client.home.where} ended before the log did; ask again.")
    return 0


def _copy(stream: Stream, *, raw: bool) -> None:
    if not sys.stdout.isatty():
        for piece in stream.pieces():
            view = memoryview(piece)
            while view:
                view = view[os.write(1, view) :]
    elif raw:
        _show(stream)
    else:
        from hyperd.client.plain import PlainText

        plain = PlainText()
        for piece in stream.pieces():
            sys.stdout.write(plain.feed(piece))
            sys.stdout.flush()


def _show(stream: Stream) -> None:
    """Leaves the terminal as it was, whatever the guest switched on."""
    from hyperd.client.display import Display
    from hyperd.client.outlet import Outlet

    display = Display(utf8=sys.stdout.encoding.lower() == "utf-8")
    outlet = Outlet()
    try:
        for piece in stream.pieces():
            outlet.write(display.feed(piece))
            outlet.drain()
    finally:
        outlet.close()
