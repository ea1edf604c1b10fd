"""``hv restore``: put a backup in the place of the store of a stopped hyperd on this host.

The work is the daemon's own, in a process of its own: ``hv`` knows nothing of how objects are stored.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

EXAMPLES = """\
  systemctl stop hyperd                  guests go on
  hv restore /var/backups/hyperd.db      the store that it replaces is kept beside it
  systemctl start hyperd
  hv gc                                  names what runs or lies here that the restored objects do not know
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("backup", metavar="BACKUP", help="a file that `hv backup` wrote")
    parser.add_argument("--config", default="", metavar="FILE", help="settings of the daemon in question")


def run(args: argparse.Namespace) -> int:
    """Run the daemon's own command."""
    config = ["--config", args.config] if args.config else []
    command = [sys.executable, "-P", "-m", "hyperd.daemon", *config, "restore", os.path.abspath(args.backup)]
    return subprocess.run(command, check=False).returncode
