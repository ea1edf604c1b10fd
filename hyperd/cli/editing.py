"""``hv edit``: an object in ``$EDITOR``; what was changed is checked by the server, shown, and then written."""

from __future__ import annotations

import argparse
import sys

from hyperd.cli.options import client_of, coloured
from hyperd.cli.printing import emit, object_name
from hyperd.client import change, kinds, sanitize
from hyperd.client.editor import Draft, Unchanged, Unreadable
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
    draft = Draft(change.editable(live))
    try:
        return _edit(args, client, resource, live, draft)
    except HyperdError as err:
        raise type(err)(f"{err.message}{draft.kept()}", causes=err.causes) from err


def _edit(args: argparse.Namespace, client: Client, resource: Resource, live: Object, draft: Draft) -> int:
    name = object_name(resource, str(live["metadata"]["name"]))
    while True:
        try:
            wanted = draft.edit()
        except Unchanged:
            emit([f"{name} not changed"])
            if not draft.complaint:
                return 0
            print(f"hv: The last attempt was refused.{draft.kept()}", file=sys.stderr)
            return 1
        except Unreadable as err:
            _complain(draft, err)
            continue
        try:
            _write(args, client, resource, live, wanted)
            return 0
        except (Invalid, BadRequest) as err:
            _complain(draft, err)


def _complain(draft: Draft, err: HyperdError) -> None:
    """To whoever can mend it. Raises ``err`` where nobody sits at a terminal."""
    if not sys.stdin.isatty():
        raise type(err)(_told(err)) from err
    draft.complaint = sanitize.text(_told(err))


def _write(args: argparse.Namespace, client: Client, resource: Resource, seen: Object, wanted: Object) -> None:
    """Lay what was changed over what is there now. Raises Conflict, Invalid."""
    name, original = str(seen["metadata"]["name"]), change.editable(seen)
    namespace = client.home.namespace if resource.namespaced else None
    told: list[str] = []
    for attempt in range(_ATTEMPTS):
        live = client.get(resource, namespace, name)
        if clashing := change.conflicts(original, wanted, change.editable(live)):
            raise Conflict(f"Somebody else changed {', '.join(clashing)} meanwhile; edit it again.")
        patch = change.at_version(change.patch_of(original, wanted), live)
        try:
            checked = client.patch(resource, namespace, name, patch, dry_run=True)
            found = change.differences(*change.veiled(original, change.editable(checked)))
            if told != (told := _shown(found, colour=coloured())):
                emit(told)
            if not args.dry_run:
                client.patch(resource, namespace, name, patch)
            break
        except Conflict:  # somebody wrote in this moment, which may be no more than its status
            if attempt == _ATTEMPTS - 1:
                raise
    emit([f"{object_name(resource, name)} edited" + (" (dry run)" if args.dry_run else "")])


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
                text = f"    {sign} {sanitize.line(change.text_of(value))}"
                lines.append(f"{code}{text}{_RESET}" if colour else text)
    return lines or ["  nothing that the server keeps"]
