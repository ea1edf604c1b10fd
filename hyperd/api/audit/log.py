"""The audit log: who did what, from where, and how it ended; one JSON line each, never a body.

A thread of its own writes, so that no disk ever holds up an answer: what cannot be written is counted and dropped.
The files are rotated by size, and so many old ones are kept; ``audit_shares`` says which line goes where.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from hyperd.api.audit.entry import Entry
from hyperd.api.audit.file import RotatingFile
from hyperd.api.audit.shares import AuditShares, Stream
from hyperd.api.wire.metrics import Sample
from hyperd.settings import AuditSettings

__all__ = ["AuditLog", "Entry"]

_LOG = logging.getLogger(__name__)
_WAITING_LINES = 10_000
_BATCH_LINES = 500
_CLOSE_SECONDS = 2.0
_FOLD_SECONDS = 5.0
"""How often it is looked whether lines that stand for many are due."""
_DENIED = (401, 403)


class AuditLog:
    """Takes entries from the event loop, writes them in a thread between ``start`` and ``close``."""

    def __init__(self, folder: Path, settings: AuditSettings) -> None:
        self.path = folder / Stream.USERS
        self._settings = settings
        self._shares = AuditShares(settings.max_bytes * (settings.keep + 1))
        self._files = {
            Stream.USERS: RotatingFile(self.path, max_bytes=settings.max_bytes, keep=settings.keep),
            Stream.BUSY: RotatingFile(
                folder / Stream.BUSY, max_bytes=settings.max_bytes, keep=min(1, settings.keep)
            ),
            Stream.STRANGERS: RotatingFile(
                folder / Stream.STRANGERS, max_bytes=max(4096, settings.max_bytes // 4), keep=min(1, settings.keep)
            ),
        }
        self._queue: queue.SimpleQueue[tuple[Stream, Entry] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._failing = False
        self._written = 0
        self._dropped = 0

    def wants(self, code: int, *, writes: bool) -> bool:
        """Whether a request that ended with ``code`` is to be recorded; ``writes``: it was to change something."""
        level = self._settings.level
        return level == "all" or (level == "writes" and (writes or code in _DENIED))

    def record(self, entry: Entry) -> None:
        """Never blocks; drops the entry when too many wait."""
        if self._thread is None:
            self._dropped += 1
            return
        stream = self._shares.place(entry)
        if stream is None:
            return
        # While the disk is slow, what floods is lost first.
        room = _WAITING_LINES if stream is Stream.USERS else _WAITING_LINES // 2
        if self._queue.qsize() >= room:
            self._dropped += 1
        else:
            self._queue.put((stream, entry))

    def samples(self) -> Iterator[Sample]:
        """For ``/metrics``."""
        yield Sample(
            "hyperd_audit_lines_total", self._written, kind="counter", help="Lines written to the audit log."
        )
        yield Sample(
            "hyperd_audit_folded_total",
            self._shares.folded,
            kind="counter",
            help="Requests that the audit log tells together with others, in one line.",
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
            batch: list[tuple[Stream, Entry] | None] = []
            with contextlib.suppress(queue.Empty):
                batch.append(self._queue.get(timeout=_FOLD_SECONDS))
            while batch and len(batch) < _BATCH_LINES and not self._queue.empty():
                batch.append(self._queue.get())
            ended = None in batch
            entries = [*(one for one in batch if one is not None), *self._shares.due(all_of_them=ended)]
            try:
                self._write([(stream, entry.line()) for stream, entry in entries])
            except Exception:  # noqa: BLE001  border: a line that cannot be made must not end the log
                self._dropped += len(entries)
                _LOG.exception("The audit log lost %d lines", len(entries))
        self._close_files()

    def _write(self, lines: Sequence[tuple[Stream, bytes]]) -> None:
        written = 0
        try:
            for stream, line in lines:
                self._files[stream].write(line)
                written += 1
        except OSError as err:
            self._close_files()
            self._dropped += len(lines) - written
            if not self._failing:
                _LOG.error("The audit log %s cannot be written, and lines are lost: %s", self.path, err.strerror)
            self._failing = True
        else:
            if self._failing and lines:
                _LOG.warning("The audit log is written again; %d lines were lost", self._dropped)
                self._failing = False
        self._written += written

    def _close_files(self) -> None:
        for file in self._files.values():
            file.close()
