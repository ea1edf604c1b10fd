"""The Kubernetes home: a control plane that knows the kinds and asks no webhook, and the Store over it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from hyperd.resources.all import KINDS
from hyperd.resources.crd import crd
from hyperd.store.kubernetes.store import KubernetesStore
from tests.cluster.controlplane.plane import ControlPlane


@contextmanager
def control_plane(*, durable: bool = False) -> Iterator[ControlPlane]:
    """kube-apiserver over etcd, thrown away afterwards; ``durable`` has etcd sync what it acknowledges."""
    plane = ControlPlane(durable=durable)
    try:
        plane.start()
        plane.apply(*(crd(kind) for kind in KINDS if not kind.core))
        yield plane
    finally:
        plane.stop()


@asynccontextmanager
async def kubernetes(*, durable: bool = False) -> AsyncIterator[tuple[ControlPlane, KubernetesStore]]:
    """A control plane, and the store as hyperd opens it, with the administrator's rights."""
    with control_plane(durable=durable) as plane:
        store = KubernetesStore(plane.kubeconfig)
        await store.start()
        try:
            yield plane, store
        finally:
            await store.close()
