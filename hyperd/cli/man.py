"""``hv man``: manual pages, made of the parsers themselves, so that they say what the commands take."""

from __future__ import annotations

import argparse
import os
import sys

from hyperd.cli.commands import COMMANDS
from hyperd.cli.options import parser_for
from hyperd.errors import BadRequest

EXAMPLES = """\
  hv man                     of hv itself
  hv man get                 of one command
  hv man --all /usr/local/share/man/man1
"""
_APART = ("doctor",)
"""Commands with a parser of their own."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("page", nargs="?", default="", help="a command")
    parser.add_argument("--all", default="", metavar="FOLDER", help="write hv.1, hv-get.1 and so on there")


def run(args: argparse.Namespace) -> int:
    """Show one page in man's own way, or print it where there is no terminal; or write all."""
    if args.all:
        os.makedirs(args.all, exist_ok=True)
        for name in ["", *COMMANDS]:
            with open(os.path.join(args.all, f"{_title(name)}.1"), "w", encoding="utf-8") as file:
                file.write(page(name))
        print(f"{len(COMMANDS) + 1} pages are in {args.all}")
        return 0
    if args.page and args.page not in COMMANDS:
        raise BadRequest(f"There is no command {args.page}; `hv --help` lists them.")
    text = page(args.page)
    if sys.stdout.isatty():
        import subprocess

        try:
            return subprocess.run(["man", "-l", "-"], input=text.encode(), check=False).returncode
        except FileNotFoundError:
            pass  # then as it is
    sys.stdout.write(text)
    return 0


def completions(client: object, placed: list[str], current: str) -> list[str]:
    """Commands."""
    return [] if placed else list(COMMANDS)


def page(command: str) -> str:
    """One page in the language of man(7); of hv itself where no command is named."""
    title = _title(command)
    summary = COMMANDS[command][1] if command else "virtual machines on this host, or on the one that is named"
    lines = [
        f'.TH {_quoted(title.upper())} 1 "" hyperd "hyperd"',
        ".SH NAME",
        f"{_text(title)} \\- {_text(summary)}",
    ]
    lines += _of_all() if not command else _of_one(command)
    return "\n".join(lines) + "\n"


def _title(command: str) -> str:
    return f"hv-{command}" if command else "hv"


def _of_all() -> list[str]:
    lines = [".SH SYNOPSIS", ".B hv", ".I COMMAND", "[\\fIARGUMENTS\\fR]", ".SH COMMANDS"]
    for name, (_, summary) in COMMANDS.items():
        lines += [".TP", f"\\fB{_text(name)}\\fR", _text(f"{summary}; see hv-{name}(1)")]
    return [*lines, ".SH ENVIRONMENT", "HV_NAMESPACE, HYPERD_SOCKET, KUBECONFIG, HV_SSH_COMMAND, NO_COLOR"]


def _of_one(command: str) -> list[str]:
    if command in _APART:
        return [".SH SYNOPSIS", f".B hv {_text(command)}", ".SH SEE ALSO", f"hv {_text(command)} \\-\\-help"]
    from importlib import import_module

    parser = parser_for(command, import_module(f"hyperd.cli.{COMMANDS[command][0]}"))
    usage = " ".join(parser.format_usage().removeprefix("usage: ").split())
    lines = [".SH SYNOPSIS", _text(usage), ".SH OPTIONS"]
    for action in parser._actions:  # noqa: SLF001  as for completion: argparse has no other way to them
        if action.help == argparse.SUPPRESS:
            continue
        takes = action.metavar or action.dest
        takes = takes if isinstance(takes, str) else " ".join(takes)
        words = ", ".join(action.option_strings) or takes
        value = f" \\fI{_text(takes.upper())}\\fR" if action.option_strings and action.nargs != 0 else ""
        lines += [".TP", f"\\fB{_text(words)}\\fR{value}", _text((action.help or "").replace("%%", "%"))]
    if parser.epilog:
        lines += [
            ".SH EXAMPLES",
            ".nf",
            *map(_text, parser.epilog.removeprefix("Examples:\n").splitlines()),
            ".fi",
        ]
    return lines


def _text(text: str) -> str:
    """What is set as it is: nothing of it is roff's."""
    safe = text.replace("\\", "\\(rs").replace("-", "\\-")
    return f"\\&{safe}" if safe.startswith((".", "'")) else safe


def _quoted(text: str) -> str:
    return '"' + text.replace('"', "") + '"'
