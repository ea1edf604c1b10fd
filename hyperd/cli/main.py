"""Entry of ``hv``: finds the command, imports its module alone, turns failures into one sentence."""

from __future__ import annotations

import os
import sys

from hyperd.cli.commands import COMMANDS
from hyperd.cli.stdio import complain, give_up_output, mend

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_PATIENCE_SECONDS = 0.5
"""How long output that was on its way at Ctrl+C may take: the terminal may stand still."""
_SHAPELESS = (KeyError, IndexError, TypeError, AttributeError, ValueError, RecursionError)

_GLOBAL_WITH_VALUE = ("-n", "--namespace", "--socket", "--kubeconfig", "--context")

_HELP = """\
hv: virtual machines on this host, or on the one that a kubeconfig names

Usage: hv COMMAND [ARGUMENTS]

{commands}

Start here:
  hv get vm                        the machines of the namespace "default"
  hv get vm,vd,vi -A               machines, disks and images of all namespaces
  hv apply -f machine.yaml --wait  create or change, and wait until it runs
  hv console web-7                 its serial console; Ctrl+] leaves
  hv tui                           all of it on one screen

Everywhere: -n NAMESPACE, --context NAME, --kubeconfig FILE, --socket PATH.
Environment: HV_NAMESPACE, HYPERD_SOCKET, KUBECONFIG, NO_COLOR.
`hv COMMAND --help` shows a command's options and examples.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code: 0, 1 for a failure, 2 for a wrong call, 130 for Ctrl+C."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    patience = 0.0
    if argv is None:
        mend()
    try:
        code = _run(arguments)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        patience = _PATIENCE_SECONDS
        return 130
    except BrokenPipeError:
        return 141
    except Exception as err:  # noqa: BLE001  the border: the user never sees a traceback
        return explain(err)
    finally:
        if argv is None:
            give_up_output(patience=patience)


def _run(arguments: list[str]) -> int:
    moved: list[str] = []
    while arguments and arguments[0].startswith("-"):
        flag = arguments.pop(0)
        if flag in ("-h", "--help"):
            print(usage(), end="")
            return 0
        if flag == "--version":
            arguments.insert(0, "version")
            break
        moved.append(flag)
        if flag in _GLOBAL_WITH_VALUE and arguments:
            moved.append(arguments.pop(0))
    if not arguments or arguments[0] == "help":
        wanted = arguments[1:2]
        if not wanted or wanted[0] not in COMMANDS:
            print(usage(), end="")
            return 0
        arguments = [wanted[0], "--help"]
    name, *rest = arguments
    if name == "__complete":
        from hyperd.cli import completion

        return completion.main(rest)
    if name not in COMMANDS:
        from difflib import get_close_matches

        near = get_close_matches(name, COMMANDS, 1)
        hint = f"; did you mean `hv {near[0]}`?" if near else "; `hv --help` lists them."
        print(f'hv: there is no command "{name}"{hint}', file=sys.stderr)
        return 2
    return _command(name, moved + rest)


def _command(name: str, arguments: list[str]) -> int:
    from importlib import import_module

    module = import_module(f"hyperd.cli.{COMMANDS[name][0]}")
    if name == "doctor":
        return int(module.main(arguments))
    from hyperd.cli.options import parser_for

    parser = parser_for(name, module)
    return int(module.run(parser.parse_intermixed_args(arguments)))


def usage() -> str:
    """The help of ``hv`` itself."""
    width = max(len(name) for name in COMMANDS)
    lines = (f"  {name:<{width}}  {summary}" for name, (_, summary) in COMMANDS.items())
    return _HELP.format(commands="\n".join(lines))


def explain(err: Exception) -> int:
    """Say in a sentence what ended a command; returns its exit code."""
    if os.environ.get("HV_DEBUG"):
        raise err
    from errno import EBADF, EIO, ENOSPC

    from hyperd.client import sanitize, sync
    from hyperd.errors import HyperdError

    if isinstance(err, HyperdError):
        message = err.message
        for cause in err.causes:
            if cause.message not in message:
                message += f"\n  {cause.field}: {cause.message}"
    elif isinstance(err, OSError):
        message = f"{err.filename}: {err.strerror}" if err.filename else err.strerror or str(err)
        if err.errno in (EBADF, ENOSPC, EIO) and not err.filename:
            message = f"Standard input or output cannot be used: {message}."
    elif isinstance(err, _SHAPELESS) and (home := sync.answered):
        # What a server sends is anything at all; what hv reads of it has a shape.
        message = f"{home} answered something that hv makes no sense of ({type(err).__name__}: {err})."
    else:
        message = f"unexpected {type(err).__name__}: {err} (HV_DEBUG=1 shows where; this is a defect)"
    complain(f"hv: {sanitize.text(message)}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
