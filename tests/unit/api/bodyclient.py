"""A hostile user, an innocent one and a control, in a process beside the server: ``python bodyclient.py SOCKET``.

Reads a request as a line of JSON (``method``, ``path``, ``type``, ``file``) and answers with a line: the status,
and how late the innocent user's answers and the control's own sleeps were meanwhile, at worst, in seconds.
"""

from __future__ import annotations

import http.client
import json
import socket
import sys
import threading
import time

_PAUSE = 0.02


class Unix(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("h", timeout=120)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Innocent(threading.Thread):
    """Asks for a namespace again and again."""

    def __init__(self, path: str) -> None:
        super().__init__(daemon=True)
        self._connection = Unix(path)
        self.worst = self.control = 0.0

    def run(self) -> None:
        while True:
            before = time.perf_counter()
            time.sleep(_PAUSE)
            asked = time.perf_counter()
            self._connection.request("GET", "/api/v1/namespaces/default")
            self._connection.getresponse().read()
            answered = time.perf_counter()
            self.control = max(self.control, asked - before - _PAUSE)
            self.worst = max(self.worst, answered - asked)


def send(path: str, request: dict[str, str]) -> int:
    """The status of the answer."""
    connection = Unix(path)
    with open(request["file"], "rb") as file:
        body = file.read()
    try:
        connection.request(request["method"], request["path"], body, {"Content-Type": request["type"]})
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


def main() -> None:
    innocent = Innocent(sys.argv[1])
    innocent.start()
    for line in sys.stdin:
        innocent.worst = innocent.control = 0.0
        status = send(sys.argv[1], json.loads(line))
        told = {"status": status, "innocent": innocent.worst, "control": innocent.control}
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
