"""``hv why``: what keeps an object from being well, down to the root, and what mends that."""

from __future__ import annotations

import argparse

from hyperd.cli.naming import named, scope
from hyperd.cli.options import client_of
from hyperd.cli.printing import emit
from hyperd.client import kinds
from hyperd.client.lookup import events_of, finder
from hyperd.client.why import Cause, told, why
from hyperd.errors import BadRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from hyperd.client.sync import Client
    from hyperd.resources.schema.kind import Object

EXAMPLES = """\
  hv why vm web-7
  hv why vd/data vi/debian-12
  hv why -A                  all machines, disks and images that are not well
"""
_LOOKED_AT = ("vm", "vd", "vi", "cvi", "vmop")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("words", nargs="*", metavar="KIND NAME", help="a kind and names, or kind/name words")
    parser.add_argument("-A", "--all-namespaces", action="store_true", help="of all namespaces")


def run(args: argparse.Namespace) -> int:
    """Explain each object that is not well."""
    client = client_of(args)
    find = finder(client)
    shown: set[str] = set()
    lines: list[str] = []
    for obj in _chosen(client, args):
        cause = why(obj, find, lambda one: events_of(client, one))
        if not args.words and (cause.well or cause.uid in shown):
            continue
        shown.update(one.uid for one in _all(cause))
        lines += [*([""] if lines else []), *told(cause)]
    emit(lines or ["All is well."])
    return 0


def _chosen(client: Client, args: argparse.Namespace) -> Iterator[Object]:
    if not args.words:
        for word in _LOOKED_AT:
            resource = kinds.resolve(word, client)[0]
            where = None if args.all_namespaces else scope(client, resource)
            for item in client.list(resource, where).get("items") or ():
                yield {"apiVersion": resource.api_version, "kind": resource.kind, **item}
        return
    if args.all_namespaces:
        raise BadRequest("An object that is named is in one namespace: say -n.")
    for resource, name in named(client, args.words):
        yield {"kind": resource.kind, **client.get(resource, scope(client, resource), name)}


def _all(cause: Cause) -> Iterator[Cause]:
    yield cause
    for one in cause.because:
        yield from _all(one)
