"""What all tests share: the one control plane of a run, and what is built before the first of them begins."""

from __future__ import annotations

import gc
from collections.abc import Generator

import pytest
from hypothesis import settings

from tests.cluster.clients import fixture as clients
from tests.cluster.controlplane.fixture import cluster, control_plane, prepare
from tests.rooms import Rooms

__all__ = ["cluster", "control_plane"]

# How long an example takes says how busy the host is.
settings.register_profile("hyperd", deadline=None)
settings.load_profile("hyperd")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is collected stays to the end: the garbage collector need not look through it again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    # pytest-xdist calls this in each of its processes, which know the tests; locks let one of them build.
    prepare(session)
    clients.prepare(session)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Rooms:
    return Rooms(config, log)
