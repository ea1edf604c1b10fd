"""The three standard streams, whatever they are: closed, full, or of an encoding that lacks our marks."""

from __future__ import annotations

import io
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

_MARKS = {
    "✓": "+", "●": "*", "◐": "~", "▲": "!", "○": "o", "✖": "x", "⟳": "@", "→": ">", "·": "-", "…": "~", "×": "x",
    "–": "-", "—": "-", "─": "-", "“": '"', "”": '"', "’": "'", "▌": "|",
}  # fmt: skip
"""One character for one, so that columns stay columns."""
_HANDLER = "hv-marks"


def mend() -> None:
    """Make the streams fit to be used: present, and unable to fail at a character."""
    import codecs

    codecs.register_error(_HANDLER, _without_marks)
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        stream: TextIO | None = getattr(sys, name)
        if stream is None or _closed(number):
            stream = _replaced(number, mode)
            setattr(sys, name, stream)
        if mode == "w" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_HANDLER)


def _closed(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return True
    return False


def _replaced(number: int, mode: str) -> TextIO:
    """A stream on the closed descriptor, which no socket of ours may get: it would be taken for the stream.

    Standard error goes nowhere; the others are opened the wrong way round, so that using them is an error.
    """
    flags = os.O_WRONLY if number in (0, 2) else os.O_RDONLY
    opened = os.open(os.devnull, flags)
    if opened != number:
        os.dup2(opened, number)
        os.close(opened)
    raw = io.FileIO(number, mode, closefd=False)
    buffer = io.BufferedReader(raw) if mode == "r" else io.BufferedWriter(raw)
    return io.TextIOWrapper(buffer, encoding="utf-8", line_buffering=mode == "w")


def _without_marks(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    # What replaces a mark must itself fit: every encoding of a terminal has ASCII.
    return "".join(_MARKS.get(char, "?") for char in error.object[error.start : error.end]), error.end


def fits(text: str) -> bool:
    """Whether standard output has every character of ``text``."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except (UnicodeError, LookupError):
        return False
    return True


def complain(text: str) -> None:
    """A line on standard error, if anybody can still see it."""
    try:
        print(text, file=sys.stderr, flush=True)
    except (OSError, ValueError):
        pass


def give_up_output(*, patience: float = 0.0) -> None:
    """Nobody takes our output: Python must not try once more when it ends.

    With ``patience`` what is still to be written is dropped after so many seconds: a terminal that stands still
    would keep who pressed Ctrl+C waiting. Only the main thread may have it.
    """
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            _flush(stream, patience)
        except (OSError, ValueError, KeyboardInterrupt):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, number)
            os.close(nowhere)


def _flush(stream: TextIO, patience: float) -> None:
    """Raises TimeoutError where it takes longer than ``patience``, unless that is 0."""
    if not patience:
        stream.flush()
        return
    import signal

    def too_late(*_: object) -> None:
        raise TimeoutError

    former = signal.signal(signal.SIGALRM, too_late)
    # Again and again: a signal that comes just before a system call begins does not end it.
    signal.setitimer(signal.ITIMER_REAL, patience, patience)
    try:
        stream.flush()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)
