"""A client that vanishes without a word does not keep its watch open."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import asyncio, ssl, subprocess, tempfile
from pathlib import Path
import aiohttp
from hyperd.api.serving import listeners
from tests.unit.api.conftest import serving

async def main():
    listeners._DEAD_PEER_MS = 3000
    async with serving(Path(tempfile.mkdtemp(prefix="hvh"))) as api:
        context = ssl.create_default_context(cafile=str(api.settings.pki_dir / "ca.crt"))
        context.load_cert_chain(api.settings.pki_dir / "admin.crt", api.settings.pki_dir / "admin.key")
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as client:
            path = f"https://127.0.0.1:{api.server.port}/api/v1/configmaps?watch=1"
            async with client.get(path + "&fieldSelector=metadata.name%3Dnone"):
                assert api.store.watchers == 1
                # Nothing gets through any more, and neither side is told.
                subprocess.run(["ip", "link", "set", "lo", "down"], check=True)
                async with asyncio.timeout(30):
                    while api.store.watchers:
                        await asyncio.sleep(0.1)
                print("dropped")
asyncio.run(main())
"""


def test_a_half_open_connection_ends_its_watch() -> None:
    command = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$0" -c "$1"', sys.executable, SCRIPT]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert done.stdout == "dropped\n", done.stderr[-3000:]
