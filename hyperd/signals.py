"""The signals that a daemon hears."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable

_log = logging.getLogger(__name__)


def heed(loop: asyncio.AbstractEventLoop, end: Callable[[], None]) -> None:
    """Call ``end`` at SIGTERM and SIGINT, and when the terminal goes in which the daemon was started.

    Without a terminal SIGHUP asks other daemons to read their settings again or to open their logs anew. It must
    end none: a service manager takes that for an end in order, and starts nothing again.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        loop.add_signal_handler(signal.SIGHUP, end if _in_terminal() else _go_on)


def _go_on() -> None:
    _log.warning(
        "SIGHUP changes nothing: restart hyperd to have it read its settings. It rotates its logs itself."
    )


def _in_terminal() -> bool:
    """Whether the process has a controlling terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
