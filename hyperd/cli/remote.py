"""``hv remote``: the homes that a user keeps under names."""

from __future__ import annotations

import argparse
import os
import time

from hyperd.cli.printing import emit
from hyperd.client import remotes, sanitize
from hyperd.client.home import Home
from hyperd.client.sync import Client
from hyperd.errors import BadRequest, HyperdError

EXAMPLES = """\
  hv remote add edge ssh://root@edge.example     a hyperd on another machine, by your own ssh
  hv remote add lab /run/hyperd-lab/hyperd.sock  another socket of this machine
  hv remote add prod --context prod              a context of a kubeconfig, a cluster's too
  hv remote list                                 how each of them is now
  hv remote remove lab

They are the homes of `hv tui`, beside the hyperd of this machine; everywhere else --context NAME means one of
them. ssh:// needs nothing on the other machine but hyperd and a login that may open its socket. Your ssh brings
the socket here, by your keys and ~/.ssh/config, and ends a minute after the last connection; $HV_SSH_COMMAND is
run in its place.
"""
_SECONDS = 10.0


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("action", nargs="?", default="list", choices=("list", "add", "remove"), help="what to do")
    parser.add_argument("name", nargs="?", default="", help="what the home is called")
    parser.add_argument("place", nargs="?", default="", help="add: path of a socket, or ssh://USER@HOST[:PORT]")


def run(args: argparse.Namespace) -> int:
    """Do it; of a list, exit code 1 where a home does not answer."""
    if args.action == "list":
        return _list()
    if not args.name:
        raise BadRequest(f"Say which home: hv remote {args.action} NAME.")
    if args.action == "remove":
        remotes.remove(args.name)
        print(f"home/{args.name} removed")
        return 0
    place = args.place or args.socket
    if place and "://" not in place:
        place = os.path.abspath(place)
    kubeconfig = os.path.abspath(args.kubeconfig) if args.kubeconfig else ""
    remote = remotes.Remote(args.name, place=place, context=args.context, kubeconfig=kubeconfig)
    remote.home()
    remotes.add(remote)
    print(f"home/{args.name} added")
    return 0


def completions(client: Client, placed: list[str], current: str) -> list[str]:
    """Names of kept homes."""
    return list(remotes.load()) if placed[:1] == ["remove"] and len(placed) == 1 else []


def _list() -> int:
    kept = remotes.load()
    if not kept:
        print("No homes are kept; hv remote add NAME ssh://root@node keeps one.")
        return 0
    rows = [("NAME", "STATE", "TIME", "VERSION", "WHERE")]
    failed = False
    for name, remote in kept.items():
        try:
            seconds, version = _ask(remote.home())
        except HyperdError as err:
            failed = True
            where = "" if remote.where in err.message else f"{remote.where}: "
            rows.append((name, "✖", "", "", f"{where}{err.message}"))
        else:
            rows.append((name, "●", f"{seconds * 1000:.0f}ms", version, remote.where))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    emit(
        "  ".join(sanitize.line(cell).ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
    return int(failed)


def _ask(home: Home) -> tuple[float, str]:
    """How long one question takes once there is a connection, and the server's version. Raises HyperdError."""
    client = Client(home, timeout=_SECONDS)
    try:
        client.call("GET", "/version")
        began = time.monotonic()
        answer = client.call("GET", "/version")
        return time.monotonic() - began, str(answer.get("gitVersion", "unknown"))
    finally:
        client.close()
