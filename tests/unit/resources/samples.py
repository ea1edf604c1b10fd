"""Objects that the tests of kinds and rules begin with; each call makes a fresh one."""

from __future__ import annotations

import copy
import functools
from pathlib import Path

import yaml

from hyperd.resources.schema.kind import Object

EXAMPLES = sorted((Path(__file__).parent / "examples").glob("*.yaml"))


def examples() -> list[Object]:
    """Every object of the example manifests."""
    return copy.deepcopy(_read())


def example(kind: str, name: str) -> Object:
    """One object of the example manifests."""
    return copy.deepcopy(next(obj for obj in _read() if obj["kind"] == kind and obj["metadata"]["name"] == name))


@functools.cache
def _read() -> list[Object]:
    """Reading them takes longer than a callback of a loop may."""
    return [obj for path in EXAMPLES for obj in yaml.safe_load_all(path.read_text())]


_MACHINE: Object = {
    "apiVersion": "virtualization.deckhouse.io/v1alpha2",
    "kind": "VirtualMachine",
    "metadata": {"name": "web", "namespace": "default"},
    "spec": {
        "cpu": {"cores": 2},
        "memory": {"size": "2Gi"},
        "blockDeviceRefs": [{"kind": "VirtualDisk", "name": "root"}],
    },
}


def machine() -> Object:
    """The smallest machine that is accepted."""
    return copy.deepcopy(_MACHINE)
