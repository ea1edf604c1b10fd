"""``hv curl``: one request to the API, with the login that hv has; for scripts and for looking around."""

from __future__ import annotations

import argparse
import os
import sys

from hyperd.cli.options import home_of
from hyperd.client import failure, sanitize
from hyperd.client.http1 import Connection
from hyperd.errors import BadRequest

EXAMPLES = """\
  hv curl /version
  hv curl '/apis/virtualization.deckhouse.io/v1alpha2/virtualmachines?watch=1'
  hv curl -X POST /api/v1/namespaces -d '{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"lab"}}'
  hv curl -X PUT PATH -d @object.yaml -H 'Content-Type: application/yaml'
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("path", help="path with query, as in the API")
    parser.add_argument("-X", "--request", default="", metavar="METHOD", help="GET, or POST when there is a body")
    parser.add_argument("-d", "--data", default="", help="body; @FILE reads a file, @- stdin")
    parser.add_argument("-H", "--header", action="append", default=[], help="header: 'Name: value'")
    parser.add_argument("-i", "--include", action="store_true", help="print status and headers too")


def run(args: argparse.Namespace) -> int:
    """Send it, copy the answer to stdout; exit code 1 for an answer of 400 or more."""
    home = home_of(args)
    if not args.path.startswith("/"):
        raise BadRequest(f"The path must start with a slash: /{args.path}")
    body = _body(args.data)
    method = (args.request or ("POST" if body else "GET")).upper()
    headers = {"Content-Type": _content_type(method)} if body else {}
    for header in args.header:
        name, _, value = header.partition(":")
        headers[name.strip()] = value.strip()
    try:
        connection = Connection(home)
        response = connection.request(method, args.path, headers=headers, body=body)
        connection.socket.settimeout(None)
        if args.include:
            head = [str(response.status), *(f"{name}: {value}" for name, value in response.headers), "", ""]
            _write("\n".join(head).encode("latin-1"))
        last = b"\n"
        for piece in response.pieces():
            last = piece or last
            _write(piece)
        if not last.endswith(b"\n"):
            _write(b"\n")
    except OSError as err:
        if isinstance(err, BrokenPipeError):
            raise
        raise failure.from_os_error(err, home) from err
    return 1 if response.status >= 400 else 0


def _write(data: bytes) -> None:
    if sys.stdout.isatty():
        data = sanitize.text(data.decode("utf-8", "replace")).encode()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _content_type(method: str) -> str:
    return "application/merge-patch+json" if method == "PATCH" else "application/json"


def _body(data: str) -> bytes:
    if data == "@-":
        return sys.stdin.buffer.read()
    if data.startswith("@"):
        with open(os.path.expanduser(data[1:]), "rb") as file:
            return file.read()
    return data.encode()
