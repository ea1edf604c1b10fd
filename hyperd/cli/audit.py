"""``hv audit``: who did what on this host, from the log that hyperd keeps."""

from __future__ import annotations

import argparse
import json
import os
import time

from hyperd.cli.printing import emit
from hyperd.client import sanitize
from hyperd.errors import Forbidden, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedReader
    from typing import Any

EXAMPLES = """\
  hv audit                             the last writes, sessions and denials
  hv audit -f --denied                 follow what is refused
  hv audit --user token:ci -n shop     what one user did in one namespace
  hv audit -o json                     as it is kept, a JSON object a line
"""

_FILE = "/var/log/hyperd/audit.log"
_DENIED = (401, 403)
_POLL_SECONDS = 0.5


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what comes")
    parser.add_argument("--tail", type=int, default=50, metavar="N", help="how many entries to begin with")
    parser.add_argument("--user", default="", help="of this user only")
    parser.add_argument("--denied", action="store_true", help="only what was refused")
    parser.add_argument("--file", default=_file(), help="log of another hyperd")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="form of output")


def _file() -> str:
    folder = os.environ.get("HYPERD_LOG_DIR", "")
    return os.path.join(folder, "audit.log") if folder else _FILE


def run(args: argparse.Namespace) -> int:
    """Print the last entries that fit, then what comes."""
    lines = _coming(args.file, follow=args.follow)
    fitting = [entry for entry in _entries(_past(lines)) if _fits(entry, args)]
    emit(_text(entry, args.output) for entry in fitting[-args.tail :] if args.tail > 0)
    for entry in _entries(lines):
        if _fits(entry, args):
            emit([_text(entry, args.output)])
    return 0


def _past(lines: Iterator[bytes]) -> Iterator[bytes]:
    """Those before the first wait."""
    for line in lines:
        if not line:
            return
        yield line


def _coming(path: str, *, follow: bool) -> Iterator[bytes]:
    """What the file holds and, to ``follow``, what comes, also past a rotation; an empty line before each wait."""
    file = _open(path)
    try:
        pending = b""
        while True:
            pending += file.read()
            *lines, pending = pending.split(b"\n")
            yield from filter(None, lines)
            if lines:
                continue
            yield b""
            if not follow:
                return
            time.sleep(_POLL_SECONDS)
            if not _is(path, file) and not file.peek(1):
                file.close()
                file = _open(path)
    finally:
        file.close()


def _open(path: str) -> BufferedReader:
    try:
        return open(path, "rb")
    except FileNotFoundError as err:
        raise NotFound(
            f"There is no audit log at {path}: hyperd has recorded nothing there, or audit.level is off."
        ) from err
    except PermissionError as err:
        raise Forbidden(f"You may not read {path}: become root.") from err


def _is(path: str, file: BufferedReader) -> bool:
    """Whether ``file`` is still what ``path`` names, or nothing is yet."""
    try:
        return os.stat(path).st_ino == os.fstat(file.fileno()).st_ino
    except FileNotFoundError:
        return True


def _entries(lines: Iterator[bytes]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            yield entry


def _fits(entry: dict[str, Any], args: argparse.Namespace) -> bool:
    return (
        (not args.user or entry.get("user") == args.user)
        and (not args.namespace or entry.get("namespace") == args.namespace)
        and (not args.denied or entry.get("code") in _DENIED)
    )


def _text(entry: dict[str, Any], form: str) -> str:
    """One line: when, how it ended, who from where, what."""
    if form == "json":
        return json.dumps(entry)
    kind = "/".join(str(entry[key]) for key in ("resource", "subresource") if entry.get(key))
    name = "/".join(str(entry[key]) for key in ("namespace", "name") if entry.get(key))
    who = str(entry.get("user") or "?") + (f" (by {entry['by']})" if entry.get("by") else "")
    parts = [
        str(entry.get("time", "")),
        str(entry.get("code") or entry.get("stage") or ""),
        who,
        f"from {entry.get('source', '?')}:",
        str(entry.get("verb", "")),
        kind or str(entry.get("path", "")),
        name,
    ]
    return sanitize.line(" ".join(part for part in parts if part))
