"""What ``hyperd`` is told on its command line."""

from __future__ import annotations

import argparse
from pathlib import Path

from hyperd import __version__


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="hyperd",
        description="Runs virtual machines on this node and serves their API.",
        epilog="Every setting may also come from the environment: HYPERD_API__PORT=7000.",
    )
    made.add_argument(
        "--config", type=Path, metavar="FILE", help="settings file (default /etc/hyperd/hyperd.toml)"
    )
    made.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.FIELD=VALUE",
        help="one setting, over file and environment; may be repeated",
    )
    made.add_argument("--version", action="version", version=f"hyperd {__version__}")
    subparsers = made.add_subparsers(dest="command", metavar="COMMAND")
    put_back = subparsers.add_parser("restore", help="put a backup in the place of the store, and end")
    put_back.add_argument("backup", type=Path, metavar="BACKUP", help="a file that `hv backup` wrote")
    leave = "remove what the network of a hyperd that runs no more has on this host, and end"
    subparsers.add_parser("leave", help=leave)
    return made
