"""The audit log: who did what, from where, and how it ended; one JSON line each, never a body.

A thread of its own writes, so that no disk ever holds up an answer: what cannot be written is counted and dropped.
The file is rotated by size, and so many old ones are kept.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import orjson

from hyperd.api.authorization import Attributes
from hyperd.api.metrics import Sample
from hyperd.logs import blank_secrets
from hyperd.settings import AuditSettings
from hyperd.store.interface import User

_LOG = logging.getLogger(__name__)
FILE = "audit.log"
_WAITING_LINES = 10_000
_BATCH_LINES = 500
_LONGEST_TEXT = 512
_CLOSE_SECONDS = 2.0
_DENIED = (401, 403)


@dataclass(frozen=True, slots=True)
class Entry:
    """One request, as far as it was understood. ``at`` is in seconds since 1970."""

    at: float
    request: str
    source: str
    agent: str
    user: User | None
    attributes: Attributes
    code: int
    milliseconds: float
    by: str = ""
    """Who asked as ``user``."""
    made: str = ""
    """Name that the object got, where the request did not say it in its path."""
    opened: bool = False
    """Whether this tells a session's beginning; its end is an entry, too."""

    def line(self) -> bytes:
        """JSON, without what is empty."""
        user, wanted = self.user or User(""), self.attributes
        fields: dict[str, object] = {
            "time": datetime.fromtimestamp(self.at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "request": self.request,
            "user": user.name,
            "groups": [_text(group) for group in user.groups],
            "extra": {_text(key): [_text(value) for value in values] for key, values in user.extra},
            "by": self.by,
            "source": self.source,
            "verb": wanted.verb,
            "group": wanted.group,
            "resource": wanted.resource,
            "subresource": wanted.subresource,
            "namespace": wanted.namespace,
            "name": wanted.name or self.made,
            "path": wanted.path,
            "stage": "opened" if self.opened else "",
            "code": self.code,
            "milliseconds": round(self.milliseconds, 3),
            "agent": self.agent,
        }
        kept = {key: _text(value) if isinstance(value, str) else value for key, value in fields.items() if value}
        return orjson.dumps(kept) + b"\n"


def _text(value: str) -> str:
    """Bounded, without credentials; a path or a header may hold bytes that are no text."""
    return blank_secrets(value[:_LONGEST_TEXT].encode("utf-8", "backslashreplace").decode())


class AuditLog:
    """Takes entries from the event loop, writes them in a thread between ``start`` and ``close``."""

    def __init__(self, folder: Path, settings: AuditSettings) -> None:
        self.path = folder / FILE
        self._settings = settings
        self._queue: queue.SimpleQueue[Entry | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._descriptor = -1
        self._size = 0
        self._torn = False
        self._failing = False
        self._written = 0
        self._dropped = 0

    def wants(self, code: int, *, writes: bool) -> bool:
        """Whether a request that ended with ``code`` is to be recorded; ``writes``: it was to change something."""
        level = self._settings.level
        return level == "all" or (level == "writes" and (writes or code in _DENIED))

    def record(self, entry: Entry) -> None:
        """Never blocks; drops the entry when too many wait."""
        if self._queue.qsize() >= _WAITING_LINES or self._thread is None:
            self._dropped += 1
        else:
            self._queue.put(entry)

    def samples(self) -> Iterator[Sample]:
        """For ``/metrics``."""
        yield Sample(
            "hyperd_audit_lines_total", self._written, kind="counter", help="Lines written to the audit log."
        )
        yield Sample(
            "hyperd_audit_dropped_total",
            self._dropped,
            kind="counter",
            help="Lines lost because the audit log could not be written.",
        )

    def start(self) -> None:
        if self._settings.level != "off" and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Write what waits. Blocking, for two seconds at most."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._queue.put(None)
            thread.join(_CLOSE_SECONDS)

    def _run(self) -> None:
        ended = False
        while not ended:
            batch = [self._queue.get()]
            while len(batch) < _BATCH_LINES and not self._queue.empty():
                batch.append(self._queue.get())
            ended = None in batch
            entries = [entry for entry in batch if entry is not None]
            try:
                self._write([entry.line() for entry in entries])
            except Exception:  # noqa: BLE001  border: a line that cannot be made must not end the log
                self._dropped += len(entries)
                _LOG.exception("The audit log lost %d lines", len(entries))
        self._close_file()

    def _write(self, lines: Sequence[bytes]) -> None:
        written = 0
        try:
            for line in lines:
                self._write_line(line)
                written += 1
        except OSError as err:
            self._close_file()
            self._dropped += len(lines) - written
            if not self._failing:
                _LOG.error("The audit log %s cannot be written, and lines are lost: %s", self.path, err.strerror)
            self._failing = True
        else:
            if self._failing:
                _LOG.warning("The audit log is written again; %d lines were lost", self._dropped)
            self._failing = False
        self._written += written

    def _write_line(self, line: bytes) -> None:
        if self._descriptor >= 0 and self._size and self._size + len(line) > self._settings.max_bytes:
            self._rotate()
        if self._descriptor < 0:
            self._open_file()
        if self._torn:
            # A write that failed in its middle, or a crash, left half a line.
            line = b"\n" + line
        while line:
            sent = os.write(self._descriptor, line)
            self._size += sent
            line = line[sent:]
            self._torn = bool(line)

    def _open_file(self) -> None:
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._descriptor).st_size
        self._torn = self._size > 0 and os.pread(self._descriptor, 1, self._size - 1) != b"\n"

    def _close_file(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _rotate(self) -> None:
        self._close_file()
        keep = self._settings.keep
        names = [self.path, *(self.path.with_name(f"{FILE}.{number}") for number in range(1, keep + 1))]
        for older, newer in zip(reversed(names), reversed(names[:-1]), strict=False):
            if newer.exists():
                newer.replace(older)
        if keep == 0:
            self.path.unlink(missing_ok=True)
