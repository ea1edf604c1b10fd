"""Flags that every command shares, and what they become: a client, a namespace, targets."""

from __future__ import annotations

import argparse
import os
import sys

from hyperd.cli.commands import COMMANDS
from hyperd.client import ages, sanitize
from hyperd.client.finding import find
from hyperd.client.home import Home
from hyperd.client.sync import Client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType


_FOR_NAMESPACES = ("token", "kubeconfig")
"""Commands that make something for namespaces, and work in none."""


class _Help(argparse.RawDescriptionHelpFormatter):
    """Knows the terminal's width without argparse's import of ``shutil``."""

    def __init__(self, prog: str) -> None:
        try:
            width = os.get_terminal_size().columns
        except OSError:
            width = 80
        super().__init__(prog, width=min(width, 110) - 2)


def parser_for(command: str, module: ModuleType) -> argparse.ArgumentParser:
    """The parser of one command: the module adds its arguments, ``EXAMPLES`` end its help."""
    examples = getattr(module, "EXAMPLES", {})
    text = examples.get(command, "") if isinstance(examples, dict) else examples
    parser = argparse.ArgumentParser(
        prog=f"hv {command}",
        description=COMMANDS[command][1].capitalize() + ".",
        epilog=f"Examples:\n{text}" if text else None,
        formatter_class=_Help,
        allow_abbrev=False,
    )
    parser.set_defaults(command=command)
    home = parser.add_argument_group("where")
    if command in _FOR_NAMESPACES:
        help_ = "namespace that the token is for; may be repeated (default: all)"
        home.add_argument("-n", "--namespace", action="append", default=[], help=help_)
    else:
        help_ = "namespace (default: $HV_NAMESPACE, the context's, or default)"
        home.add_argument("-n", "--namespace", default="", help=help_)
    several = " (may be repeated)" if command == "tui" else ""
    home.add_argument(
        "--socket",
        action="append" if command == "tui" else "store",
        default=[] if command == "tui" else "",
        metavar="PATH",
        help=f"unix socket of a hyperd, or ssh://USER@HOST{several}",
    )
    home.add_argument("--kubeconfig", default="", metavar="FILE", help="kubeconfig to use")
    home.add_argument(
        "--context",
        action="append" if command == "tui" else "store",
        default=[] if command == "tui" else "",
        metavar="NAME",
        help=f"home of `hv remote`, or context of the kubeconfig{several}",
    )
    module.arguments(parser)
    return parser


def home_of(args: argparse.Namespace) -> Home:
    """The home that the flags and the environment name."""
    namespace = args.namespace if isinstance(args.namespace, str) else ""
    return find(socket=args.socket, kubeconfig=args.kubeconfig, context=args.context, namespace=namespace)


def client_of(args: argparse.Namespace) -> Client:
    """A client for it, which prints the server's warnings to stderr."""
    return Client(home_of(args), warn=lambda text: print(f"Warning: {sanitize.text(text)}", file=sys.stderr))


def target(word: str, args: argparse.Namespace, home: Home) -> tuple[str, str]:
    """(namespace, name) of ``name``, or of ``name.namespace`` where no ``-n`` was given."""
    word = word.removeprefix("vm/").removeprefix("virtualmachine/")
    if args.namespace or "." not in word:
        return home.namespace, word
    name, _, namespace = word.rpartition(".")
    return namespace, name


def seconds(text: str) -> float:
    """``90``, ``90s``, ``5m``, ``1h30m`` or ``7d`` in seconds, for argparse."""
    value = ages.duration(text)
    if value is None or value >= 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time like 90s, 5m or 1h")
    return value


def coloured() -> bool:
    """Whether stdout wants colours: a terminal, and NO_COLOR is not set."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
