"""``hv edit``: an object in ``$EDITOR``; what was changed is checked by the server, shown, and then written."""

from __future__ import annotations

import argparse
import sys

from hyperd.cli.options import client_of, coloured
from hyperd.cli.printing import emit, object_name
from hyperd.client import change, kinds, sanitize
from hyperd.client.editor import Unchanged, edited
from hyperd.client.sync import Client
from hyperd.errors import BadRequest, Conflict, HyperdError, Invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from hyperd.client.resource import Resource
    from hyperd.resources.schema.kind import Object

EXAMPLES = """\
  hv edit vm web-7
  hv edit vm/web-7 --dry-run     show what would change, write nothing
  EDITOR=nano hv edit vd data -n shop
"""
_ATTEMPTS = 5
_GREEN, _RED, _RESET = "\x1b[32m", "\x1b[31m", "\x1b[0m"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("kind", help="a kind by any name; or kind/name")
    parser.add_argument("name", nargs="?", default="", help="name of the object")
    parser.add_argument("--dry-run", action="store_true", help="let the server check, write nothing")


def run(args: argparse.Namespace) -> int:
    """Edit until the server takes it, or nothing is changed any more."""
    client = client_of(args)
    word, _, name = args.kind.partition("/")
    name = name or args.name
    if not name:
        raise BadRequest("Say which object to edit: a kind and a name.")
    resource = kinds.resolve(word, client)[0]
    namespace = client.home.namespace if resource.namespaced else None
    live = client.get(resource, namespace, name)
    original = change.editable(live)
    text, complaint = "", ""
    while True:
        try:
            wanted, text = edited(original, complaint=complaint, text=text)
        except Unchanged:
            emit([f"{object_name(resource, name)} not changed"])
            return 1 if complaint else 0
        try:
            checked, patch = _checked(client, resource, namespace, name, original, wanted)
            break
        except (Invalid, BadRequest) as err:
            if not sys.stdin.isatty():
                raise type(err)(_told(err)) from err
            complaint = sanitize.text(_told(err))
    emit(_shown(change.differences(original, change.editable(checked)), colour=coloured()))
    if args.dry_run:
        emit([f"{object_name(resource, name)} edited (dry run)"])
        return 0
    client.patch(resource, namespace, name, patch)
    emit([f"{object_name(resource, name)} edited"])
    return 0


def _checked(
    client: Client, resource: Resource, namespace: str | None, name: str, original: Object, wanted: Object
) -> tuple[Object, Object]:
    """What the server makes of it, and the patch; laid over what is there now. Raises Conflict, Invalid."""
    for attempt in range(_ATTEMPTS):
        live = client.get(resource, namespace, name)
        if clashing := change.conflicts(original, wanted, change.editable(live)):
            raise Conflict(f"Somebody else changed {', '.join(clashing)} meanwhile; edit it again.")
        patch = change.at_version(change.patch_of(original, wanted), live)
        try:
            return client.patch(resource, namespace, name, patch, dry_run=True), patch
        except Conflict:
            if attempt == _ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


def _told(err: HyperdError) -> str:
    # An API server puts the whole object before what is wrong with it.
    _, strict, what = err.message.rpartition("strict decoding error: ")
    if strict:
        return what
    return "\n".join((what, *(f"{cause.field}: {cause.message}" for cause in err.causes)))


def _shown(found: Iterable[change.Difference], *, colour: bool) -> list[str]:
    lines = []
    for path, before, after in found:
        lines.append(f"  {sanitize.line(path)}")
        for sign, value, code in (("-", before, _RED), ("+", after, _GREEN)):
            if value is not None:
                text = f"    {sign} {sanitize.line(str(value))}"
                lines.append(f"{code}{text}{_RESET}" if colour else text)
    return lines or ["  nothing that the server keeps"]
