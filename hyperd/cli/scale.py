"""``hv scale``: how many of something there shall be, by the subresource that autoscalers write too."""

from __future__ import annotations

import argparse

from hyperd.cli.naming import chosen
from hyperd.cli.options import client_of
from hyperd.cli.printing import emit, object_name
from hyperd.client import paths
from hyperd.client.sync import MERGE_PATCH
from hyperd.errors import BadRequest, Conflict, HyperdError, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hyperd.cli.naming import Named
    from hyperd.client.sync import Client
    from hyperd.resources.schema.kind import Object

EXAMPLES = """\
  hv scale vmpool web --replicas=5
  hv scale vmpool/web vmpool/build --replicas 0
  hv scale vmpool/web --current-replicas=2 --replicas=3      only if it is 2 now
  hv wait vmpool/web --for=jsonpath='{.status.readyReplicas}'=3
"""
_TRIES = 5
"""So often somebody else may write between a look and its write."""
_MOST = 2**31 - 1


class _Otherwise(Conflict):
    """What the caller takes for so is not so."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("words", nargs="+", metavar="KIND NAME", help="a kind and names, or kind/name words")
    parser.add_argument("--replicas", type=_number, required=True, metavar="COUNT", help="how many there shall be")
    parser.add_argument(
        "--current-replicas",
        type=_number,
        default=None,
        metavar="COUNT",
        help="only where there shall be so many now",
    )
    parser.add_argument(
        "--resource-version", default="", metavar="VERSION", help="only where the object is still this one"
    )
    parser.add_argument("-l", "--selector", default="", metavar="LABELS", help="all with these labels")
    parser.add_argument("--all", action="store_true", help="all of the namespace")
    parser.add_argument("--dry-run", action="store_true", help="let the server check, write nothing")
    parser.add_argument("-o", "--output", choices=("name",), default="", help="print the names alone")


def run(args: argparse.Namespace) -> int:
    """Scale each; what is refused is said, and the others go on. Exit code 1 where one was refused."""
    client = client_of(args)
    wanted = chosen(client, args, args.words)
    if args.resource_version and len(wanted) > 1:
        raise BadRequest("--resource-version is of one object; name that alone.")
    refused = 0
    for each in wanted:
        try:
            _scale(client, args, each)
        except HyperdError as err:
            from hyperd.cli.main import explain

            refused = explain(err)
            continue
        name = object_name(each[0], each[2])
        emit([name if args.output == "name" else f"{name} scaled" + (" (dry run)" if args.dry_run else "")])
    return refused


def _scale(client: Client, args: argparse.Namespace, each: Named) -> None:
    path = f"{paths.single(*each)}/scale"
    where = paths.query({"dryRun": "All" if args.dry_run else "", "fieldValidation": "Strict"})
    conditional = args.current_replicas is not None or args.resource_version
    for left in reversed(range(_TRIES)):
        patch: Object = {"spec": {"replicas": args.replicas}}
        try:
            if conditional:
                patch["metadata"] = {"resourceVersion": _unchanged(client, args, each, path)}
            client.call("PATCH", path + where, body=patch, content_type=MERGE_PATCH)
        except _Otherwise:
            raise
        except Conflict:
            # Somebody wrote in between, perhaps its status alone: what was asked for is looked at anew.
            if args.resource_version or not left:
                raise
        except NotFound as err:
            raise _no_number(client, each, err) from err
        else:
            return


def _unchanged(client: Client, args: argparse.Namespace, each: Named, path: str) -> str:
    """The version at which all is as the caller has it. Raises _Otherwise where it is not."""
    scale = client.call("GET", path)
    name = object_name(each[0], each[2])
    now = (scale.get("spec") or {}).get("replicas") or 0
    if args.current_replicas not in (None, now):
        raise _Otherwise(f"{name} was left as it is: replicas is {now}, not {args.current_replicas}.")
    version = str(scale["metadata"].get("resourceVersion"))
    if args.resource_version not in ("", version):
        raise _Otherwise(f"{name} was left as it is: its version is {version}, not {args.resource_version}.")
    return version


def _no_number(client: Client, each: Named, err: NotFound) -> HyperdError:
    """What it means that there is no such Scale: no such object, or one that counts nothing."""
    resource, _, name = each
    found = client.find(*each)
    if found is None:
        return NotFound(f"There is no {object_name(resource, name)} to scale.")
    if (found.get("spec") or {}).get("replicas") is None and "replicas field" in err.message:
        return err
    return BadRequest(f"{resource.plural} cannot be scaled: there is one of each.")


def _number(text: str) -> int:
    if text.isascii() and text.isdigit() and int(text[:11]) <= _MOST:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 on")
