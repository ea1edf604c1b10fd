"""``hv completion``: scripts for bash, zsh and fish that ask hv itself what fits, names of objects included."""

from __future__ import annotations

import argparse
import itertools

from hyperd.cli.commands import COMMANDS
from hyperd.cli.options import parser_for
from hyperd.cli.printing import emit
from hyperd.client import kinds, sanitize
from hyperd.client.finding import find
from hyperd.client.sync import Client
from hyperd.errors import BadRequest, HyperdError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

EXAMPLES = """\
  source <(hv completion bash)                               now
  hv completion bash > /etc/bash_completion.d/hv             for good
  hv completion zsh > "${fpath[1]}/_hv"
  hv completion fish > ~/.config/fish/completions/hv.fish
"""

_BASH = """\
_hv() {
    local IFS=$'\\n'
    COMPREPLY=($(hv __complete "$COMP_CWORD" "${COMP_WORDS[@]:1}" 2>/dev/null))
}
complete -o default -F _hv hv
"""
_ZSH = """\
#compdef hv
_hv() {
    local -a found
    found=("${(@f)$(hv __complete $((CURRENT - 1)) "${words[@]:1}" 2>/dev/null)}")
    if [[ -n "${found[1]}" ]]; then compadd -- "${found[@]}"; else _files; fi
}
compdef _hv hv
"""
_FISH = """\
function __hv
    set -l words (commandline -opc) (commandline -ct)
    set -l found (hv __complete (math (count $words) - 1) $words[2..-1] 2>/dev/null)
    if set -q found[1]
        printf '%s\\n' $found
    else
        __fish_complete_path (commandline -ct)
    end
end
complete -c hv -f -a '(__hv)'
"""
SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}

_MACHINE_COMMANDS = (
    "clone", "console", "log", "vnc", "screenshot", "ssh", "port-forward", "start", "stop", "restart", "migrate",
    "evict", "tui", "collect-debug-info",
)  # fmt: skip
_OBJECT_COMMANDS = (
    "get",
    "describe",
    "why",
    "delete",
    "watch",
    "edit",
    "patch",
    "label",
    "annotate",
    "scale",
    "wait",
    "explain",
)
_TO_FILES = ("disk", "screenshot")
"""Commands whose ``-o`` is a file."""
_COMPLETION_SECONDS = 2.0


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("shell", nargs="?", choices=sorted(SCRIPTS), help="whose script to print")


def run(args: argparse.Namespace) -> int:
    """Print a script."""
    if not args.shell:
        raise BadRequest("Say for which shell: bash, zsh or fish.")
    print(SCRIPTS[args.shell], end="")
    return 0


def main(arguments: list[str]) -> int:
    """``hv __complete INDEX WORD…``, which the scripts call: what fits, a line each."""
    emit(sanitize.line(word) for word in complete(int(arguments[0]), arguments[1:]))
    return 0


def complete(index: int, line: list[str]) -> list[str]:
    """What may stand at word ``index`` (1 is the command); an unreachable server completes nothing."""
    current = line[index - 1] if index <= len(line) else ""
    before = line[: index - 1]
    if not before:
        found = list(COMMANDS)
    elif current.startswith("-"):
        found = _flags(before[0])
    else:
        try:
            found = _words(before, current)
        except HyperdError:
            found = []
    return [word for word in found if word.startswith(current)]


def _parser(command: str) -> tuple[argparse.ArgumentParser, ModuleType] | None:
    if command not in COMMANDS or command == "doctor":
        return None
    from importlib import import_module

    module = import_module(f"hyperd.cli.{COMMANDS[command][0]}")
    return parser_for(command, module), module


def _flags(command: str) -> list[str]:
    found = _parser(command)
    options = found[0]._option_string_actions if found else ()  # noqa: SLF001
    return sorted(flag for flag in options if flag.startswith("--"))


def _choices(parser: argparse.ArgumentParser, before: list[str]) -> list[str] | None:
    """The words that the parser itself has for this place; None where it has none."""
    if _takes_value(parser, before[-1]):
        choices = parser._option_string_actions[before[-1]].choices  # noqa: SLF001
        return [str(choice) for choice in choices] if choices else None
    first = next((action for action in parser._actions if not action.option_strings), None)  # noqa: SLF001
    if first is None or not first.choices or _placed(parser, before):
        return None
    return [str(choice) for choice in first.choices]


def _takes_value(parser: argparse.ArgumentParser, word: str) -> bool:
    flag = parser._option_string_actions.get(word)  # noqa: SLF001
    return flag is not None and flag.nargs != 0


def _placed(parser: argparse.ArgumentParser, before: list[str]) -> list[str]:
    """The words after the command that are no flags, nor values of any."""
    return [
        word
        for previous, word in itertools.pairwise(before)
        if not word.startswith("-") and not _takes_value(parser, previous)
    ]


def _words(before: list[str], current: str) -> list[str]:
    command, previous = before[0], before[-1]
    known = _parser(command)
    if known is not None and (own := _choices(known[0], before)) is not None:
        return own
    flags = {flag: before[i + 1] for i, flag in enumerate(before[:-1]) if flag.startswith("-")}
    namespace = flags.get("-n") or flags.get("--namespace") or ""
    if command == "completion":
        return sorted(SCRIPTS)
    if previous in ("--context",):
        return _contexts(flags.get("--kubeconfig", ""))
    home = find(
        socket=flags.get("--socket", ""), kubeconfig=flags.get("--kubeconfig", ""),
        context=flags.get("--context", ""), namespace=namespace,
    )  # fmt: skip
    client = Client(home, timeout=_COMPLETION_SECONDS)
    if previous in ("-n", "--namespace"):
        return names_of(client, "namespace")
    if previous in ("-o", "--output") and command not in _TO_FILES:
        return ["wide", "yaml", "json", "name"]
    if command == "top":
        return ["machines", "nodes"]
    if known is not None and _takes_value(known[0], previous):
        return []
    if command in _MACHINE_COMMANDS:
        return names_of(client, "vm")
    if known is not None and hasattr(known[1], "completions"):
        return list(known[1].completions(client, _placed(known[0], before), current))
    if command in _OBJECT_COMMANDS:
        words = _placed(known[0], before) if known is not None else []
        return names_of(client, words[0]) if words else _kinds(current)
    return []


def _contexts(kubeconfig: str) -> list[str]:
    """Kept homes, and contexts of the kubeconfig."""
    from contextlib import suppress

    from hyperd.client import remotes
    from hyperd.client.finding import kubeconfig_paths
    from hyperd.client.kubeconfig import load

    found = [] if kubeconfig else list(remotes.load())
    with suppress(HyperdError):
        found += load(kubeconfig_paths(kubeconfig)).contexts
    return found


def _kinds(current: str) -> list[str]:
    head, comma, _ = current.rpartition(",")
    words = (word for kind in kinds.built_in() for word in (kind.plural, *kind.short_names))
    return sorted(f"{head}{comma}{word}" for word in words)


def names_of(client: Client, word: str) -> list[str]:
    """Of the objects of a kind, those that a shell takes as they are."""
    resource = kinds.resolve(word.partition(",")[0], client)[0]
    listed = client.list(resource, client.home.namespace if resource.namespaced else None)
    # Names obey the API's grammar, but a hostile server need not: a shell splits what it is given.
    return [
        name
        for item in listed["items"]
        if (name := str(item["metadata"]["name"])).replace("-", "").replace(".", "").isalnum()
    ]
