"""The private libvirt host that all host tests share, and a clean start for each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.host.node import Node


@pytest.fixture(scope="session")
def node() -> Iterator[Node]:
    """One node for the session; skipped without root."""
    if os.geteuid() != 0:
        pytest.skip("needs root: namespaces, taps and QEMU")
    with Node() as running:
        yield running


@pytest.fixture
def libvirt_uri(node: Node) -> Iterator[str]:
    """URI, from outside the node, of a libvirtd that runs and holds no domains; also emptied afterwards."""
    node.ensure_libvirtd()
    node.remove_domains()
    yield node.uri
    node.ensure_libvirtd()
    node.remove_domains()


@pytest.fixture
def qemu_dir(node: Node) -> Path:
    """A folder for files of guests, short enough for sockets, that QEMU's user can pass."""
    return node.make_dir()
