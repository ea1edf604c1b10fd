"""``hv top``: what machines or nodes use now, once in a pipe, again and again on a terminal."""

from __future__ import annotations

import sys
import time

from hyperd.cli.options import client_of, seconds
from hyperd.cli.printing import emit
from hyperd.client import sanitize
from hyperd.client.kinds import built_in
from hyperd.client.rates import Use, binary, percent, sample, short, use
from hyperd.client.sync import Client
from hyperd.errors import BadRequest, NotFound, ServiceUnavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from hyperd.resources.schema.kind import Object

EXAMPLES = """\
  hv top                     machines of the namespace, those first that use most CPU
  hv top -A --sort-by memory
  hv top nodes
  hv top --once --no-headers | awk '$3+0 > 80'     machines above 80 % of their CPU
"""
_SECONDS = 2.0
_SHORTEST = 0.5
_UNKNOWN = "-"
_RIGHT = ("CPU%", "WAIT%", "MEM%", "USED", "OF", "READ/S", "WRITE/S", "IN/S", "OUT/S", "DISK%", "MACHINES")

_ORDERS: dict[str, Callable[[Use], float]] = {
    "cpu": lambda now: now.cpu or 0.0,
    "memory": lambda now: now.memory_used,
    "disk": lambda now: now.read + now.written,
    "network": lambda now: now.received + now.sent,
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("what", nargs="?", default="machines", help="machines (vm) or nodes (node)")
    parser.add_argument("-A", "--all-namespaces", action="store_true", help="of all namespaces")
    parser.add_argument("--sort-by", choices=("name", *_ORDERS), default="cpu", help="what puts them in order")
    parser.add_argument("--once", action="store_true", help="print one table and end, as in a pipe")
    parser.add_argument(
        "--interval", type=seconds, default=_SECONDS, metavar="TIME", help="how often (default 2s)"
    )
    parser.add_argument("--no-headers", action="store_true", help="no header line")


def run(args: argparse.Namespace) -> int:
    """Show it; Ctrl+C ends it."""
    nodes = args.what in ("node", "nodes", "no")
    if not nodes and args.what not in ("vm", "vms", "machine", "machines", "virtualmachine", "virtualmachines"):
        raise BadRequest(f"hv top shows machines or nodes, not {args.what}.")
    client = client_of(args)
    interval = max(_SHORTEST, args.interval)
    live = sys.stdout.isatty() and not args.once
    before, lines = _samples(client, args, nodes=nodes), [""]
    while True:
        time.sleep(interval)
        try:
            now = _samples(client, args, nodes=nodes)
        except ServiceUnavailable as err:
            if not live:
                raise
            _redraw([sanitize.line(err.message), *lines])  # a daemon that is replaced comes again
            continue
        lines = _table(before, now, args, nodes=nodes)
        if not live:
            emit(lines)
            return 0
        _redraw(lines)
        before = now


def _samples(client: Client, args: argparse.Namespace, *, nodes: bool) -> dict[tuple[str, str], Object]:
    plural = "nodestats" if nodes else "virtualmachinestats"
    resource = next(one for one in built_in() if one.plural == plural)
    namespace = None if nodes or args.all_namespaces else client.home.namespace
    try:
        listed = client.list(resource, namespace)
    except NotFound as err:
        raise NotFound(f"{client.home.where} does not tell what is used: it has no {plural}.") from err
    found = {}
    for item in listed.get("items") or ():
        metadata = item.get("metadata") or {}
        found[str(metadata.get("namespace") or ""), str(metadata.get("name") or "")] = item
    return found


def _table(
    before: dict[tuple[str, str], Object],
    now: dict[tuple[str, str], Object],
    args: argparse.Namespace,
    *,
    nodes: bool,
) -> list[str]:
    uses = {key: use(sample(before[key]) if key in before else None, sample(item)) for key, item in now.items()}
    keys = sorted(uses)
    if args.sort_by != "name":
        keys.sort(key=lambda key: -_ORDERS[args.sort_by](uses[key]))
    titles = (
        ["NAME", "CPU%", "WAIT%", "MEM%", "USED", "OF", "DISK%", "MACHINES"] if nodes
        else ["NAME", "NODE", "CPU%", "WAIT%", "MEM%", "USED", "OF", "READ/S", "WRITE/S", "IN/S", "OUT/S"]
    )  # fmt: skip
    rows = [_node(key, uses[key], now[key]) if nodes else _machine(key, uses[key], now[key]) for key in keys]
    if args.all_namespaces and not nodes:
        titles.insert(0, "NAMESPACE")
        for key, row in zip(keys, rows, strict=True):
            row.insert(0, sanitize.line(key[0]))
    return _aligned(titles, rows, header=not args.no_headers)


def _machine(key: tuple[str, str], now: Use, item: Object) -> list[str]:
    return [
        sanitize.line(key[1]), sanitize.line(str(item.get("node") or "")), percent(now.cpu), percent(now.wait),
        percent(now.memory_part), binary(now.memory_used), binary(now.memory), short(now.read), short(now.written),
        short(now.received), short(now.sent),
    ]  # fmt: skip


def _node(key: tuple[str, str], now: Use, item: Object) -> list[str]:
    return [
        sanitize.line(key[1]), percent(now.cpu), percent(now.wait), percent(now.memory_part),
        binary(now.memory_used), binary(now.memory), percent(now.storage_part),
        sanitize.line(str(item.get("machines") or 0)),
    ]  # fmt: skip


def _aligned(titles: Sequence[str], rows: Sequence[Sequence[str]], *, header: bool) -> list[str]:
    """Names to the left, numbers to the right; what is not known is a dash, so that every line has all words."""
    told = [[cell or _UNKNOWN for cell in row] for row in rows]
    table = [titles, *told] if header else told
    widths = [max((len(row[i]) for row in table), default=0) for i in range(len(titles))]
    return [
        "   ".join(
            cell.rjust(width) if title in _RIGHT else cell.ljust(width)
            for title, cell, width in zip(titles, row, widths, strict=True)
        ).rstrip()
        for row in table
    ]


def _redraw(lines: Sequence[str]) -> None:
    """The screen from its top: what fits."""
    from shutil import get_terminal_size

    size = get_terminal_size()
    shown = [line[: size.columns - 1] for line in lines[: size.lines - 1]]
    sys.stdout.write("\x1b[H" + "".join(f"{line}\x1b[K\n" for line in shown) + "\x1b[J")
    sys.stdout.flush()
