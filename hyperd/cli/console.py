"""``hv console``: a machine's serial console on this terminal."""

from __future__ import annotations

import argparse
import sys

from hyperd.cli.options import home_of, seconds, target
from hyperd.client.attach import attach, note

EXAMPLES = """\
  hv console web-7                waits until it runs; Ctrl+] leaves
  hv console web-7.shop           a machine of another namespace
  hv console web-7 --force        also if somebody else has it, who is then thrown out
  hv console web-7 --escape '~.'  leave with Enter ~ . where Ctrl+] cannot be typed
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("machine", help="name, or name.namespace")
    parser.add_argument(
        "--escape", default="^]", metavar="KEY", help="what leaves: ^] (default), any ^X, ~. or none"
    )
    parser.add_argument("-f", "--force", action="store_true", help="take it from who has it, without asking")
    parser.add_argument("--timeout", "-t", type=seconds, default=300.0, help="how long to wait for it to run (5m)")
    parser.add_argument("--replay", type=int, default=65536, metavar="BYTES", help="past output to show first")


def run(args: argparse.Namespace) -> int:
    """Attach; leaving, or being displaced, is a normal end. Raises Conflict where somebody has it."""
    home = home_of(args)
    namespace, name = target(args.machine, args, home)
    sys.stdout.flush()
    replay = max(0, args.replay)
    note(attach(home, namespace, name, escape=args.escape, timeout=args.timeout, replay=replay, force=args.force))
    return 0
