"""What all tests share: the one control plane of a run, and what is built before the first of them begins."""

from __future__ import annotations

import pytest
from hypothesis import settings

from tests.cluster.clients import fixture as clients
from tests.cluster.controlplane.fixture import cluster, control_plane, prepare

__all__ = ["cluster", "control_plane"]

# How long an example takes says how busy the host is.
settings.register_profile("hyperd", deadline=None)
settings.load_profile("hyperd")


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    # pytest-xdist calls this in each of its processes, which know the tests; locks let one of them build.
    prepare(session)
    clients.prepare(session)
