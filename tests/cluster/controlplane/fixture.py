"""The control plane as a fixture, shared by all tests of a run that are marked ``cluster``.

``KUBECONFIG_CLUSTER`` names the kubeconfig of another cluster to be used instead. It is a variable of its own
because tests empty namespaces: a ``KUBECONFIG`` that happens to be set must not lead them to a cluster in use.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.controlplane import build
from tests.cluster.controlplane.plane import Cluster, ControlPlane

_NEEDED = ("kube-apiserver", "kubectl", "kube-controller-manager")
_NEEDED_BY_NODES = ("kube-scheduler", "kubelet", "kube-proxy")


def prepare(session: pytest.Session) -> None:
    """Build what the chosen tests need before the first begins, outside every test's time limit."""
    if session.config.option.collectonly or not any(item.get_closest_marker("cluster") for item in session.items):
        return
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    names: tuple[str, ...] = ("kubectl",) if "KUBECONFIG_CLUSTER" in os.environ else _NEEDED
    if any(item.get_closest_marker("nodes") for item in session.items):
        names = (*_NEEDED, *_NEEDED_BY_NODES)
    for name in names:
        if not build.path(name).exists() and reporter is not None:
            where = build.path(name).parent
            reporter.write_line(f"building {name} {build.kubernetes_version()} in {where}: minutes, once")
        try:
            build.binary(name)
        except build.BuildError as err:
            # Failing here would hide the tests that need no cluster.
            session.stash[_FAILURE] = err
            return


_FAILURE = pytest.StashKey[build.BuildError]()


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A cluster with administrator's rights; fails, and never skips, where there can be none."""
    failure = request.session.stash.get(_FAILURE, None)
    if failure is not None:
        pytest.fail(str(failure), pytrace=False)
    other = os.environ.get("KUBECONFIG_CLUSTER")
    started = Cluster(Path(other)) if other else ControlPlane()
    try:
        started.start()
        yield started
    finally:
        started.stop()


@pytest.fixture(scope="session")
def control_plane(cluster: Cluster) -> ControlPlane:
    """The control plane of this run, for tests that stop, start or look into it."""
    if not isinstance(cluster, ControlPlane):
        pytest.skip("KUBECONFIG_CLUSTER names a cluster that these tests may not stop")
    return cluster
