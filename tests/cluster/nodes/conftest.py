"""The cluster of nodes, one for the tests of this folder: it costs processor time for as long as it stands."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.controlplane.build import BuildError
from tests.cluster.controlplane.plane import PlaneError
from tests.cluster.nodes.bed import Bed
from tests.cluster.nodes.hyperds import Hyperds
from tests.cluster.nodes.machines import START_SECONDS, get, until
from tests.cluster.nodes.movers import moving

_ENFORCED = "pod-security.kubernetes.io/enforce"


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


@pytest.fixture(scope="package")
def hyperds(bed: Bed) -> Iterator[Hyperds]:
    """On two of the nodes; machines in the namespace default, which lets in no Pod that is not restricted."""
    started = Hyperds(bed, bed.nodes[:2])
    started.start()
    bed.plane.kubectl("label", "namespace/default", f"{_ENFORCED}=restricted")
    try:
        until(lambda: get(bed, "vmclass/generic", "{.status.phase}") == "Ready", START_SECONDS)
        yield started
    finally:
        bed.plane.kubectl("label", "namespace/default", f"{_ENFORCED}-")
        started.stop()


@pytest.fixture(scope="module")
def mover(hyperds: Hyperds) -> Iterator[str]:
    """The address of a machine that counts, and runs when a test ends; its name is mover."""
    with moving(hyperds) as address:
        yield address
