"""``hv patch``, ``hv label`` and ``hv annotate``: small changes without an editor or a file."""

from __future__ import annotations

import argparse

from hyperd.cli.naming import chosen, placed
from hyperd.cli.options import client_of
from hyperd.cli.printing import document, emit, object_name
from hyperd.client.sync import MERGE_PATCH
from hyperd.errors import BadRequest, Conflict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hyperd.client.resource import Resource
    from hyperd.resources.schema.kind import Object

EXAMPLES = {
    "patch": '  hv patch vm web-7 -p \'{"spec": {"memory": {"size": "4Gi"}}}\'\n'
    "  hv patch vm web-7 -p 'spec: {cpu: {cores: 4}}'      YAML is fine too\n"
    '  hv patch vm web-7 --type json -p \'[{"op": "remove", "path": "/metadata/labels/old"}]\'\n',
    "label": "  hv label vm web-7 app=web tier=front\n  hv label vm web-7 tier-          takes it off\n"
    "  hv label vm -l app=web --overwrite tier=back\n",
    "annotate": "  hv annotate vm web-7 owner=ops\n  hv annotate vm web-7 owner-\n",
}
_TYPES = {
    "merge": MERGE_PATCH,
    "json": "application/json-patch+json",
    "strategic": "application/strategic-merge-patch+json",
}
_FIELDS = {"label": "labels", "annotate": "annotations"}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    command = parser.get_default("command")
    parser.add_argument("words", nargs="+", metavar="KIND NAME", help="a kind and names, or kind/name words")
    parser.add_argument("--dry-run", action="store_true", help="let the server check, write nothing")
    parser.add_argument("-o", "--output", choices=("yaml", "json", "name"), default="", help="print the objects")
    if command == "patch":
        parser.add_argument("-p", "--patch", default="", help="the patch, as JSON or YAML")
        parser.add_argument("--patch-file", default="", metavar="FILE", help="a file with it")
        parser.add_argument("--type", choices=sorted(_TYPES), default="merge", help="what it is (default merge)")
    else:
        parser.add_argument("-l", "--selector", default="", metavar="LABELS", help="all with these labels")
        parser.add_argument("--all", action="store_true", help="all of the namespace")
        parser.add_argument("--overwrite", action="store_true", help="also what has another value already")


def run(args: argparse.Namespace) -> int:
    """Change each object; the first that is refused ends it."""
    client = client_of(args)
    if args.command == "patch":
        patch = _patch(args)
        for resource, namespace, name in placed(client, args.words):
            changed = client.patch(resource, namespace, name, patch, kind=_TYPES[args.type], dry_run=args.dry_run)
            _tell(args, resource, changed, "patched")
        return 0
    words = [word for word in args.words if not _is_setting(word)]
    settings = [word for word in args.words if _is_setting(word)]
    if not settings:
        raise BadRequest(f"Say what to {args.command}: key=value, or key- to take it off.")
    for resource, namespace, name in chosen(client, args, words):
        live = client.get(resource, namespace, name)
        field = _FIELDS[args.command]
        change = _settings(args, settings, (live.get("metadata") or {}).get(field) or {}, name)
        changed = client.patch(resource, namespace, name, {"metadata": {field: change}}, dry_run=args.dry_run)
        _tell(args, resource, changed, "labelled" if args.command == "label" else "annotated")
    return 0


def _is_setting(word: str) -> bool:
    return "=" in word or (word.endswith("-") and len(word) > 1)


def _settings(args: argparse.Namespace, words: list[str], have: Object, name: str) -> Object:
    found: Object = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            found[word[:-1]] = None
            continue
        if not args.overwrite and have.get(key, value) != value:
            raise Conflict(f"{name} has {key}={have[key]} already; --overwrite replaces it.")
        found[key] = value
    return found


def _patch(args: argparse.Namespace) -> object:
    if bool(args.patch) == bool(args.patch_file):
        raise BadRequest("Give the patch by -p, or by --patch-file.")
    text = args.patch
    if args.patch_file:
        with open(args.patch_file, encoding="utf-8", errors="surrogateescape") as file:
            text = file.read()
    from hyperd.client.yamltext import load

    try:
        found = load(text)
    except ValueError as err:
        raise BadRequest(f"The patch is neither JSON nor YAML: {err}") from err
    if not isinstance(found, dict | list):
        raise BadRequest("The patch is neither an object nor a list.")
    return found


def _tell(args: argparse.Namespace, resource: Resource, changed: Object, what: str) -> None:
    if args.output in ("yaml", "json"):
        emit([*(["---"] if args.output == "yaml" else []), document(changed, args.output).rstrip("\n")])
        return
    name = object_name(resource, changed["metadata"]["name"])
    emit([name if args.output == "name" else f"{name} {what}" + (" (dry run)" if args.dry_run else "")])
