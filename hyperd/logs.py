"""Structured logs on standard error: one JSON object or one plain line a record.

Callers use the standard library (``logging.getLogger(__name__)``) and may pass the fields of ``FIELDS`` by
``extra``; nothing else is written, so an object that happens to hang on a record cannot leak what it holds.
Credentials in URLs and headers are blanked. Within a request every record carries its id by itself.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TextIO

from hyperd.errors import PermanentError
from hyperd.settings import LogSettings

FIELDS = ("request", "user", "verb", "path", "code", "object", "uid", "milliseconds")
"""What ``extra`` may carry. ``object`` is ``Kind namespace/name``; ``request`` is set from ``request_id``."""

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""Id of the request that the current task serves; the API sets it."""

_SECRETS = re.compile(
    r"(?P<url>://)[^/\s:@]*:[^/\s@]*@"
    r"|(?P<header>authorization:?\s*(?:basic|bearer)\s+|bearer\s+)[\w.~+/=-]+"
    r"|(?P<token>hyperd\.[a-z0-9][-a-z0-9.]*\.)[\w-]{43}",
    re.IGNORECASE,
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
# sd-daemon(3): a number in angle brackets gives the line its priority in the journal.
_PRIORITY = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


def setup(settings: LogSettings, *, stream: TextIO | None = None) -> None:
    """Make the root logger write to ``stream`` (standard error). Raises PermanentError for an unknown level."""
    level = LEVELS.get(settings.level.lower())
    if level is None:
        raise PermanentError(f'Setting log.level: "{settings.level}" is none of {", ".join(LEVELS)}.')
    target = stream or sys.stderr
    journal = _is_journal(target)
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        JsonFormatter(priority=journal) if settings.format == "json" else TextFormatter(journal=journal)
    )
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    logging.captureWarnings(capture=True)
    # These tell every request and every selector at levels that are ours.
    for chatty in ("aiohttp.access", "asyncio", "kubernetes_asyncio", "urllib3"):
        logging.getLogger(chatty).setLevel(max(level, logging.WARNING))
    # Warns of what clients say in handshakes, in their words and as often as they like.
    logging.getLogger("aiohttp.websocket").setLevel(logging.ERROR)


class JsonFormatter(logging.Formatter):
    """``{"time", "level", "logger", "message", fields…, "traceback"}`` on one line."""

    def __init__(self, *, priority: bool = False) -> None:
        super().__init__()
        self._priority = priority

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": blank_secrets(record.getMessage()),
            **_fields(record),
        }
        if record.exc_info:
            entry["traceback"] = blank_secrets(self.formatException(record.exc_info))
        line = json.dumps(entry, ensure_ascii=False, default=str)
        return _prefix(record) + line if self._priority else line


class TextFormatter(logging.Formatter):
    """A line for people. The journal keeps its own time, so it gets none."""

    def __init__(self, *, journal: bool = False) -> None:
        super().__init__()
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        head = "" if self._journal else f"{_time(record)} "
        fields = "".join(f" {key}={_one_line(str(value))}" for key, value in _fields(record).items())
        message = _one_line(blank_secrets(record.getMessage()))
        text = f"{head}{record.levelname:<7} {record.name}: {message}{fields}"
        if record.exc_info:
            trace = blank_secrets(self.formatException(record.exc_info))
            text += "".join(f"\n    {_one_line(line)}" for line in trace.splitlines())
        return "\n".join(_prefix(record) + line for line in text.split("\n")) if self._journal else text


def blank_secrets(text: str) -> str:
    """``text`` without passwords in URLs and without bearer or basic credentials."""

    def blanked(match: re.Match[str]) -> str:
        return "://…@" if match["url"] else f"{match['header'] or match['token']}…"

    return _SECRETS.sub(blanked, text)


def _fields(record: logging.LogRecord) -> dict[str, object]:
    found = {key: getattr(record, key) for key in FIELDS if getattr(record, key, None) not in (None, "")}
    if "request" not in found and (current := request_id.get()):
        found["request"] = current
    return found


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _one_line(text: str) -> str:
    """Control characters escaped: a guest or a client must not forge lines or drive the terminal."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match.group()):02x}", text.replace("\n", "\\n"))


def _prefix(record: logging.LogRecord) -> str:
    return f"<{_PRIORITY.get(record.levelno, 6)}>"


def _is_journal(stream: TextIO) -> bool:
    """Whether systemd connected ``stream`` to the journal: it names the socket's device and inode."""
    try:
        status = os.fstat(stream.fileno())
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
