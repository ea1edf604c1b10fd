"""``hv audit``: who did what on this host, from the log that hyperd keeps.

Its files are read as one, in the order of time; a line that stands for many says so.
"""

from __future__ import annotations

import argparse
import json
import os
import time

from hyperd.cli.printing import emit
from hyperd.client import sanitize
from hyperd.client.home import DEFAULT_SOCKET
from hyperd.errors import BadRequest, Forbidden, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from io import BufferedReader

    from hyperd.resources.schema.kind import Object

EXAMPLES = """\
  hv audit                             the last writes, sessions and denials
  hv audit -f --denied                 follow what is refused
  hv audit --user token:ci -n shop     what one user did in one namespace
  hv audit -o json                     as it is kept, a JSON object a line
"""

_FILE = "/var/log/hyperd/audit.log"
_USERS = "audit.log"
_BESIDE = ("audit-busy.log", "audit-strangers.log")
"""Beside what users did: what they did beyond their share of the log, and what came without a login."""
_DENIED = (401, 403)
_POLL_SECONDS = 0.5


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what comes")
    parser.add_argument("--tail", type=int, default=50, metavar="N", help="how many entries to begin with")
    parser.add_argument("--user", default="", help="of this user only")
    parser.add_argument("--denied", action="store_true", help="only what was refused")
    parser.add_argument("--file", default="", help="log of another hyperd on this host")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="form of output")


def _file(args: argparse.Namespace) -> str:
    """The log of the hyperd that is meant: a file of this host, which no API gives.

    Raises BadRequest where it cannot be told which: another daemon's log is worse than none.
    """
    if args.kubeconfig or args.context:
        raise BadRequest("hv audit reads a file of this host, not what a kubeconfig leads to; see --file.")
    folder = os.environ.get("HYPERD_LOG_DIR", "")
    socket = args.socket or ("" if folder else os.environ.get("HYPERD_SOCKET", ""))
    if "://" in socket:
        raise BadRequest(f"hv audit reads a file of this host: run it on the host of {socket}, or see --file.")
    if not socket or socket == DEFAULT_SOCKET:
        return os.path.join(folder, "audit.log") if folder else _FILE
    run = os.path.dirname(os.path.abspath(socket))
    tried = [
        os.path.join(os.path.dirname(run), "log", "audit.log"),
        os.path.join("/var/log", os.path.basename(run), "audit.log"),
    ]
    for path in tried:
        if os.path.exists(path) and os.path.normpath(path) != _FILE:
            return path
    raise BadRequest(
        f"The audit log of the hyperd at {socket} is at none of {', '.join(tried)}; name it (log_dir in its "
        "settings) with --file."
    )


def run(args: argparse.Namespace) -> int:
    """Print the last entries that fit, then what comes."""
    rounds = _rounds(args.file or _file(args), follow=args.follow)
    fitting = [entry for entry in _entries(next(rounds)) if _fits(entry, args)]
    emit(_text(entry, args.output) for entry in fitting[-args.tail :] if args.tail > 0)
    for lines in rounds:
        emit([_text(entry, args.output) for entry in _entries(lines) if _fits(entry, args)])
    return 0


class _Log:
    """One file as it grows, also past a rotation."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file: BufferedReader | None = None
        self._pending = b""

    def read(self) -> list[bytes]:
        """The whole lines that came; none of a file that is not there. Raises Forbidden."""
        file = self._file or self._open()
        if file is None:
            return []
        *lines, self._pending = (self._pending + file.read()).split(b"\n")
        if not lines and not _is(self._path, file):
            file.close()
            self._file, self._pending = None, b""
            return self.read()
        return lines

    def _open(self) -> BufferedReader | None:
        try:
            self._file = open(self._path, "rb")  # noqa: SIM115  it is read for as long as it is followed
        except FileNotFoundError:
            return None
        except PermissionError as err:
            raise Forbidden(f"You may not read {self._path}: become root.") from err
        return self._file


def _rounds(path: str, *, follow: bool) -> Iterator[list[bytes]]:
    """The lines that the log's files hold and, to ``follow``, what comes. Raises NotFound, Forbidden."""
    paths = [path]
    if os.path.basename(path) == _USERS:
        paths += [os.path.join(os.path.dirname(path), name) for name in _BESIDE]
    if not any(os.path.exists(one) for one in paths):
        raise NotFound(
            f"There is no audit log at {path}: hyperd has recorded nothing there, or audit.level is off."
        )
    logs = [_Log(one) for one in paths]
    while True:
        yield [line for log in logs for line in log.read()]
        if not follow:
            return
        time.sleep(_POLL_SECONDS)


def _is(path: str, file: BufferedReader) -> bool:
    """Whether ``file`` is still what ``path`` names, or nothing is yet."""
    try:
        return os.stat(path).st_ino == os.fstat(file.fileno()).st_ino
    except FileNotFoundError:
        return True


def _entries(lines: Iterable[bytes]) -> list[Object]:
    """What the lines of several files say, in the order of its time."""
    found = []
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            found.append(entry)
    return sorted(found, key=lambda entry: str(entry.get("time", "")))


def _fits(entry: Object, args: argparse.Namespace) -> bool:
    return (
        (not args.user or entry.get("user") == args.user)
        and (not args.namespace or entry.get("namespace") == args.namespace)
        and (not args.denied or entry.get("code") in _DENIED)
    )


def _text(entry: Object, form: str) -> str:
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
        f"(the last of {entry['count']} since {entry.get('first', '?')})" if entry.get("count") else "",
    ]
    return sanitize.line(" ".join(part for part in parts if part))
