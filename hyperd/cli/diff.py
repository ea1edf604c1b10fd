"""``hv diff``: what an apply would change, as the server would store it. Exit code 0 for nothing, 1 for something,
2 for a failure."""

from __future__ import annotations

import argparse
import difflib

from hyperd.cli import apply
from hyperd.cli.manifests import read
from hyperd.cli.options import client_of, coloured
from hyperd.cli.printing import document, emit
from hyperd.client import change, sanitize

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from hyperd.resources.schema.kind import Object

EXAMPLES = """\
  hv diff -f machine.yaml
  hv diff -f machines/ && echo nothing to do
"""
_CODES = {"+": "\x1b[32m", "-": "\x1b[31m", "@": "\x1b[36m"}
_RESET = "\x1b[0m"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("-f", "--filename", action="append", required=True, help="file, folder or - for stdin")


def run(args: argparse.Namespace) -> int:
    """Compare each object with what the server has."""
    try:
        return int(_differs(args))
    except BrokenPipeError:
        raise
    except Exception as err:  # noqa: BLE001  1 would say that something differs
        from hyperd.cli.main import explain

        explain(err)
        return 2


def _differs(args: argparse.Namespace) -> bool:
    client = client_of(args)
    found = False
    for target, live, wanted in apply.rehearsed(client, read(args.filename), args):
        name = f"{target.resource.singular}/{wanted['metadata'].get('name', '')}"
        lines = list(_lines(name, live, wanted))
        found = found or bool(lines)
        emit(_coloured(lines) if coloured() else lines)
    return found


def _lines(name: str, live: Object | None, wanted: Object) -> Iterable[str]:
    shown = change.veiled(change.editable(live) if live is not None else None, change.editable(wanted))
    before, after = (document(side, "yaml").splitlines() if side is not None else [] for side in shown)
    label = sanitize.line(name)
    return difflib.unified_diff(before, after, f"{label} (is)", f"{label} (would be)", lineterm="")


def _coloured(lines: Iterable[str]) -> list[str]:
    return [f"{_CODES[line[0]]}{line}{_RESET}" if line[:1] in _CODES else line for line in lines]
