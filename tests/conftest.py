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


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests have measured, by ``record_property("table", line)``, also in pytest-xdist's processes."""
    reports = [report for found in terminalreporter.stats.values() for report in found]
    calls = (one for one in reports if isinstance(one, pytest.TestReport) and one.when == "call")
    lines = [str(value) for one in calls for name, value in one.user_properties if name == "table"]
    if lines:
        terminalreporter.section("measured")
    for line in lines:
        terminalreporter.write_line(line)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Rooms:
    return Rooms(config, log)
