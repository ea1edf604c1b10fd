"""``hv collect-debug-info``: what is known of a machine, in one archive for whoever is to help."""

from __future__ import annotations

import argparse
import io
import os
import sys
import time
from functools import partial

from hyperd.cli.options import client_of, target
from hyperd.cli.printing import document
from hyperd.client import kinds, paths, private, sanitize
from hyperd.client.lookup import events_of
from hyperd.client.why import references, told, why
from hyperd.errors import BadRequest, HyperdError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import tarfile
    from collections.abc import Callable, Iterator
    from typing import TypeVar

    from hyperd.client.sync import Client
    from hyperd.resources.schema.kind import Object

    T = TypeVar("T")

EXAMPLES = """\
  hv collect-debug-info web-7 > web-7.tar.gz
  hv collect-debug-info web-7.shop -o web-7.tar.gz

It holds the machine, what it uses and what was done to it, their events, why it is not well, and the end of its
console's log. Secrets are not read and user data is left out; look at the console's log before you give it away.
"""
_LEFT_OUT = "(left out)"
_SECRET_FIELDS = ("userData", "userDataBase64", "sysprep")
_MOST_OBJECTS = 100
_LOG_LINES = 2000
_MOST_BYTES = 4 << 20
_OF_MACHINE = ("vmop", "vmsnapshot", "vmbda", "vmip", "vmmac")
"""Kinds whose objects name the machine that they are of."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("machine", help="name, or name.namespace")
    parser.add_argument(
        "-o", "--output", default="", metavar="FILE", help="a new file, instead of standard output"
    )


def run(args: argparse.Namespace) -> int:
    """Write it; what cannot be read beside the machine itself is a warning. Raises NotFound, Forbidden."""
    import tarfile

    if not args.output and sys.stdout.isatty():
        raise BadRequest("The archive is not for a terminal: say -o FILE, or lead the output to one.")
    client = client_of(args)
    namespace, name = target(args.machine, args, client.home)
    resource = kinds.resolve("vm", client)[0]
    machine = {"apiVersion": resource.api_version, "kind": resource.kind, **client.get(resource, namespace, name)}
    with (
        open(args.output, "xb", opener=private.opener) if args.output else os.fdopen(os.dup(1), "wb") as file,
        tarfile.open(fileobj=file, mode="w|gz") as archive,
    ):
        for path, text in _entries(client, machine, namespace, name):
            _put(archive, f"{name}/{path}", text)
    if args.output:
        print(f"{args.output} written")
    return 0


def _put(archive: tarfile.TarFile, path: str, text: str) -> None:
    import tarfile

    data = text.encode("utf-8", "replace")
    entry = tarfile.TarInfo(path)
    entry.size, entry.mtime, entry.mode = len(data), int(time.time()), 0o600
    archive.addfile(entry, io.BytesIO(data))


def _entries(client: Client, machine: Object, namespace: str, name: str) -> Iterator[tuple[str, str]]:
    """Path and text of each file."""
    seen = set()
    for number, obj in enumerate(_objects(client, machine, namespace, name)):
        metadata = obj["metadata"]
        place = f"{str(obj.get('kind')).lower()}-{metadata.get('name')}".replace("/", "_")
        if place in seen or number > _MOST_OBJECTS:
            continue
        seen.add(place)
        yield f"{place}.yaml", document(_without_secrets(obj), "yaml")
        if events := _tried(f"the events of {place}", partial(events_of, client, obj)):
            yield f"events-{place}.yaml", document(events, "yaml")
    from hyperd.client.lookup import finder

    cause = _tried("why it is so", lambda: why(machine, finder(client), lambda one: events_of(client, one)))
    if cause is not None:
        yield "why.txt", "".join(f"{line}\n" for line in told(cause))
    if (log := _tried("the console's log", partial(_console, client, namespace, name))) is not None:
        yield "console.log", log
    version = _tried("the version", partial(client.call, "GET", "/version"))
    yield "version.yaml", document(version or {}, "yaml")


def _objects(client: Client, machine: Object, namespace: str, name: str) -> Iterator[Object]:
    """The machine, what it uses, what that uses, and what names the machine."""
    known = {resource.kind: resource for resource in kinds.built_in()}
    waiting, seen = [machine], set()
    while waiting:
        obj = waiting.pop(0)
        yield obj
        for kind, where, called in references(obj):
            resource = known.get(kind)
            if resource is None or kind in ("Secret", "ConfigMap") or (kind, where, called) in seen:
                continue
            seen.add((kind, where, called))
            scope = where or None
            found = _tried(f"{kind} {called}", partial(client.find, resource, scope, called))
            if found is not None:
                waiting.append({"apiVersion": resource.api_version, "kind": kind, **found})
    for word in _OF_MACHINE:
        resource = kinds.resolve(word, client)[0]
        listed = _tried(resource.plural, partial(client.list, resource, namespace)) or {}
        for item in listed.get("items") or ():
            obj = {"apiVersion": resource.api_version, "kind": resource.kind, **item}
            if ("VirtualMachine", namespace, name) in set(references(obj)):
                yield obj


def _console(client: Client, namespace: str, name: str) -> str:
    path = paths.subresource(namespace, name, "log") + paths.query({"tail": str(_LOG_LINES)})
    found = bytearray()
    with client.stream("GET", path, accept="*/*", timeout=30.0) as stream:
        for piece in stream.pieces():
            found += piece
            if len(found) > _MOST_BYTES:
                break
    return found.decode("utf-8", "replace")


def _without_secrets(value: object) -> object:
    """What may hold passwords is named, and not told."""
    if isinstance(value, dict):
        return {
            key: _LEFT_OUT if key in _SECRET_FIELDS and isinstance(inner, str) else _without_secrets(inner)
            for key, inner in value.items()
            if key not in ("managedFields", "kubectl.kubernetes.io/last-applied-configuration")
        }
    return [_without_secrets(inner) for inner in value] if isinstance(value, list) else value


def _tried(what: str, ask: Callable[[], T]) -> T | None:
    """What ``ask`` gives; a warning where it cannot be had."""
    try:
        return ask()
    except HyperdError as err:
        print(f"Warning: {what}: {sanitize.line(err.message)}", file=sys.stderr)
        return None
