"""What all tests share: the one control plane of a run, and what is built before the first of them begins."""

from __future__ import annotations

import pytest

from tests.cluster.clients import fixture as clients
from tests.cluster.controlplane.fixture import cluster, control_plane, prepare

__all__ = ["cluster", "control_plane"]


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    prepare(session)
    clients.prepare(session)
