"""What the daemon must not take, for every node would pay for it, and must not keep, for anybody may send it."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from pathlib import Path

from hyperd.api.certificates import pki
from hyperd.api.wire.routes import Router
from hyperd.api.wire.selectors import parse_labels
from hyperd.resources.all import KINDS
from hyperd.resources.schema.formats import FORMATS

HEAVY = ("cryptography", "yaml", "textual", "kubernetes_asyncio", "oras", "lxml", "sqlite3")
CONNECTIONS = 100
CONNECTION_BYTES = 200 << 10
"""For both ends of one connection, of which asyncio by itself takes 512 KiB."""

LOADING = f"""
import sys
import hyperd.daemon
print(*(name for name in {HEAVY!r} if name in sys.modules))
"""

CONNECTING = f"""
import asyncio, os, ssl, sys
from pathlib import Path
from hyperd import footprint
from hyperd.api.certificates import pki

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

async def main(certificates):
    async def connected(_, writer):
        writer.write(b"x")

    footprint.keep_small()
    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=pki.server_context(certificates))
    port = server.sockets[0].getsockname()[1]
    trust = ssl.create_default_context(cafile=certificates.ca.certificate)
    held = []

    async def connect():
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust)
        held.append(writer)
        assert await reader.readexactly(1) == b"x"

    await connect()
    before = resident()
    for _ in range({CONNECTIONS}):
        await connect()
    print((resident() - before) // {CONNECTIONS})

folder = Path(sys.argv[1])
pairs = (pki.Pair(folder / (name + ".crt"), folder / (name + ".key")) for name in ("ca", "server", "admin"))
asyncio.run(main(pki.Pki(*pairs)))
"""


def run(script: str, *arguments: str | Path) -> str:
    done = subprocess.run([sys.executable, "-c", script, *arguments], check=True, capture_output=True, text=True)
    return done.stdout


def test_importing_the_daemon_loads_nothing_that_few_nodes_use() -> None:
    assert run(LOADING).split() == []


def test_a_client_that_only_stays_connected_costs_little(tmp_path: Path) -> None:
    pki.ensure_in(tmp_path, "test", ("localhost", "127.0.0.1"), client="admin", group="admins")
    assert int(run(CONNECTING, tmp_path)) < CONNECTION_BYTES


def test_what_clients_send_is_forgotten() -> None:
    router = Router(KINDS)
    collection = "/api/v1/namespaces/default/configmaps/"
    tracemalloc.start()
    try:
        for number in range(20):
            router.resolve(f"{collection}{number}{'x' * 30_000}")
            parse_labels(f"a{number},{'b,' * 5_000}c")
            FORMATS["date-time"](f"{number}{'x' * 300_000}")
        assert tracemalloc.get_traced_memory()[0] < 1 << 20
    finally:
        tracemalloc.stop()
