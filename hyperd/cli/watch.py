"""``hv watch``: a list that is always the present; redrawn in place on a terminal, line by line in a pipe."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from hyperd.cli import get
from hyperd.cli.options import client_of, coloured
from hyperd.cli.printing import TablePrinter
from hyperd.client import kinds
from hyperd.client.resource import Resource
from hyperd.client.sync import Client
from hyperd.errors import Expired, ServiceUnavailable

EXAMPLES = """\
  hv watch vm          machines, redrawn at every change; Ctrl+C ends
  hv watch vi -A       imports with their progress
  hv watch vm | cat    one line for each change
"""

_ALTERNATE, _NORMAL, _HOME, _CLEAR_LINE, _CLEAR_BELOW = (
    "\x1b[?1049h\x1b[?25l",
    "\x1b[?25h\x1b[?1049l",
    "\x1b[H",
    "\x1b[K",
    "\x1b[J",
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags: those of ``get`` that make sense here."""
    parser.add_argument("kinds", metavar="kind", help="a kind by any name; or kind/name")
    parser.add_argument("names", nargs="*", metavar="name", help="one name")
    parser.add_argument("-A", "--all-namespaces", action="store_true", help="of all namespaces")
    parser.add_argument("-o", "--output", choices=("wide",), default="", help="more columns")
    parser.add_argument("-l", "--selector", default="", metavar="LABELS", help="label selector")
    parser.add_argument("--field-selector", default="", metavar="FIELDS", help="field selector")
    parser.set_defaults(watch=True, no_headers=False)


def run(args: argparse.Namespace) -> int:
    """Follow until Ctrl+C. In a pipe this is ``get -w``."""
    if not sys.stdout.isatty() or "," in args.kinds:
        return get.run(args)
    client = client_of(args)
    word, _, name = args.kinds.partition("/")
    resource = kinds.resolve(word, client)[0]
    names = [name] if name else args.names
    screen = _Screen(args, client, resource, names[0] if names else "")
    sys.stdout.write(_ALTERNATE)
    try:
        screen.follow()
    finally:
        sys.stdout.write(_NORMAL)
        sys.stdout.flush()
    return 0


class _Screen:
    def __init__(self, args: argparse.Namespace, client: Client, resource: Resource, name: str) -> None:
        self._args = args
        self._client = client
        self._resource = resource
        self._namespace = None if args.all_namespaces or not resource.namespaced else client.home.namespace
        self._fields = f"metadata.name={name}" if name else args.field_selector
        self._columns: list[Any] = []
        self._rows: dict[str, dict[str, Any]] = {}
        self._note = ""

    def follow(self) -> None:
        """List, watch, draw; again after an expired version or a restarted daemon. Never returns by itself."""
        version = ""
        while True:
            try:
                version = version or self._list()
                for event in self._client.watch(
                    self._resource, self._namespace, labels=self._args.selector, fields=self._fields,
                    resource_version=version, table=True,
                ):  # fmt: skip
                    version = self._take(event) or version
            except Expired:
                version = ""
            except ServiceUnavailable as err:
                self._draw(f"stale since {time.strftime('%H:%M:%S')}: {err.message}")
                time.sleep(1)

    def _list(self) -> str:
        listed = get.as_table(
            self._client.list(
                self._resource, self._namespace, labels=self._args.selector, fields=self._fields, table=True
            )
        )
        self._columns = listed["columnDefinitions"]
        self._rows = {_key(row): row for row in listed.get("rows") or ()}
        self._draw()
        return str(listed["metadata"]["resourceVersion"])

    def _take(self, event: dict[str, Any]) -> str:
        version = ""
        for row in get.as_table(event["object"]).get("rows") or ():
            version = str(row["object"]["metadata"].get("resourceVersion", ""))
            if event["type"] == "DELETED":
                self._rows.pop(_key(row), None)
            elif event["type"] != "BOOKMARK":
                self._rows[_key(row)] = row
        self._draw()
        return version

    def _draw(self, note: str = "") -> None:
        from shutil import get_terminal_size

        size = get_terminal_size()
        wide, everywhere = self._args.output == "wide", self._namespace is None and self._resource.namespaced
        printer = TablePrinter(wide=wide, namespaces=everywhere, colour=coloured())
        rows = [self._rows[key] for key in sorted(self._rows)]
        lines = printer.format({"columnDefinitions": self._columns, "rows": rows})
        lines = [*lines[: size.lines - 2], note or f"{len(rows)} {self._resource.plural} · Ctrl+C ends"]
        # Lines may be wider than the screen; without wrapping they are cut by the terminal itself.
        body = "".join(f"{line}{_CLEAR_LINE}\r\n" for line in lines)
        sys.stdout.write(f"\x1b[?7l{_HOME}{body}{_CLEAR_BELOW}\x1b[?7h")
        sys.stdout.flush()


def _key(row: dict[str, Any]) -> str:
    metadata = row["object"]["metadata"]
    return f"{metadata.get('namespace', '')}/{metadata['name']}"
