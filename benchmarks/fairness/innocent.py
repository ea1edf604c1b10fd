"""An innocent client, who asks for one object now and then: ``python -m benchmarks.fairness.innocent COUNT PATH``.

Prints when each question was sent and its answer had come, as a list of [start, end] in nanoseconds of the
monotonic clock.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time

from benchmarks.fairness.attacks import Target

_PAUSE_SECONDS = 0.005


def ask(target: Target, path: str, asked: int) -> list[tuple[int, int]]:
    """Raises SystemExit when refused."""
    request, sock, spans = target.request("GET", path), target.connect(), list[tuple[int, int]]()
    for _ in range(asked):
        start = time.monotonic_ns()
        sock.sendall(request)
        answer = sock.recv(1 << 16)
        spans.append((start, time.monotonic_ns()))
        if not answer.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"the innocent user was refused: {answer[:1000]!r}")
        time.sleep(_PAUSE_SECONDS)
    return spans


if __name__ == "__main__":
    with contextlib.suppress(PermissionError):
        os.nice(-20)  # what is measured is the server, not how long the host leaves this one waiting
    print(json.dumps(ask(Target(json.loads(sys.stdin.readline())), sys.argv[2], int(sys.argv[1]))))
