"""``hv tui``: the terminal interface on one home or several."""

from __future__ import annotations

import argparse
import os
import sys

from hyperd.client import remotes, sanitize
from hyperd.client.finding import find
from hyperd.client.home import DEFAULT_SOCKET, Home
from hyperd.errors import BadRequest, HyperdError, InternalError

EXAMPLES = """\
  hv tui                                the hyperd of this machine, and the homes that `hv remote` keeps
  hv tui --context lab --context edge   several homes in one list
  hv tui --socket ssh://root@edge       a hyperd on another machine
  hv tui -n shop                        start with one namespace
  hv tui --demo                         try it: a thousand machines that are none
  hv tui --serve                        in a browser of this machine, or of yours by ssh -L
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "--escape", default="^]", metavar="KEY", help="what leaves a raw console: ^], ^X, ~. or none"
    )
    parser.add_argument("--read-only", action="store_true", help="offer nothing that changes anything")
    parser.add_argument("--plain", action="store_true", help="no colours, and no signs beyond ASCII")
    parser.add_argument(
        "--low-bandwidth", action="store_true", help="paint ten times a second at most, and changes once a second"
    )
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument(
        "--serve",
        nargs="?",
        const="",
        default=None,
        metavar="HOST:PORT",
        help="serve it to a browser, on loopback, by an address that is good once",
    )
    instead.add_argument("--demo", action="store_true", help="show a fleet of 1,000 machines that are none")
    parser.add_argument(
        "--graphics", choices=("auto", "kitty", "sixel", "blocks"), default=os.environ.get("HV_GRAPHICS", "auto"),
        help="how machines' screens are shown (auto: as the terminal says it can; $HV_GRAPHICS)",
    )  # fmt: skip
    parser.add_argument("machine", nargs="?", default="", help="open on this machine")


def run(args: argparse.Namespace) -> int:
    """Open it; returns when the user quits."""
    if args.serve is not None:
        from tui.serving import serve

        return serve(args.serve, _again(args))
    if args.demo:
        return _demo(args)
    return _open(args, _homes(args))


def _open(args: argparse.Namespace, homes: list[Home]) -> int:
    browser = bool(os.environ.get("TEXTUAL_DRIVER"))
    if not browser and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise BadRequest("The terminal interface needs a terminal; `hv get vm -w` follows machines without one.")
    from dataclasses import replace

    from tui import config

    settings = config.load(config.path())
    settings = replace(
        settings,
        plain=settings.plain or args.plain,
        read_only=settings.read_only or args.read_only,
        low_bandwidth=settings.low_bandwidth or args.low_bandwidth,
    )
    if settings.low_bandwidth:  # Textual reads these when it is imported
        os.environ |= {"TEXTUAL_FPS": "10", "TEXTUAL_ANIMATIONS": "none", "TEXTUAL_SMOOTH_SCROLL": "0"}
    from tui.app import HvApp
    from tui.context import state_file

    app = HvApp(
        homes, namespace=args.namespace, machine=args.machine, escape=args.escape,
        state=None if args.demo else state_file(),
        config=settings,
        graphics=args.graphics,
    )  # fmt: skip
    app.run()
    return app.return_code or 0


def _again(args: argparse.Namespace) -> list[str]:
    """What is said to the ``hv tui`` of each page."""
    words = [f"--socket={socket}" for socket in args.socket] + [f"--context={each}" for each in args.context]
    words += [
        f"--{name}={value}" for name in ("kubeconfig", "namespace", "escape") if (value := getattr(args, name))
    ]
    words += [
        flag for flag in ("--read-only", "--plain", "--low-bandwidth") if getattr(args, flag[2:].replace("-", "_"))
    ]
    return [*words, *([args.machine] if args.machine else [])]


def _demo(args: argparse.Namespace) -> int:
    """Nothing but the demo is shown, and nothing of it is kept."""
    import subprocess
    import tempfile

    with tempfile.TemporaryDirectory(prefix="hv-demo-") as folder:
        path = os.path.join(folder, "demo.sock")
        command = [sys.executable, "-P", "-m", "tui.demo", path]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
            try:
                if server.stdout is None or server.stdout.readline() != b"ready\n":
                    raise InternalError("The demo's server did not start.")
                return _open(args, [Home(name="DEMO", socket=path, namespace=args.namespace or "shop")])
            finally:
                server.terminate()


def _homes(args: argparse.Namespace) -> list[Home]:
    """Those that are named; else the one that is found here, and all that are kept."""
    if args.socket or args.context:
        named = [find(socket=socket, namespace=args.namespace) for socket in args.socket]
        for context in args.context:
            named.append(find(kubeconfig=args.kubeconfig, context=context, namespace=args.namespace))
        return named
    homes = []
    for remote in () if args.kubeconfig else remotes.load().values():
        try:
            homes.append(remote.home(namespace=args.namespace))
        except HyperdError as err:  # it keeps none of the others away
            print(f"hv: the home {remote.name} is left out: {sanitize.line(err.message)}", file=sys.stderr)
    here = os.path.exists(DEFAULT_SOCKET) or any(map(os.environ.get, ("HYPERD_SOCKET", "KUBECONFIG")))
    if homes and not here:
        return homes
    return [find(kubeconfig=args.kubeconfig, namespace=args.namespace), *homes]
