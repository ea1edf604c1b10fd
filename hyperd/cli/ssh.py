"""``hv ssh``, ``scp``, ``cp``: OpenSSH into a machine, over the home's API instead of a network that leads to it.

Keys are known by the machine, not by its name: one that was deleted and made again is another host to ssh.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys

from hyperd.cli.options import client_of, home_of, target
from hyperd.client import kinds
from hyperd.client.home import Home
from hyperd.errors import BadRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

EXAMPLES = {
    "ssh": """\
  hv ssh root@web-7
  hv ssh web-7.shop -l admin -i ~/.ssh/shop -- uptime
  hv ssh root@web-7 -o StrictHostKeyChecking=accept-new
  hv ssh root@web-7 -L 8080:localhost:80
""",
    "scp": """\
  hv scp backup.tar root@web-7:/tmp/
  hv scp -r root@web-7.shop:/var/log logs
""",
    "cp": """\
  hv cp backup.tar root@web-7:/tmp/
  hv cp -r root@web-7.shop:/var/log logs
  hv cp a.conf b.conf admin@web-7:        into admin's home
  hv cp ./notes:1 root@web-7:/tmp/        a colon after a / is of a name
""",
}
_COPIES = ("scp", "cp")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    if parser.get_default("command") in _COPIES:
        parser.add_argument(
            "paths", nargs="+", metavar="PATH", help="files here, or [USER@]MACHINE:PATH; the last is where to"
        )
        parser.add_argument("-r", dest="recursive", action="store_true", help="whole folders")
    else:
        parser.add_argument("machine", metavar="[USER@]MACHINE", help="name, or name.namespace")
        parser.add_argument("-l", "--login", default="", metavar="USER", help="as whom")
        parser.add_argument("-L", dest="forward", action="append", default=[], metavar="FORWARD", help="as of ssh")
        parser.add_argument("-t", dest="terminal", action="store_true", help="a terminal for the command too")
        parser.add_argument("words", nargs="*", metavar="-- COMMAND", help="what to run there instead of a shell")
    parser.add_argument("-i", dest="identity", default="", metavar="FILE", help="private key")
    parser.add_argument("-o", dest="option", action="append", default=[], metavar="OPTION", help="as of ssh")
    parser.add_argument("-p", "-P", dest="port", type=int, default=22, help="where its sshd listens (22)")


def run(args: argparse.Namespace) -> int:
    """Become ssh or scp. Raises NotFound for a machine that is not there, before ssh says less."""
    words = _scp(args) if args.command in _COPIES else _ssh(args)
    sys.stdout.flush()
    try:
        os.execvp(words[0], words)  # noqa: S606  an argument vector, and no shell is wanted
    except OSError as err:
        raise BadRequest(f"{words[0]} cannot be run: {err.strerror}. OpenSSH's client must be installed.") from err


def _ssh(args: argparse.Namespace) -> list[str]:
    user, _, machine = args.machine.rpartition("@")
    home = home_of(args)
    namespace, name = target(machine, args, home)
    words = ["ssh", *_options(args, home, namespace, name)]
    if user or args.login:
        words += ["-l", args.login or user]
    words += [word for forward in args.forward for word in ("-L", forward)]
    words += ["-t"] if args.terminal else []
    return [*words, "--", f"{name}.{namespace}", *args.words]


def _scp(args: argparse.Namespace) -> list[str]:
    home = home_of(args)
    found: set[tuple[str, str]] = set()
    places = []
    for path in args.paths:
        user, machine, there = _place(path)
        if machine:
            namespace, name = target(machine, args, home)
            found.add((namespace, name))
            path = f"{user}{name}.{namespace}:{there}"
        places.append(path)
    if len(found) != 1 or len(places) < 2:
        raise BadRequest(
            f"Say what to copy and where to, one machine among them: hv {args.command} FILE root@web-7:/tmp/"
        )
    namespace, name = found.pop()
    return ["scp", *(["-r"] if args.recursive else []), *_options(args, home, namespace, name), "--", *places]


def _place(path: str) -> tuple[str, str, str]:
    """``user@``, machine and path of one on a machine; no machine for a file here."""
    head, colon, there = path.partition(":")
    if not colon or "/" in head:
        return "", "", path
    user, at, machine = head.rpartition("@")
    return user + at, machine, there


def _options(args: argparse.Namespace, home: Home, namespace: str, name: str) -> list[str]:
    client = client_of(args)
    machine = client.get(kinds.resolve("vm", client)[0], namespace, name)
    if not 0 < args.port <= 65535:
        raise BadRequest(f"-p {args.port} is no port.")
    alias = f"{name}.{namespace}.{str(machine['metadata']['uid'])[:8]}"
    words = ["-o", f"ProxyCommand={proxy(args, home, namespace, name)}", "-o", f"HostKeyAlias={alias}"]
    # Of a connection that is shared only the name counts, which another home may have given to another machine.
    words += ["-o", "ControlPath=none"]
    words += ["-i", args.identity] if args.identity else []
    return words + [word for option in args.option for word in ("-o", option)]


def proxy(args: argparse.Namespace, home: Home, namespace: str, name: str) -> str:
    """The command by which ssh reaches the machine: this hv, on the same home."""
    words: Sequence[str] = (
        sys.executable, "-P", "-m", "hyperd.cli.main", "port-forward", "--stdio", "-n", namespace,
        *(("--socket", args.socket) if args.socket else ()),
        *(("--kubeconfig", args.kubeconfig) if args.kubeconfig else ()),
        *(("--context", args.context) if args.context else ()),
        "--", name, str(args.port),
    )  # fmt: skip
    return shlex.join(words).replace("%", "%%")
