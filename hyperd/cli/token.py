"""``hv token``: make, list and revoke the tokens by which others reach this hyperd."""

from __future__ import annotations

import argparse
import base64
import sys
import time

from hyperd.cli.options import client_of, seconds
from hyperd.cli.printing import TablePrinter, document, emit
from hyperd.client import ages, paths, sanitize
from hyperd.errors import BadRequest, NotFound
from hyperd.roles import LOGIN_TYPE, TOKEN_GROUP, TOKEN_VERSION, Role

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hyperd.client.sync import Client
    from hyperd.resources.schema.kind import Object

EXAMPLES = """\
  hv token create ci --role editor -n shop -n lab     a token for two namespaces, for a day; shown once
  hv token create backup --role viewer --ttl 90d      read everything, for ninety days
  hv token list
  hv token revoke ci                                  its holder is refused from now on
"""

DEFAULT_TTL = "24h"
_SYSTEM = "/api/v1/namespaces/hyperd-system/secrets"
_REQUESTS = f"/apis/{TOKEN_GROUP}/{TOKEN_VERSION}/tokenrequests"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("action", choices=("create", "list", "revoke"), help="what to do")
    parser.add_argument("names", nargs="*", metavar="NAME", help="names of tokens")
    parser.add_argument("--role", choices=[role.value for role in Role], help="what a new token lets do")
    parser.add_argument(
        "--ttl", type=seconds, default=seconds(DEFAULT_TTL), metavar="TIME", help="how long it lasts: 90s, 8h, 30d"
    )
    parser.add_argument("-o", "--output", choices=("text", "json", "yaml"), default="text", help="form of output")


def run(args: argparse.Namespace) -> int:
    """Do it. A new token alone goes to stdout, what is to be known of it to stderr."""
    client = client_of(args)
    if args.action == "create":
        return _create(client, args)
    return _list(client, args) if args.action == "list" else _revoke(client, args)


def request(client: Client, name: str, *, role: str, namespaces: list[str], ttl: float) -> Object:
    """Have a token made; the answer's status holds it. Raises AlreadyExists, Invalid, Forbidden."""
    spec = {"role": role, "namespaces": namespaces, "expirationSeconds": int(ttl)}
    body = {
        "apiVersion": f"{TOKEN_GROUP}/{TOKEN_VERSION}",
        "kind": "TokenRequest",
        "metadata": {"name": name},
        "spec": spec,
    }
    return client.call("POST", _REQUESTS, body=body)


def _create(client: Client, args: argparse.Namespace) -> int:
    if len(args.names) != 1 or not args.role:
        raise BadRequest("Say one name and a role: hv token create ci --role editor -n shop.")
    made = request(client, args.names[0], role=args.role, namespaces=args.namespace, ttl=args.ttl)
    status = made["status"]
    if args.output != "text":
        sys.stdout.write(document(made, args.output))
        return 0
    print(sanitize.line(str(status["token"])))
    where = ", ".join(args.namespace) or "everywhere"
    end = sanitize.line(str(status["expirationTimestamp"]))
    print(f"{args.role} {where}, until {end}. It is not shown again.", file=sys.stderr)
    return 0


def _list(client: Client, args: argparse.Namespace) -> int:
    try:
        listed = client.call("GET", _SYSTEM + paths.query({"fieldSelector": f"type={LOGIN_TYPE}"}))["items"]
    except NotFound:
        listed = []
    tokens = [_row(secret) for secret in listed]
    if args.output != "text":
        sys.stdout.write(document(tokens, args.output))
        return 0
    if not tokens:
        print("There are no tokens.", file=sys.stderr)
        return 0
    rows = [
        [token["name"], token["role"], ",".join(token["namespaces"]) or "*", _left(token["expires"]), token["age"]]
        for token in tokens
    ]
    names = ("Name", "Role", "Namespaces", "Ends", "Age")
    table = {"columnDefinitions": [{"name": name} for name in names], "rows": [{"cells": row} for row in rows]}
    emit(TablePrinter(wide=True, namespaces=False, colour=False).format(table))
    return 0


def _row(secret: Object) -> Object:
    data = {key: base64.b64decode(value).decode("utf-8", "replace") for key, value in secret["data"].items()}
    return {
        "name": secret["metadata"]["name"],
        "role": data.get("role", ""),
        "namespaces": data.get("namespaces", "").split(),
        "expires": data.get("expires", ""),
        "age": ages.age(secret["metadata"].get("creationTimestamp", "")),
    }


def _left(end: str) -> str:
    at = ages.parse(end)
    if at is None:
        return ""
    return f"in {ages.span(at - time.time())}" if at > time.time() else "expired"


def _revoke(client: Client, args: argparse.Namespace) -> int:
    if not args.names:
        raise BadRequest("Say which token to revoke; `hv token list` shows them.")
    for name in args.names:
        path = f"{_SYSTEM}/{paths.segment(name)}"
        try:
            secret = client.call("GET", path)
        except NotFound:
            secret = {}
        if secret.get("type") != LOGIN_TYPE:
            raise NotFound(f'There is no token "{name}"; `hv token list` shows those there are.')
        client.call("DELETE", path)
        print(f'Token "{sanitize.line(name)}" is revoked.')
    return 0
