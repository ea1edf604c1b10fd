"""All kinds as plain data, for clients that must start fast.

Written by ``python -m hyperd.resources.crd``; nothing here may import pydantic, or anything that does.
"""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """How a kind is found and addressed."""

    group: str
    version: str
    kind: str
    plural: str
    singular: str
    namespaced: bool
    short_names: tuple[str, ...]
    categories: tuple[str, ...]


INDEX: tuple[Entry, ...] = (
    Entry(
        "virtualization.deckhouse.io",
        "v1alpha2",
        "ClusterVirtualImage",
        "clustervirtualimages",
        "clustervirtualimage",
        False,
        ("cvi",),
        ("virtualization-cluster",),
    ),
    Entry(
        "virtualization.deckhouse.io",
        "v1alpha2",
        "VirtualDisk",
        "virtualdisks",
        "virtualdisk",
        True,
        ("vd",),
        ("virtualization",),
    ),
    Entry(
        "virtualization.deckhouse.io",
        "v1alpha2",
        "VirtualImage",
        "virtualimages",
        "virtualimage",
        True,
        ("vi",),
        ("virtualization",),
    ),
    Entry(
        "virtualization.deckhouse.io",
        "v1alpha2",
        "VirtualMachineClass",
        "virtualmachineclasses",
        "virtualmachineclass",
        False,
        ("vmc", "vmclass"),
        ("virtualization-cluster",),
    ),
    Entry(
        "virtualization.deckhouse.io",
        "v1alpha2",
        "VirtualMachineIPAddress",
        "virtualmachineipaddresses",
        "virtualmachineipaddress",
        True,
        ("vmip",),
        ("virtualization",),
    ),
    Entry(
        "virtualization.deckhouse.io",
        "v1alpha2",
        "VirtualMachineIPAddressLease",
        "virtualmachineipaddressleases",
        "virtualmachineipaddresslease",
        False,
        ("vmipl", "vmiplease"),
        ("virtualization-cluster",),
    ),
    Entry(
        "virtualization.deckhouse.io",
        "v1alpha2",
        "VirtualMachineOperation",
        "virtualmachineoperations",
        "virtualmachineoperation",
        True,
        ("vmop",),
        ("virtualization",),
    ),
    Entry(
        "virtualization.deckhouse.io",
        "v1alpha2",
        "VirtualMachine",
        "virtualmachines",
        "virtualmachine",
        True,
        ("vm",),
        ("all", "virtualization"),
    ),
    Entry(
        "",
        "v1",
        "ConfigMap",
        "configmaps",
        "configmap",
        True,
        ("cm",),
        (),
    ),
    Entry(
        "",
        "v1",
        "Event",
        "events",
        "event",
        True,
        ("ev",),
        (),
    ),
    Entry(
        "",
        "v1",
        "Namespace",
        "namespaces",
        "namespace",
        False,
        ("ns",),
        (),
    ),
    Entry(
        "",
        "v1",
        "Node",
        "nodes",
        "node",
        False,
        ("no",),
        (),
    ),
    Entry(
        "",
        "v1",
        "PersistentVolumeClaim",
        "persistentvolumeclaims",
        "persistentvolumeclaim",
        True,
        ("pvc",),
        (),
    ),
    Entry(
        "",
        "v1",
        "PersistentVolume",
        "persistentvolumes",
        "persistentvolume",
        False,
        ("pv",),
        (),
    ),
    Entry(
        "",
        "v1",
        "Pod",
        "pods",
        "pod",
        True,
        ("po",),
        ("all",),
    ),
    Entry(
        "",
        "v1",
        "Secret",
        "secrets",
        "secret",
        True,
        (),
        (),
    ),
    Entry(
        "",
        "v1",
        "Service",
        "services",
        "service",
        True,
        ("svc",),
        ("all",),
    ),
    Entry(
        "coordination.k8s.io",
        "v1",
        "Lease",
        "leases",
        "lease",
        True,
        (),
        (),
    ),
    Entry(
        "storage.k8s.io",
        "v1",
        "StorageClass",
        "storageclasses",
        "storageclass",
        False,
        ("sc",),
        (),
    ),
)
