"""hyperd's cluster API in a process of its own; its arguments are FOLDER KUBECONFIG NODE HOST PORT.

Everything is real but the guests: a test holds the other end of each machine's serial socket, and a screen sends
back what it is sent.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from pathlib import Path

from hyperd.api.serving.cluster import ClusterApi
from hyperd.api.sessions.terminals import Sessions
from hyperd.hypervisor.console.hub import ConsoleHub
from hyperd.settings import AggregationSettings, Settings
from hyperd.store.kubernetes.store import KubernetesStore


class Screens:
    """VNC sockets whose other end is an echo."""

    def __init__(self) -> None:
        # Nothing else holds a task and the stream that it waits for.
        self._echoes: set[asyncio.Task[None]] = set()

    async def open_graphics(self, uid: str) -> socket.socket:
        ours, theirs = socket.socketpair()
        reader, writer = await asyncio.open_unix_connection(sock=theirs)
        task = asyncio.create_task(_echo(reader, writer))
        self._echoes.add(task)
        task.add_done_callback(self._echoes.discard)
        return ours


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(4096):
        writer.write(data)
    writer.close()


async def serve(settings: Settings, kubeconfig: Path) -> None:
    store = KubernetesStore(kubeconfig)
    await store.start()
    hub = ConsoleHub(settings)
    sessions = Sessions(store, consoles=hub, graphics=Screens(), record=lambda *_: None, node_name=settings.node)
    server = ClusterApi(settings, store, sessions=sessions.handlers())
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await server.start()
    await server.registered.wait()
    print("registered", flush=True)
    await ended.wait()
    await sessions.close()
    await server.stop()
    await hub.close()
    await store.close()


def settings_in(folder: Path, node: str, host: str, port: int) -> Settings:
    """Where this process keeps its things, and where the test finds the serial sockets."""
    aggregation = AggregationSettings(host=host, port=port)
    return Settings(node_name=node, state_dir=folder, run_dir=folder, log_dir=folder, aggregation=aggregation)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    folder, kubeconfig, node, host, port = sys.argv[1:]
    asyncio.run(serve(settings_in(Path(folder), node, host, int(port)), Path(kubeconfig)))
