"""The cluster that ``hv install`` and its like are about: never the daemon of this machine."""

from __future__ import annotations

import argparse
import sys

from hyperd.cli.options import home_of
from hyperd.client import sanitize
from hyperd.client.kubeconfig import load
from hyperd.client.sync import Client
from hyperd.errors import BadRequest

_SECONDS = 60.0
_DEPRECATED = " is deprecated"


def cluster_of(args: argparse.Namespace) -> Client:
    """Of the API server that flags, ``$KUBECONFIG`` or ``~/.kube/config`` name. Raises BadRequest for a socket."""
    from hyperd.client.finding import kubeconfig_paths

    if args.socket:
        raise BadRequest("A socket leads to one machine's hyperd: name a cluster with --kubeconfig or --context.")
    home = home_of(args) if args.kubeconfig or args.context else load(kubeconfig_paths()).home()
    if home.socket:
        raise BadRequest(f'"{home.name}" is one machine\'s hyperd, not a cluster: name one with --kubeconfig.')
    return Client(home, warn=_warn, timeout=_SECONDS)


def _warn(text: str) -> None:
    # Kinds are looked at in the version that is stored, which may be an old one.
    if _DEPRECATED not in text:
        print(f"Warning: {sanitize.text(text)}", file=sys.stderr)
