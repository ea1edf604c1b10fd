"""What the daemon must not load: memory that every node would pay for, and few would use."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("cryptography", "yaml", "textual", "kubernetes_asyncio", "oras", "lxml", "sqlite3")

SCRIPT = f"""
import sys
import hyperd.daemon
print(*(name for name in {HEAVY!r} if name in sys.modules))
"""


def test_importing_the_daemon_loads_nothing_that_few_nodes_use() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], check=True, capture_output=True, text=True)
    assert done.stdout.split() == []
