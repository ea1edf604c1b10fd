"""``hv wait``: until objects are as a script needs them, or the time is over, which is exit code 1."""

from __future__ import annotations

import argparse
import json
import sys
import time

from hyperd.cli.naming import each
from hyperd.cli.options import client_of, seconds
from hyperd.cli.printing import emit, object_name
from hyperd.cli.waiting import Progress
from hyperd.client import kinds
from hyperd.client.health import Level, conditions, health
from hyperd.errors import BadRequest, Expired, NotFound, ServiceUnavailable, Timeout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from hyperd.client.resource import Resource
    from hyperd.client.sync import Client
    from hyperd.resources.schema.kind import Object

    Test = Callable[[Object | None], bool]

EXAMPLES = """\
  hv wait vm web-7                                     until its phase is Running
  hv wait vm/web-7 vd/data --for=condition=Ready
  hv wait vm web-7 --for=delete -t 2m
  hv wait vm web-7 --for=create                        what is not there yet; all else ends at once without it
  hv wait vm web-7 --for=jsonpath='{.status.ipAddress}'   until there is one
"""
_GOOD = {
    "VirtualMachine": "Running", "VirtualMachineOperation": "Completed", "VirtualMachineIPAddress": "Bound",
    "VirtualMachineIPAddressLease": "Bound", "VirtualMachineBlockDeviceAttachment": "Attached",
    "Namespace": "Active",
}  # fmt: skip
"""What one that is well is called, where that is not Ready."""
_LOOK_SECONDS = 5.0
_PAUSE_SECONDS = 0.5


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("words", nargs="+", metavar="KIND NAME", help="a kind and names, or kind/name words")
    parser.add_argument(
        "--for", dest="wanted", default="", metavar="WHAT",
        help="phase=PHASE, condition=TYPE[=STATUS], jsonpath=PATH[=VALUE], create or delete (default: well)",
    )  # fmt: skip
    parser.add_argument("-l", "--selector", default="", metavar="LABELS", help="all with these labels")
    parser.add_argument("-t", "--timeout", type=seconds, default=300.0, help="longest wait (default 5m)")


def run(args: argparse.Namespace) -> int:
    """Wait for each in turn, all within one time."""
    client = client_of(args)
    deadline = time.monotonic() + args.timeout
    found = _chosen(client, args)
    if not found:
        raise BadRequest("There is no such object to wait for.")
    if args.wanted not in ("create", "delete"):
        for resource, namespace, name in found:
            if client.find(resource, namespace, name) is None:
                raise NotFound(f"There is no {resource.kind} {name}; --for=create waits for one.")
    for resource, namespace, name in found:
        test, words = _test(args.wanted) if args.wanted else (_is_well, _GOOD.get(resource.kind, "Ready"))
        until(client, resource, namespace, name, test, words, deadline)
        emit([f"{object_name(resource, name)} {words}"])
    return 0


def _chosen(client: Client, args: argparse.Namespace) -> list[tuple[Resource, str | None, str]]:
    if "/" in args.words[0]:
        named = each(client, args.words)
    else:
        resource = kinds.resolve(args.words[0], client)[0]
        names = args.words[1:]
        if bool(names) == bool(args.selector):
            raise BadRequest("Name the objects, or choose them with -l.")
        if not names:
            scope = client.home.namespace if resource.namespaced else None
            items = client.list(resource, scope, labels=args.selector).get("items") or ()
            names = [item["metadata"]["name"] for item in items]
        named = [(resource, name) for name in names]
    return [(kind, client.home.namespace if kind.namespaced else None, name) for kind, name in named]


def _is_well(obj: Object | None) -> bool:
    return obj is not None and health(obj).level is Level.GOOD


def _has_condition(obj: Object | None, kind: str, status: str) -> bool:
    """Case does not count, as it does not for kubectl."""
    return obj is not None and any(
        (str(entry.get("type")).lower(), str(entry.get("status")).lower()) == (kind.lower(), status.lower())
        for entry in conditions(obj)
    )


def _test(wanted: str) -> tuple[Test, str]:
    """What is waited for, and how that is told. Raises BadRequest."""
    what, _, rest = wanted.partition("=")
    if wanted == "delete":
        return (lambda obj: obj is None), "deleted"
    if wanted == "create":
        return (lambda obj: obj is not None), "created"
    if what == "phase" and rest:
        return (lambda obj: obj is not None and health(obj).word == rest), rest
    if what == "condition" and rest:
        kind, _, status = rest.partition("=")
        status = status or "True"
        return (lambda obj: _has_condition(obj, kind, status)), f"condition met: {kind}={status}"
    if what == "jsonpath" and rest:
        path, closed, after = rest.partition("}")
        if not closed:
            path, after = rest.partition("=")[0], rest[len(rest.partition("=")[0]) :]
        return _at(path.lstrip("{"), after.removeprefix("=") if after else None), "condition met"
    raise BadRequest(
        f"--for={wanted} is none of phase=PHASE, condition=TYPE[=STATUS], jsonpath=PATH[=VALUE], create, delete."
    )


def _at(path: str, value: str | None) -> Test:
    from hyperd.resources.values.jsonpath import find

    try:
        find(path, {})
    except ValueError as err:
        raise BadRequest(f"{err}.") from err

    def test(obj: Object | None) -> bool:
        found = find(path, obj) if obj is not None else []
        return bool(found) if value is None else value in [_word(one) for one in found]

    return test


def _word(value: object) -> str:
    """As the API writes it: ``true``, not Python's ``True``."""
    return value if isinstance(value, str) else json.dumps(value)


def until(
    client: Client, resource: Resource, namespace: str | None, name: str, test: Test, words: str, deadline: float
) -> None:
    """Until ``test`` holds for what is there; ``words`` say what that means. Raises Timeout."""
    shown = Progress(f"{resource.singular}/{name}") if sys.stderr.isatty() else None
    last, answered = "", False
    try:
        while True:
            left = deadline - time.monotonic()
            try:
                live = client.find(resource, namespace, name)
                answered = True
                if test(live):
                    return
                last = _state(live)
                if left > 0:
                    if shown is not None:
                        shown.show(last)
                    version = ((live or {}).get("metadata") or {}).get("resourceVersion") or ""
                    _next(client, resource, namespace, name, version, timeout=min(left, _LOOK_SECONDS))
            except ServiceUnavailable as err:
                if not answered:
                    raise
                last = err.message.rstrip(".")  # a daemon that is replaced comes again
                time.sleep(max(0.0, min(left, 1.0)))
            if left <= 0:
                raise Timeout(f"{resource.kind} {name} is not {words} in time: {last}.")
    finally:
        if shown is not None:
            shown.done()


def _state(live: Object | None) -> str:
    if live is None:
        return "it is not there"
    state = health(live)
    return f"{state.word or 'there'}. {state.reason}".rstrip(". ")


def _next(
    client: Client, resource: Resource, namespace: str | None, name: str, version: str, *, timeout: float
) -> None:
    """Until it has changed, or for a while. Raises ServiceUnavailable."""
    try:
        for event in client.watch(resource, namespace, name=name, resource_version=version, timeout=timeout):
            if event["type"] != "BOOKMARK":
                return
        time.sleep(min(timeout, _PAUSE_SECONDS))  # a server that ends every watch at once is not asked at once
    except (Expired, Timeout):
        return
