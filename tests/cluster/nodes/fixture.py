"""The cluster of nodes as a fixture, one for all tests of a run that ask for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.controlplane.build import BuildError
from tests.cluster.controlplane.plane import PlaneError
from tests.cluster.nodes.bed import Bed


@pytest.fixture(scope="session")
def bed() -> Iterator[Bed]:
    """Three nodes that are Ready; fails, and never skips, where there can be none."""
    started = Bed()
    try:
        started.start()
        yield started
    except (BuildError, PlaneError) as err:
        pytest.fail(str(err), pytrace=False)
    finally:
        started.stop()
