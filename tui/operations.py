"""The operation objects that actions create."""

from __future__ import annotations

from hyperd.client.resource import Resource
from tui.fleet import Key, Object

OPERATION = Resource(
    group="virtualization.deckhouse.io",
    version="v1alpha2",
    kind="VirtualMachineOperation",
    plural="virtualmachineoperations",
    singular="virtualmachineoperation",
    namespaced=True,
    short_names=("vmop",),
)


def manifest(key: Key, what: str) -> Object:
    """An operation of type ``what`` on the machine ``key``."""
    return {
        "apiVersion": OPERATION.api_version,
        "kind": OPERATION.kind,
        "metadata": {"generateName": f"{key.name}-", "namespace": key.namespace},
        "spec": {"type": what, "virtualMachineName": key.name},
    }
