"""Launchers of this node's Pods: what parts again and again is met seldom."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hyperd.controllers.pod import tenants
from hyperd.controllers.pod.tenants import Tenants
from hyperd.launcher.connection import Launcher
from hyperd.launcher.sandbox import Sandbox
from hyperd.store.interface import EventType

POD = {
    "metadata": {"namespace": "default", "name": "pod", "uid": "u", "labels": {}},
    "spec": {"nodeName": "node"},
    "status": {"phase": "Running"},
}


async def test_who_answers_and_hangs_up_costs_few_looks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    met = 0

    async def connect(_: Path, uid: str, changed: Callable[[], None]) -> Launcher:
        nonlocal met
        met += 1
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.close()
        return Launcher(ours, Sandbox(uid, os.getpid(), Path("/dev/null"), ()), changed)

    monkeypatch.setattr(tenants, "connect", connect)
    item = SimpleNamespace(uid="u", object=lambda: POD)
    handlers: list[Callable[..., None]] = []
    pods = SimpleNamespace(add_handler=handlers.append, item=lambda *_: item, items=lambda: [item])
    looks: list[Any] = []
    here = Tenants(cast(Any, pods), "node", tmp_path, changed=looks.append, runs=lambda _: False)
    here.start()
    handlers[0](EventType.ADDED, None, cast(Any, item))
    await asyncio.sleep(0.5)
    await here.close()
    assert 2 <= met <= 5, "0, 50, 150, 350 ms"
    assert len(looks) <= 3 * met + 1
