"""The cluster of nodes, one for the tests of this folder: it costs processor time for as long as it stands."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.controlplane.build import BuildError
from tests.cluster.controlplane.plane import PlaneError
from tests.cluster.nodes.bed import Bed


@pytest.fixture(scope="package")
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
