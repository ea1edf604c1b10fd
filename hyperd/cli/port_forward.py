"""``hv port-forward``: ports of a machine on this host, and one port on standard input and output."""

from __future__ import annotations

import argparse
import sys

from hyperd.cli.options import home_of, target
from hyperd.client import forwarding, sanitize
from hyperd.errors import BadRequest

EXAMPLES = """\
  hv port-forward web-7 8080:80           127.0.0.1:8080 leads to its port 80
  hv port-forward web-7.shop 5432 :443    5432 to 5432, and any free port to 443
  hv port-forward web-7 8080:80 --address 0.0.0.0
  hv port-forward web-7 --stdio 22        for ProxyCommand of ssh
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("machine", help="name, or name.namespace")
    parser.add_argument("ports", nargs="+", metavar="[LOCAL:]PORT", help="TCP ports; without LOCAL the same here")
    parser.add_argument("--address", default="127.0.0.1", help="where to listen (127.0.0.1)")
    parser.add_argument(
        "--all-users", action="store_true", help="at a loopback address, let other users of this host connect too"
    )
    parser.add_argument("--stdio", action="store_true", help="carry standard input and output to the one port")


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl+C, or until one side of the standard streams ends."""
    home = home_of(args)
    namespace, name = target(args.machine, args, home)
    ports = [wanted(text) for text in args.ports]
    if args.stdio:
        if len(ports) != 1:
            raise BadRequest("--stdio carries one port.")
        forwarding.carry(forwarding.opener(home, namespace, name, ports[0][1])(), 0, 1)
        return 0
    forwards = []
    for local, port in ports:
        listener = forwarding.listen(args.address, local)
        where = listener.getsockname()
        print(f"{where[0]}:{where[1]} leads to port {port} of {namespace}/{sanitize.line(name)}", flush=True)
        open_ = forwarding.opener(home, namespace, name, port)
        forwards.append(forwarding.Forward(listener, open_, complain, all_users=args.all_users))
    forwarding.serve(forwards)
    return 0


def complain(text: str) -> None:
    """One connection failed; the others go on."""
    print(f"hv: {text}", file=sys.stderr, flush=True)


def wanted(text: str) -> tuple[int, int]:
    """The local and the remote port of ``8080:80``, ``80`` or ``:80``. Raises BadRequest."""
    if "/" in text:
        raise BadRequest(f"{text!r}: hv forwards TCP; for UDP there is `d8 v port-forward`.")
    local, colon, remote = text.rpartition(":")
    remote_port = _port(remote, text, 1)
    return (_port(local, text, 0) if local else 0) if colon else remote_port, remote_port


def _port(digits: str, text: str, least: int) -> int:
    if digits.isascii() and digits.isdigit() and least <= int(digits[:6]) <= forwarding.HIGHEST_PORT:
        return int(digits)
    raise BadRequest(f"{text!r} is no port like 80, 8080:80 or :80.")
