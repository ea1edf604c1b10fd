"""An image server of many moods on the node's loopback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.host.node import Node


class Moody:
    """The server of ``moody``."""

    def __init__(self, node: Node, log: Path) -> None:
        argv: list[str | Path] = [sys.executable, "-m", "tests.host.registry.moody", log]
        self._process = node.popen(argv, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self._log = log
        self._port = int(self._process.stdout.readline())

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self._port}/{path}"

    def asked(self, path: str) -> list[float]:
        """When ``path`` was asked for."""
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        return [float(line.split()[1]) for line in lines if line.split()[0] == f"/{path}"]

    def close(self) -> None:
        self._process.kill()
        self._process.reap()
