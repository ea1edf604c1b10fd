"""``hv watch``: a list that is always the present; redrawn in place on a terminal, line by line in a pipe."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from hyperd.cli import get
from hyperd.cli.options import client_of, coloured
from hyperd.cli.printing import TablePrinter, cell_text
from hyperd.client import kinds
from hyperd.client.resource import Resource
from hyperd.client.sync import Client
from hyperd.errors import Expired, ServiceUnavailable, Timeout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hyperd.resources.schema.kind import Object

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
_MOST_HELD = 64 << 20
"""Bytes of rows, of which a hundred thousand fit."""
_LONGEST_CELL = 1024
_ROW_BYTES, _CELL_BYTES = 1000, 64


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags: those of ``get`` that make sense here."""
    parser.add_argument("kinds", metavar="kind", help="a kind by any name; or kind/name")
    parser.add_argument("names", nargs="*", metavar="name", help="one name")
    parser.add_argument("-A", "--all-namespaces", action="store_true", help="of all namespaces")
    parser.add_argument("-o", "--output", choices=("wide",), default="", help="more columns")
    parser.add_argument("-l", "--selector", default="", metavar="LABELS", help="label selector")
    parser.add_argument("--field-selector", default="", metavar="FIELDS", help="field selector")
    parser.set_defaults(watch=True, no_headers=False, sort_by="")


def run(args: argparse.Namespace) -> int:
    """Follow until Ctrl+C. In a pipe this is ``get -w``."""
    if not sys.stdout.isatty() or "," in args.kinds:
        return get.run(args)
    client = client_of(args)
    word, _, name = args.kinds.partition("/")
    resource = kinds.resolve(word, client)[0]
    names = [name] if name else args.names
    screen = Screen(args, client, resource, names[0] if names else "")
    sys.stdout.write(_ALTERNATE)
    try:
        screen.follow()
    finally:
        sys.stdout.write(_NORMAL)
        sys.stdout.flush()
    return 0


class Screen:
    """What a list looks like now, drawn at every change. What is shown of a row is kept, of so many as fit."""

    def __init__(self, args: argparse.Namespace, client: Client, resource: Resource, name: str) -> None:
        self._args = args
        self._client = client
        self._resource = resource
        self._namespace = None if args.all_namespaces or not resource.namespaced else client.home.namespace
        self._fields = f"metadata.name={name}" if name else args.field_selector
        self._columns: list[Any] = []
        self._rows: dict[str, _Row] = {}
        self._held = 0
        self._full = False

    def follow(self) -> None:
        """List, watch, draw; again after an expired version or a restarted daemon. Never returns by itself."""
        version = ""
        while True:
            try:
                version = version or self._list()
                for event in self._client.watch(
                    self._resource, self._namespace, labels=self._args.selector, fields=self._fields,
                    resource_version=version, table=True, bookmarks=True,
                ):  # fmt: skip
                    version = self.take(event) or version
            except Expired:
                version = ""
            except (ServiceUnavailable, Timeout) as err:
                self._draw(f"stale since {time.strftime('%H:%M:%S')}: {err.message}")
                time.sleep(1)
                version = ""

    def _list(self) -> str:
        return self.fill(
            self._client.list(
                self._resource, self._namespace, labels=self._args.selector, fields=self._fields, table=True
            )
        )

    def fill(self, answer: Object) -> str:
        """Show what a list says; returns its version."""
        listed = get.as_table(answer)
        self._columns = listed.get("columnDefinitions") or []
        self._rows, self._held, self._full = {}, 0, False
        for row in listed.get("rows") or ():
            self._put(row)
        self._draw()
        return str(listed["metadata"]["resourceVersion"])

    def take(self, event: Object) -> str:
        """Show what a watch says; returns the version to go on from, if it names one."""
        if event["type"] == "BOOKMARK":
            return get.version_of(event["object"])
        version = ""
        for row in get.as_table(event["object"]).get("rows") or ():
            version = str(row["object"]["metadata"].get("resourceVersion", ""))
            if event["type"] == "DELETED":
                self._drop(_key(row))
            else:
                self._put(row)
        self._draw()
        return version

    def _put(self, row: Object) -> None:
        """Keep what is shown of ``row``, if there is room for it: a home may send rows without end."""
        key = _key(row)
        self._drop(key)
        kept = _Row(key, row, len(self._columns))
        if self._held + kept.size > _MOST_HELD:
            self._full = True
            return
        self._held += kept.size
        self._rows[key] = kept

    def _drop(self, key: str) -> None:
        gone = self._rows.pop(key, None)
        self._held -= gone.size if gone else 0

    def _draw(self, note: str = "") -> None:
        from heapq import nsmallest
        from shutil import get_terminal_size

        size = get_terminal_size()
        wide, everywhere = self._args.output == "wide", self._namespace is None and self._resource.namespaced
        printer = TablePrinter(wide=wide, namespaces=everywhere, colour=coloured())
        rows = [self._rows[key].shown for key in nsmallest(size.lines, self._rows)]
        lines = printer.format({"columnDefinitions": self._columns, "rows": rows})
        more = " and more than hv keeps: narrow it by a namespace or a selector" if self._full else ""
        note = note or f"{len(self._rows)} {self._resource.plural}{more} · Ctrl+C ends"
        lines = [*lines[: size.lines - 2], note]
        # Lines may be wider than the screen; without wrapping they are cut by the terminal itself.
        body = "".join(f"{line}{_CLEAR_LINE}\r\n" for line in lines)
        sys.stdout.write(f"\x1b[?7l{_HOME}{body}{_CLEAR_BELOW}\x1b[?7h")
        sys.stdout.flush()


class _Row:
    """What is shown of one row; ``size`` is about how many bytes that takes."""

    __slots__ = ("shown", "size")

    def __init__(self, key: str, row: Object, columns: int) -> None:
        cells = [cell_text(cell)[:_LONGEST_CELL] for cell in (row.get("cells") or ())[:columns]]
        namespace = str(row["object"]["metadata"].get("namespace", ""))
        self.shown = {"cells": cells, "object": {"metadata": {"namespace": namespace}}}
        self.size = _ROW_BYTES + len(key) + len(namespace) + sum(_CELL_BYTES + len(cell) for cell in cells)


def _key(row: Object) -> str:
    metadata = row["object"]["metadata"]
    return f"{metadata.get('namespace', '')}/{metadata['name']}"
