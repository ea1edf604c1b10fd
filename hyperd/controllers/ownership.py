"""What of the work is this daemon's: cluster-wide work of one leader, machines and disks of their node.

Controllers ask here and cannot tell which home they run on. A machine is bound by ``status.nodeName``, a disk by
the annotation that Kubernetes itself puts on claims; both are written once, compare-and-set, by the leader, and
taken back by nobody, unless a node is proven dead (``pod/taking.py``). With Pods the leader binds what has no
guest anew, to where its Pod is: machines, and with them the disks that are claims.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from hyperd.resources.all import VIRTUAL_DISK
from hyperd.resources.values import meta, names
from hyperd.store.interface import PatchType, Store

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_disk import VirtualDisk
    from hyperd.resources.views.virtual_disk_snapshot import VirtualDiskSnapshot
    from hyperd.resources.views.virtual_machine import VirtualMachine


class Ownership(Protocol):
    """Asked before each piece of work; the answers may change at any time."""

    binds: bool
    """Whether objects are bound to nodes; the one node of an embedded home needs no binding."""

    def leads(self) -> bool:
        """Whether cluster-wide work is this daemon's."""

    def runs(self, machine: VirtualMachine) -> bool:
        """Whether the machine is this node's to run."""

    def keeps(self, disk: VirtualDisk) -> bool:
        """Whether the disk's volume is this node's to keep."""

    def operates(self, machine: VirtualMachine | None) -> bool:
        """Whether operations on the machine are this daemon's: its node's, or the leader's while it has none."""


class SoleOwner:
    """One daemon, one node: everything."""

    binds = False

    def leads(self) -> bool:
        return True

    def runs(self, _: VirtualMachine) -> bool:
        return True

    def keeps(self, _: VirtualDisk) -> bool:
        return True

    def operates(self, _: VirtualMachine | None) -> bool:
        return True


class NodeOwner:
    """One daemon of several, on the node ``node_name``."""

    binds = True

    def __init__(self, node_name: str, leads: Callable[[], bool]) -> None:
        self._node_name = node_name
        self._leads = leads

    def leads(self) -> bool:
        return self._leads()

    def runs(self, machine: VirtualMachine) -> bool:
        return machine_node(machine) == self._node_name

    def keeps(self, disk: VirtualDisk) -> bool:
        return disk_node(disk) == self._node_name

    def operates(self, machine: VirtualMachine | None) -> bool:
        node = "" if machine is None else machine_node(machine)
        return node == self._node_name if node else self._leads()


def machine_node(machine: VirtualMachine) -> str:
    """The node that the machine is bound to; empty when it is not yet."""
    return (machine.get("status") or {}).get("nodeName") or ""


def disk_node(disk: VirtualDisk | VirtualDiskSnapshot) -> str:
    """The node that keeps the disk, or its snapshot; empty when none does yet."""
    return meta.annotations(disk).get(names.SELECTED_NODE_ANNOTATION, "")


async def bind_disk(store: Store, disk: VirtualDisk, node: str) -> None:
    """Raises Conflict when the disk changed meanwhile."""
    seen = disk["metadata"]
    annotations = {names.SELECTED_NODE_ANNOTATION: node}
    patch = {"metadata": {"resourceVersion": seen["resourceVersion"], "annotations": annotations}}
    await store.patch(VIRTUAL_DISK, seen["namespace"], seen["name"], PatchType.MERGE, patch)
