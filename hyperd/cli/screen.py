"""``hv screenshot`` and ``hv vnc``: what a machine's screen shows, in a file and in a viewer."""

from __future__ import annotations

import argparse
import os
import sys

from hyperd.cli.options import home_of, target
from hyperd.cli.port_forward import complain
from hyperd.client import forwarding, private, sanitize, websocket
from hyperd.client.rfb import still
from hyperd.client.rfb.framebuffer import png
from hyperd.errors import BadRequest, Conflict

EXAMPLES = {
    "screenshot": """\
  hv screenshot web-7                  writes web-7.png
  hv screenshot web-7 -o - | display
""",
    "vnc": """\
  hv vnc web-7                  opens a viewer, or says how to from elsewhere
  hv vnc web-7 --proxy-only     only the port, for a viewer of your own
  hv tui                        shows screens in the terminal: v
""",
}
_VIEWERS = (
    ("remote-viewer", "vnc://{host}:{port}"),
    ("gvncviewer", "{host}::{port}"),
    ("vncviewer", "{host}::{port}"),
    ("vinagre", "vnc://{host}:{port}"),
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("machine", help="name, or name.namespace")
    if parser.get_default("command") == "screenshot":
        parser.add_argument("-o", "--output", default="", metavar="FILE", help="PNG file, - for standard output")
    else:
        parser.add_argument("--port", type=int, default=0, help="port of 127.0.0.1 to serve at (any free one)")
        parser.add_argument("--proxy-only", action="store_true", help="open no viewer")
    parser.add_argument("-f", "--force", action="store_true", help="take the screen from who has it")


def run(args: argparse.Namespace) -> int:
    """Raises Conflict where somebody has the screen."""
    return _screenshot(args) if args.command == "screenshot" else _vnc(args)


def _screenshot(args: argparse.Namespace) -> int:
    home = home_of(args)
    namespace, name = target(args.machine, args, home)
    if args.output == "-" and sys.stdout.isatty():
        raise BadRequest("A PNG file is nothing for a terminal; -o FILE, or into a pipe.")
    screen = still.capture(home, namespace, name, force=args.force)
    if args.output == "-":
        sys.stdout.buffer.write(png(screen))
        return 0
    path = args.output or f"{name}.png"
    try:
        # Only what was named is written over.
        with open(path, "wb" if args.output else "xb", opener=private.opener) as file:
            file.write(png(screen))
    except FileExistsError as err:
        raise Conflict(
            f"{sanitize.line(path)} is there already; -o FILE says where else to, or over what."
        ) from err
    print(f"{sanitize.line(path)}: {screen.width}x{screen.height}")
    return 0


def _vnc(args: argparse.Namespace) -> int:
    home = home_of(args)
    namespace, name = target(args.machine, args, home)
    session = os.urandom(8).hex()
    # Asked beforehand, so that what is refused is said here and not by a viewer.
    still.open_screen(home, namespace, name, session=session, force=args.force).close()
    listener = forwarding.listen("127.0.0.1", args.port)
    host, port = listener.getsockname()[:2]

    def open_() -> websocket.WebSocket:
        return still.open_screen(home, namespace, name, session=session, force=args.force)

    forward = forwarding.Forward(listener, open_, complain, most=1)
    viewer = None if args.proxy_only else _viewer(host, port)
    if viewer is None:
        print(f"The screen of {namespace}/{sanitize.line(name)} is at vnc://{host}:{port} until Ctrl+C.")
        print(f"  here:       remote-viewer vnc://{host}:{port}")
        print(f"  elsewhere:  ssh -L {port}:127.0.0.1:{port} {os.uname().nodename}, then the same there")
        print("  here, without a desktop: hv tui, and v on the machine", flush=True)
        forwarding.serve([forward])
        return 0
    return _with_viewer(viewer, forward)


def _viewer(host: str, port: int) -> list[str] | None:
    """The command of a viewer, where there is a desktop and one is installed."""
    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return None
    from shutil import which

    for program, place in _VIEWERS:
        if which(program):
            return [program, place.format(host=host, port=port)]
    return None


def _with_viewer(words: list[str], forward: forwarding.Forward) -> int:
    import subprocess
    import threading

    with subprocess.Popen(words) as process:
        threading.Thread(target=forwarding.serve, args=([forward],), daemon=True).start()
        return process.wait()
